"""The interception of clients, the guard beneath it, and how faithful a replay is."""
