"""WebSocket connections: recorded and replayed under the real clients, from servers on loopback."""
