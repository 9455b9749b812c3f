"""The collector: feeds that poll and stream, a grid that keeps time, queues to the sinks, sessions."""
