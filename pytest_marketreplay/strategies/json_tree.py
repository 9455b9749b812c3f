"""JSON as a tree that keeps every byte: what is not changed is written as it was read, spaces and spelling included."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from pytest_marketreplay.cassette.request import parse_json

Kind = Literal["object", "list", "number", "string", "other"]

_SPACE = re.compile(r"[ \t\r\n]*")
_SCALAR = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s,\]}]+')
_NUMBER = re.compile(r"(-?(?:0|[1-9]\d*))(?:\.(\d+))?(?:[eE]([-+]?\d{1,3}))?", re.ASCII)
_DEEPEST = 64  # no venue goes beyond ten; what mutates a tree looks at every pair of levels
_LONGEST = 30  # with quotes, sign and point: what Decimal reckons exactly


class Number(NamedTuple):
    """A number as it is spelled: `"0.35130000"` is 35130000 units with 8 decimals, quoted."""

    units: int
    decimals: int
    exponent: str
    """As written after `e`, with its letter; empty where there is none."""
    quoted: bool

    @property
    def scale(self) -> Decimal:
        """How many units are 1."""
        return Decimal(10) ** (self.decimals - int(self.exponent[1:] or 0))

    @property
    def value(self) -> Decimal:
        """The number itself."""
        return self.units / self.scale

    def spelled(self, units: int) -> str:
        """Write another number of units in the same spelling."""
        digits = str(abs(units)).rjust(self.decimals + 1, "0")
        cut = len(digits) - self.decimals
        text = f"{'-' if units < 0 else ''}{digits[:cut]}{'.' + digits[cut:] if self.decimals else ''}{self.exponent}"
        return f'"{text}"' if self.quoted else text


class Node:
    """One JSON value. Never changed: `with_item` and `with_items` make another."""

    __slots__ = ("_number", "glue", "items", "keys", "kind", "text")

    def __init__(
        self,
        kind: Kind,
        text: str | None,
        items: Sequence[Node] = (),
        glue: Sequence[str] = (),
        keys: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.text = text
        """As it was read; None for a container that was changed."""
        self.items = items
        self.glue = glue
        """What stands before the first item, between two, and after the last; an object's keys are in it."""
        self.keys = keys
        self._number: Number | Literal[False] | None = False

    @property
    def number(self) -> Number | None:
        """The number that a number or a numeric string is; None for anything else."""
        if self._number is False:
            self._number = _number(self)
        return self._number

    def with_item(self, place: int, item: Node) -> Node:
        """Return a container with another item in one place."""
        return Node(self.kind, None, [*self.items[:place], item, *self.items[place + 1 :]], self.glue, self.keys)

    def with_items(self, items: Sequence[Node]) -> Node:
        """Return a list of other items, spaced as this one is, which has an item at the least."""
        if not items:
            return Node("list", "[]", (), ("[]",))
        between = self.glue[1] if len(self.items) > 1 else "," + self.glue[0][1:]
        return Node("list", None, items, [self.glue[0], *[between] * (len(items) - 1), self.glue[-1]])

    def written(self) -> str:
        """Return it as JSON."""
        if self.text is not None:
            return self.text
        parts = [self.glue[0]]
        for item, glue in zip(self.items, self.glue[1:], strict=True):
            parts += (item.written(), glue)
        return "".join(parts)


def _number(node: Node) -> Number | None:
    text = node.text
    if node.kind not in ("number", "string") or text is None or len(text) > _LONGEST:
        return None
    quoted = node.kind == "string"
    match = _NUMBER.fullmatch(text[1:-1] if quoted else text)
    if match is None:
        return None
    decimals = match[2] or ""
    exponent = (text[1:-1] if quoted else text)[match.end(2 if match[2] else 1) :] if match[3] else ""
    return Number(int(match[1] + decimals), len(decimals), exponent, quoted)


def parse(body: bytes) -> Node:
    """Read JSON. Raises ValueError where it is none, or too deeply nested."""
    text = body.decode()
    parse_json(text)  # the grammar; what follows trusts it
    return _value(text, _end_of_space(text, 0), 0)[0]


def _end_of_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _value(text: str, start: int, deep: int) -> tuple[Node, int]:
    first = text[start]
    if first in "[{":
        return _container(text, start, first == "{", deep + 1)
    match = _SCALAR.match(text, start)
    assert match is not None  # the grammar was looked at before
    kind: Kind = "string" if first == '"' else "number" if first in "-0123456789" else "other"
    return Node(kind, match[0]), match.end()


def _container(text: str, start: int, is_object: bool, deep: int) -> tuple[Node, int]:
    if deep > _DEEPEST:
        raise ValueError("nested too deeply")
    items, glue, keys = [], [], []
    at = _end_of_space(text, start + 1)
    before = start
    while text[at] not in "]}":
        if text[at] == ",":
            at = _end_of_space(text, at + 1)
        if is_object:
            match = _SCALAR.match(text, at)
            assert match is not None
            keys.append(match[0][1:-1])
            at = _end_of_space(text, _end_of_space(text, match.end()) + 1)
        glue.append(text[before:at])
        item, before = _value(text, at, deep)
        items.append(item)
        at = _end_of_space(text, before)
    glue.append(text[before : at + 1])
    return Node("object" if is_object else "list", text[start : at + 1], items, glue, keys), at + 1
