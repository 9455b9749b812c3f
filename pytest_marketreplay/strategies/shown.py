"""What recorded answers of one shape show: which lists have what order, which texts come at a path, what can be 0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise

from pytest_marketreplay.strategies.json_tree import Node

Path = tuple[str, ...]
"""Keys, `*` for any item of a list that can have any number of them, `0`, `1`, ... for the columns of a row."""

ANY = "*"
BIDS = frozenset(("bids", "b", "bs"))
ASKS = frozenset(("asks", "a", "as"))
_OPPOSITE = {"bids": "asks", "b": "a", "bs": "as", "asks": "bids", "a": "b", "as": "bs"}
_PRICES = ("price", "0")
_MOST_TEXTS = 64
_MOST_NODES = 100_000


def grows(node: Node, in_list: bool) -> bool:
    """Tell whether a list can have any number of items; the others are rows, whose items are columns.

    A list of objects, of lists or of words can; one of scalars with numbers among them, of mixed kinds, or of words
    inside another list is a row.
    """
    kinds = {item.kind for item in node.items}
    if len(kinds) > 1:
        return False
    if not kinds or kinds <= {"object", "list"}:
        return True
    return kinds == {"string"} and not in_list and not any(item.number for item in node.items)


def columns(item: Node) -> Iterator[tuple[str, Node]]:
    """Yield the values of a row or an object with their names."""
    if item.kind == "object":
        yield from zip(item.keys, item.items, strict=True)
    elif item.kind == "list":
        for number, value in enumerate(item.items):
            yield str(number), value


def column(item: Node, name: str) -> Decimal | None:
    """Return the number in a column, or None."""
    for known, value in columns(item):
        if known == name:
            return value.number.value if value.number else None
    return None


def signature(node: Node, deep: int = 3) -> object:
    """Return what tells kinds of answers at one endpoint apart: keys, and kinds in rows."""
    if node.kind == "object" and deep:
        return tuple((key, signature(item, deep - 1)) for key, item in zip(node.keys, node.items, strict=True))
    if node.kind == "list" and deep and not grows(node, False):
        return [signature(item, deep - 1) for item in node.items].__repr__()
    return node.kind


def direction(values: Sequence[Decimal]) -> int:
    """Return how two values or more go: 2 strictly up, 1 never down, 0 neither, -1 never up, -2 strictly down; 3 all equal."""
    pairs = list(pairwise(values))
    if all(left == right for left, right in pairs):
        return 3
    if all(left <= right for left, right in pairs):
        return 2 if all(left < right for left, right in pairs) else 1
    if all(left >= right for left, right in pairs):
        return -2 if all(left > right for left, right in pairs) else -1
    return 0


def _both(one: int, other: int) -> int:
    if 3 in (one, other):
        known = one if other == 3 else other
        return 3 if known == 3 else max(-1, min(1, known))
    if one * other <= 0:
        return 0
    return min(one, other) if one > 0 else max(one, other)


class Shown:
    """What some recorded answers of one shape show."""

    def __init__(self, trees: Iterable[Node]) -> None:
        self.texts: dict[Path, dict[str, int]] = {}
        """Words and `true`, `false` by path: how often each was seen."""
        self.zero: set[Path] = set()
        """Where a number was 0."""
        self.empty: set[Path] = set()
        """Where a list was empty."""
        self.longest: dict[Path, int] = {}
        """Lists that can have any number of items, outer before inner, and the most that one had."""
        self._order: dict[Path, dict[str, int]] = {}
        self._fixed: set[Path] = set()
        """Lists whose items are told apart by a word of their own."""
        self._left = _MOST_NODES
        for tree in trees:
            self._look(tree, (), False)
            if self._left < 0:
                break

    def _look(self, node: Node, path: Path, in_list: bool) -> None:
        self._left -= 1
        if node.kind == "object":
            for key, item in zip(node.keys, node.items, strict=True):
                self._look(item, (*path, key), False)
        elif node.kind == "list":
            growing = grows(node, in_list)
            if growing:
                self.longest[path] = max(self.longest.get(path, 0), len(node.items))
                if not node.items:
                    self.empty.add(path)
                elif len(node.items) > 1:
                    self._compare(node, path)
            for number, item in enumerate(node.items):
                self._look(item, (*path, ANY if growing else str(number)), True)
        elif (number_ := node.number) is not None:
            if not number_.units:
                self.zero.add(path)
        else:
            assert node.text is not None  # only containers are ever without
            texts = self.texts.setdefault(path, {})
            if node.text in texts or len(texts) < _MOST_TEXTS:
                texts[node.text] = texts.get(node.text, 0) + 1

    def _compare(self, node: Node, path: Path) -> None:
        """Note the order of each column, and whether a column of words names the items."""
        values: dict[str, list[Decimal]] = {}
        words: dict[str, set[str]] = {}
        for item in node.items:
            for name, value in columns(item) if item.kind in ("object", "list") else (("", item),):
                if value.number is not None:
                    values.setdefault(name, []).append(value.number.value)
                elif value.kind == "string" and value.text is not None:
                    words.setdefault(name, set()).add(value.text)
        count = len(node.items)
        if any(len(seen) == count for seen in words.values()):
            self._fixed.add(path)
        order = self._order.get(path)
        now = {name: direction(column) for name, column in values.items() if len(column) == count}
        self._order[path] = (
            now if order is None else {name: _both(order[name], way) for name, way in now.items() if name in order}
        )

    def order(self, path: Path, name: str) -> int:
        """Return how a column of a list goes: 2, 1, 0, -1, -2 as `direction` says; books have their own where none shows."""
        known = self._order.get(path)
        if known is None:
            if path and name in _PRICES:
                return -2 if path[-1] in BIDS else 2 if path[-1] in ASKS else 0
            return 0
        way = known.get(name, 0)
        return 1 if way == 3 else way

    def ordered(self, path: Path, item: Node) -> list[str]:
        """Return the columns of a list that go up or down."""
        return [name for name, value in columns(item) if value.number is not None and self.order(path, name)]

    def may_grow(self, path: Path) -> bool:
        """Tell whether items can be added: nothing names them, and a book grows away from its other side."""
        if path in self._fixed:
            return False
        if path and path[-1] in _OPPOSITE:
            away = -1 if path[-1] in BIDS else 1
            return all(self.order(path, name) * away >= 0 for name in _PRICES)
        return True

    def words(self, path: Path) -> list[str]:
        """Return what a word can be: what was seen at its path, where that repeats; nothing for names and texts."""
        seen = self.texts.get(path, {})
        return sorted(seen) if 1 < len(seen) <= sum(seen.values()) // 2 else []


def opposite_side(parent: Node | None, key: str) -> list[Decimal]:
    """Return the prices of the other side of a book, or nothing where there is none."""
    name = _OPPOSITE.get(key)
    if parent is None or name is None or name not in parent.keys:
        return []
    side = parent.items[parent.keys.index(name)]
    prices = []
    for item in side.items:
        price = next((value for each in _PRICES if (value := column(item, each)) is not None), None)
        if price is not None:
            prices.append(price)
    return prices


def is_price(name: str) -> bool:
    """Tell whether a column of a book's side is its price."""
    return name in _PRICES
