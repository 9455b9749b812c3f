"""The instruments that the simulated venues list, with each venue's real names and increments."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instrument:
    """Describe one listed pair; prices count ticks, quantities count 1e-8 parts of the base asset."""

    symbol: str
    base: str
    quote: str
    tick_e8: int
    """Size of one price tick, in 1e-8 parts of the quote asset."""
    step_e8: int
    """Smallest quantity increment in the book, in 1e-8 parts of the base asset."""
    opening_tick: int
    """Price at the first moment of the simulation, in ticks."""
    widest_gap: int
    """Most ticks between neighbouring levels of the book."""
    size_digits: tuple[int, int]
    """Range of the digits that a level's quantity has, counted in steps."""
    first_trade_id: int
    minimum_e8: int
    """Smallest order: its value in the quote asset on Binance, its quantity on Kraken, in 1e-8 parts."""
    altname: str = ""
    """Kraken's short name (`XBTUSD`); empty on Binance."""
    wsname: str = ""
    """Kraken's WebSocket name (`XBT/USD`); empty on Binance."""
    pair_decimals: int = 8
    """Digits of a price that the venue accepts and shows in candles."""
    price_decimals: int = 8
    """Digits of a price in tickers, books and trades."""

    def price_e8(self, tick: int) -> int:
        """Give the price of a tick in 1e-8 parts of the quote asset."""
        return tick * self.tick_e8


BINANCE_INSTRUMENTS = (
    Instrument("ETHBTC", "ETH", "BTC", 1_000, 10_000, 3_680, 1, (2, 5), 512_000_000, 10_000),
    Instrument("BNBUSDT", "BNB", "USDT", 1_000_000, 100_000, 102_400, 6, (1, 5), 1_240_000_000, 500_000_000),
    Instrument("BTCUSDT", "BTC", "USDT", 1_000_000, 1_000, 11_864_250, 40, (2, 6), 5_290_000_000, 500_000_000),
    Instrument("ETHUSDT", "ETH", "USDT", 1_000_000, 10_000, 437_080, 12, (2, 5), 2_860_000_000, 500_000_000),
)
"""Pairs as Binance Spot names them, in the order that exchangeInfo lists them."""

KRAKEN_INSTRUMENTS = (
    Instrument(
        "BNBUSD", "BNB", "ZUSD", 1_000_000, 100_000, 102_380, 8, (1, 5), 400_000, 500_000, "BNBUSD", "BNB/USD", 2, 5
    ),
    Instrument(
        "ETHUSDT", "XETH", "USDT", 1_000_000, 100_000, 437_060, 14, (1, 5), 8_300_000, 200_000, "ETHUSDT", "ETH/USDT",
        2, 5,
    ),
    Instrument(
        "XBTUSDT", "XXBT", "USDT", 10_000_000, 100_000, 1_186_410, 9, (1, 4), 10_200_000, 5_000, "XBTUSDT", "XBT/USDT",
        1, 5,
    ),
    Instrument(
        "XETHXXBT", "XETH", "XXBT", 1_000, 100_000, 3_679, 1, (1, 5), 26_500_000, 200_000, "ETHXBT", "ETH/XBT", 5, 6
    ),
    Instrument(
        "XETHZUSD", "XETH", "ZUSD", 1_000_000, 100_000, 437_100, 14, (1, 5), 61_000_000, 200_000, "ETHUSD", "ETH/USD",
        2, 5,
    ),
    Instrument(
        "XXBTZUSD", "XXBT", "ZUSD", 10_000_000, 100_000, 1_186_430, 9, (1, 4), 87_400_000, 5_000, "XBTUSD", "XBT/USD",
        1, 5,
    ),
)  # fmt: skip
"""Pairs as Kraken's AssetPairs names them: the old pairs keep their X and Z prefixes, the newer ones have none."""
