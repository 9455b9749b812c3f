"""Hypothesis strategies of markets: books, diffs, trades, candles, whole sessions, faults, and recorded answers that mutate.

Needs `pip install hypothesis`; importing this package loads it only with the first strategy. All strategies are built of
plain draws, so that they are fast and shrink towards few levels, small sizes and what was recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_marketreplay.strategies.books import depth_diffs, order_books
    from pytest_marketreplay.strategies.faults import fault_plans
    from pytest_marketreplay.strategies.loopback import AnswerServer
    from pytest_marketreplay.strategies.recorded import RecordedAnswer, from_cassette
    from pytest_marketreplay.strategies.session import MarketSession, sessions
    from pytest_marketreplay.strategies.tape import candles, candles_of, trades
    from pytest_marketreplay.strategies.writing import write_answers, write_session

__all__ = [
    "AnswerServer",
    "MarketSession",
    "RecordedAnswer",
    "candles",
    "candles_of",
    "depth_diffs",
    "fault_plans",
    "from_cassette",
    "order_books",
    "sessions",
    "trades",
    "write_answers",
    "write_session",
]

_HOMES = {
    "AnswerServer": "loopback",
    "MarketSession": "session",
    "RecordedAnswer": "recorded",
    "candles": "tape",
    "candles_of": "tape",
    "depth_diffs": "books",
    "fault_plans": "faults",
    "from_cassette": "recorded",
    "order_books": "books",
    "sessions": "session",
    "trades": "tape",
    "write_answers": "writing",
    "write_session": "writing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
