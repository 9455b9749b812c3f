"""Fault plans: rules for `market_faults`, which answers and frames fail, and how."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.replay.faults.plan import BOTH, FRAMES, KINDS, REQUESTS, Fault
from pytest_marketreplay.strategies.draws import Count, SearchStrategy, count_of, st

_LONGEST_RETRY_S = 60
_LONGEST_WAIT_S = 30
_MOST_KEPT_BYTES = 200
_CLOSE_CODES = (1001, 1008, 1011, 1012, 1013)

_ARGUMENTS: dict[str, SearchStrategy[dict[str, int]]] = {
    "429": st.fixed_dictionaries({}, optional={"retry_after": st.integers(0, _LONGEST_RETRY_S)}),
    "418": st.fixed_dictionaries({}, optional={"retry_after": st.integers(0, _LONGEST_RETRY_S)}),
    "503": st.fixed_dictionaries({}, optional={"retry_after": st.integers(0, _LONGEST_RETRY_S)}),
    "timeout": st.fixed_dictionaries({}, optional={"seconds": st.integers(1, _LONGEST_WAIT_S)}),
    "truncated": st.fixed_dictionaries({}, optional={"keep": st.integers(0, _MOST_KEPT_BYTES)}),
    "disconnect": st.fixed_dictionaries({}, optional={"code": st.sampled_from(_CLOSE_CODES)}),
}
# as many draws as an argument that is left out takes: else kinds without arguments would count as simpler than 429
_NONE: SearchStrategy[dict[str, int]] = st.booleans().map(lambda _: {})


def fault_plans(
    *,
    kinds: Iterable[str] | None = None,
    requests: bool = True,
    frames: bool = True,
    length: Count = (0, 4),
    positions: Count = (1, 20),
    venue: str | None = None,
    endpoint: str | None = None,
    symbol: str | None = None,
) -> SearchStrategy[list[Fault]]:
    """Draw lists of fault rules, each for a position and how many times from there.

    `kinds` are those of `pytest_marketreplay.replay.faults.KINDS`; without them `requests` and `frames` say whether
    requests, frames or both fail. `positions` bounds which request or frame is the first to fail, from 1. Shrinks towards
    no fault, then one at the first position, once. Raises UsageMistake.
    """
    low, high = count_of("length", length)
    first, last = count_of("positions", positions, 1)
    if kinds is not None:
        chosen = tuple(kinds)
    else:
        chosen = (*(REQUESTS if requests else ()), *(FRAMES if frames else ()), *(BOTH if requests or frames else ()))
    unknown = [kind for kind in chosen if kind not in KINDS]
    if unknown or not chosen:
        raise UsageMistake(f"kinds={chosen!r}: wanted are some of {', '.join(KINDS)}")

    def rules(kind: str) -> SearchStrategy[Fault]:
        return st.builds(
            Fault,
            kind=st.just(kind),
            venue=st.just(venue),
            endpoint=st.just(endpoint),
            symbol=st.just(symbol),
            at=st.integers(first, last),
            times=st.integers(1, 3),
            arguments=_ARGUMENTS.get(kind, _NONE),
        )

    return st.lists(st.one_of([rules(kind) for kind in chosen]), min_size=low, max_size=high)
