"""WebSocket connections: how they are recorded, found again, and played."""
