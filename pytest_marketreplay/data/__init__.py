"""Reading a tape: entries, order books, trades and candles of cassettes, in a window of time."""

from pytest_marketreplay.data.market import MarketData

__all__ = ["MarketData"]
