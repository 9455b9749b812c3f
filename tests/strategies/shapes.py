"""Whether two JSON bodies have the same shape, told without the code that mutates them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from functools import cached_property
from typing import Any

_NUMERIC = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", re.ASCII)


class Spelled(str):
    """A JSON number as it was written."""


def read(body: bytes) -> Any:
    """Read JSON: objects as tuples of pairs, numbers as they are spelled."""
    return json.loads(body, object_pairs_hook=tuple, parse_int=Spelled, parse_float=Spelled)


def kind(text: str) -> tuple[str, int, str, bool]:
    """Return how a number is spelled: quoted or not, decimals, exponent, sign."""
    match = _NUMERIC.fullmatch(text)
    assert match
    quoted = "plain" if isinstance(text, Spelled) else "quoted"
    return quoted, len(match[1] or "."), match[2] or "", text.startswith("-")


class Seen:
    """Recorded values of one path. What they have in common is worked out once: each of thousands of symbols is
    compared with the same thousands."""

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = list(values)
        self._columns: dict[tuple[int, int], Seen] = {}

    @cached_property
    def types(self) -> set[type]:
        return {type(value) for value in self.values}

    @cached_property
    def texts(self) -> set[Any]:
        return {(type(value), value) for value in self.values if not isinstance(value, tuple | list)}

    @cached_property
    def kinds(self) -> set[tuple[type, tuple[str, int, str, bool]]]:
        """How the numbers are spelled."""
        texts = (value for value in self.values if isinstance(value, str))
        return {(type(text), kind(text)) for text in texts if _NUMERIC.fullmatch(text)}

    @cached_property
    def keysets(self) -> set[tuple[str, ...]]:
        """The keys of the objects."""
        return {tuple(key for key, _ in value) for value in self.values if isinstance(value, tuple)}

    @cached_property
    def by_key(self) -> dict[str, Seen]:
        """The objects' values, also of objects with other keys."""
        out: dict[str, Seen] = {}
        for value in self.values:
            for key, item in value if isinstance(value, tuple) else ():
                out.setdefault(key, Seen(())).values.append(item)
        return out

    @cached_property
    def items(self) -> Seen:
        """What stands in the lists."""
        return Seen(item for value in self.values if isinstance(value, list) for item in value)

    @cached_property
    def spelled(self) -> set[str]:
        """The values as text: most are found as they were recorded."""
        return set(map(repr, self.values))

    @cached_property
    def lengths(self) -> set[int]:
        """How long the lists are."""
        return {len(value) for value in self.values if isinstance(value, list)}

    def column(self, length: int, place: int) -> Seen:
        """Return one column of the rows of a length."""
        if (length, place) not in self._columns:
            rows = (value for value in self.values if isinstance(value, list) and len(value) == length)
            self._columns[length, place] = Seen(row[place] for row in rows)
        return self._columns[length, place]


def misfits(recorded: Seen, found: Any, path: str = "$") -> list[str]:
    """Tell where a value is like none of the recorded ones at its path."""
    if type(found) not in recorded.types:
        return [f"{path}: {found!r}, recorded {recorded.values[:3]!r}"]
    if isinstance(found, tuple):
        keys = tuple(key for key, _ in found)
        if keys not in recorded.keysets:
            return [f"{path}: keys {keys}"]
        return [misfit for key, value in found for misfit in misfits(recorded.by_key[key], value, f"{path}.{key}")]
    if isinstance(found, list):
        return _list(recorded, found, path)
    if (type(found), found) in recorded.texts:
        return []
    if isinstance(found, str) and _NUMERIC.fullmatch(found):
        if (type(found), kind(found)) in recorded.kinds:
            return []
        return [f"{path}: {found!r} is not spelled like {recorded.values[:3]!r}"]
    return [f"{path}: {found!r} was never seen"]


def _list(recorded: Seen, found: list[Any], path: str) -> list[str]:
    if not found:
        return [] if 0 in recorded.lengths else [f"{path}: empty"]
    is_row = not all(isinstance(item, list | tuple) for item in found)
    is_words = is_row and all(type(item) is str and not _NUMERIC.fullmatch(item) for item in found)
    if is_row and not is_words:
        if len(found) not in recorded.lengths:
            return [f"{path}: {len(found)} columns"]
        return [
            misfit
            for place, item in enumerate(found)
            for misfit in misfits(recorded.column(len(found), place), item, f"{path}[{place}]")
        ]
    return [
        misfit
        for place, item in enumerate(found)
        if repr(item) not in recorded.items.spelled
        for misfit in misfits(recorded.items, item, f"{path}[{place}]")
    ]


def numbers(rows: list[list[Any]], place: int) -> list[Decimal]:
    """Return one column of rows."""
    return [Decimal(row[place]) for row in rows]
