"""The listen key of Binance's user data stream: given by REST, used as a WebSocket path."""

from __future__ import annotations

import hashlib


class ListenKeys:
    """Give an account its one listen key, and a new one after it was closed; the same seed gives the same keys."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._opened = 0
        self.current: str | None = None

    def open(self) -> str:
        """Give the key in use, or a new one: asking again gives the same key."""
        if self.current is None:
            self._opened += 1
            self.current = hashlib.sha256(f"{self._seed}/stream/{self._opened}".encode()).hexdigest()
        return self.current

    def close(self) -> None:
        """End the stream of the key in use."""
        self.current = None
