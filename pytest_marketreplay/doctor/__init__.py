"""The health of trees, sessions, sinks and backups: each finding with its cure."""
