"""Drawing a recorded JSON value with other numbers, words and lengths, in the same shape.

Numbers keep their spelling (quotes, decimals, sign), the order that the recording shows in its lists, and their order
among the numbers of their own size in the same object or row: low stays below high, `U` below `u`, open below close time.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

from pytest_marketreplay.strategies.draws import st
from pytest_marketreplay.strategies.json_tree import Node, Number
from pytest_marketreplay.strategies.shown import ANY, BIDS, Path, Shown, column, columns, grows, is_price, opposite_side

Draw = Callable[[Any], Any]

_FEW = 6
_MORE = 3
_MOST_EDITS = 5
_SAFE = (2**53 - 1, 2**63 - 1, 2**64 - 1)
_SAME_SIZE = 2
_WIDEST_STEP = 50


class _Above(NamedTuple):
    """A container on the way down, and which of its items was taken."""

    node: Node
    path: Path
    place: int


def mutated(draw: Draw, tree: Node, shown: Shown) -> Node:
    """Draw lengths for the lists and new values for some leaves; shrinks towards short lists of recorded values."""
    lengths: dict[Path, int] = {}
    for path, longest in shown.longest.items():
        least = 0 if path in shown.empty else 1
        if longest < max(1, least):
            continue
        few = st.integers(least, min(longest, _FEW))
        lengths[path] = draw(few if longest < 2 and not shown.may_grow(path) else few | st.integers(1, longest + _MORE))
    tree = _resized(draw, tree, (), False, shown, lengths)
    for _ in range(draw(st.integers(0, _MOST_EDITS))):
        tree = _edited(draw, tree, shown)
    return tree


# ---------------------------------------------------------------- lengths


def _resized(draw: Draw, node: Node, path: Path, in_list: bool, shown: Shown, lengths: dict[Path, int]) -> Node:
    if node.kind not in ("object", "list") or not node.items:
        return node
    growing = node.kind == "list" and grows(node, in_list)
    if growing and path in lengths:
        wanted = lengths[path]
        if wanted < len(node.items):
            node = node.with_items(node.items[:wanted])
        elif wanted > len(node.items) and shown.may_grow(path):
            node = _grown(draw, node, path, shown, min(wanted - len(node.items), _MORE))
    if not _has_lists(path, lengths):
        return node
    items = [
        _resized(
            draw,
            item,
            (*path, node.keys[place] if node.kind == "object" else ANY if growing else str(place)),
            node.kind == "list",
            shown,
            lengths,
        )
        for place, item in enumerate(node.items)
    ]
    if all(new is old for new, old in zip(items, node.items, strict=True)):
        return node
    return Node(node.kind, None, items, node.glue, node.keys)


def _has_lists(path: Path, lengths: dict[Path, int]) -> bool:
    deep = len(path)
    return any(len(known) > deep and known[:deep] == path for known in lengths)


def _grown(draw: Draw, node: Node, path: Path, shown: Shown, more: int) -> Node:
    """Add items like those that are there; columns that go up or down go on."""
    items = list(node.items)
    ordered = shown.ordered(path, items[-1])
    steps = {name: draw(st.integers(1, _WIDEST_STEP)) for name in ordered}
    for number in range(more):
        like, last = node.items[number % len(node.items)], items[-1]
        for name in ordered:
            at, before = _numbered(like, name), _numbered(last, name)
            if at is None or before is None:
                return node.with_items(items)
            spelled = at[1]
            step = steps[name] if shown.order(path, name) > 0 else -steps[name]
            way = ROUND_FLOOR if step < 0 else ROUND_CEILING
            units = int((before[1].value * spelled.scale).to_integral_value(way)) + step
            if spelled.exponent or not _like(units, before[1].units):
                return node.with_items(items)
            like = like.with_item(at[0], _spelled(spelled, units))
        items.append(like)
    return node.with_items(items)


def _numbered(item: Node, name: str) -> tuple[int, Number] | None:
    for place, (known, value) in enumerate(columns(item)):
        if known == name and value.number is not None:
            return place, value.number
    return None


def _like(units: int, before: int) -> bool:
    """Tell whether a number that follows another is of its kind: the same sign, and no larger than a client can read."""
    same_sign = units >= 0 if not before else units > 0 if before > 0 else units < 0
    return same_sign and abs(units) <= _cap(before)


def _cap(recorded: int) -> int:
    """Return how large a number may be: a client that reads the recorded one reads that too."""
    return next((cap for cap in _SAFE if abs(recorded) <= cap), abs(recorded))


# ---------------------------------------------------------------- values


def _edited(draw: Draw, tree: Node, shown: Shown) -> Node:
    """Walk down to one leaf and draw it anew; a leaf that can be nothing else stays."""
    above: list[_Above] = []
    node = tree
    path: Path = ()
    while node.items:
        place = draw(st.integers(0, len(node.items) - 1))
        above.append(_Above(node, path, place))
        in_list = len(above) > 1 and above[-2].node.kind == "list"
        if node.kind == "object":
            path = (*path, node.keys[place])
        else:
            path = (*path, ANY if grows(node, in_list) else str(place))
        node = node.items[place]
    new = _leaf(draw, node, path, above, shown)
    if new is node:
        return tree
    for each in reversed(above):
        new = each.node.with_item(each.place, new)
    return new


def _leaf(draw: Draw, node: Node, path: Path, above: list[_Above], shown: Shown) -> Node:
    number = node.number
    if number is None:
        words = shown.words(path)
        if node.text not in words:
            return node
        chosen = draw(st.sampled_from([node.text, *(word for word in words if word != node.text)]))
        return node if chosen == node.text else Node(node.kind, chosen)
    if not number.units and node.text is not None and node.text.lstrip('"').startswith("-"):
        return node  # -0.00: its sign says nothing of other numbers
    low, high = _bounds(number, path, above, shown)
    if not low <= number.units <= high or low == high:
        return node
    moved = draw(st.integers(low - number.units, high - number.units))
    return _spelled(number, number.units + moved) if moved else node


def _spelled(number: Number, units: int) -> Node:
    return Node("string" if number.quoted else "number", number.spelled(units))


def _bounds(number: Number, path: Path, above: list[_Above], shown: Shown) -> tuple[int, int]:
    """Return between which numbers of units a leaf can move."""
    low, high = _reach(number, path in shown.zero)
    if not above:
        return low, high
    bounds = _Bounds(number, low, high)
    parent = above[-1]
    name, _ = list(columns(parent.node))[parent.place] if parent.node.kind == "object" else (str(parent.place), None)
    _among_siblings(bounds, parent)
    if len(above) > 1 and above[-2].node.kind == "list":
        rows = above[-2]
        order = shown.order(rows.path, name) if path[len(rows.path)] == ANY else 0
        if order:
            up, strict = order > 0, abs(order) == 2
            for place, is_before in ((rows.place - 1, True), (rows.place + 1, False)):
                if 0 <= place < len(rows.node.items):
                    neighbour = column(rows.node.items[place], name)
                    if neighbour is not None:
                        bounds.above(neighbour, strict) if is_before is up else bounds.below(neighbour, strict)
        if len(above) > 2 and above[-3].node.kind == "object" and is_price(name):
            side = above[-3].node.keys[above[-3].place]
            others = opposite_side(above[-3].node, side)
            if others and side in BIDS and number.value < min(others):
                bounds.below(min(others), True)
            elif others and side not in BIDS and number.value > max(others):
                bounds.above(max(others), True)
    return bounds.low, bounds.high


def _reach(number: Number, zero_seen: bool) -> tuple[int, int]:
    """Return a tenth to ten times a number; 0 only where it was seen."""
    units = abs(number.units)
    cap = _cap(number.units)
    if number.exponent:  # 1.0E-8 keeps its one digit before the point
        digits = len(str(units))
        low, high = (10 ** (digits - 1), 10**digits - 1) if units else (0, 0)
    elif not units:
        low, high = 0, 1_000 * 10**number.decimals
    else:
        low, high = 0 if zero_seen else max(1, units // 10), max(units, min(units * 10, cap))
    return (-high, -low) if number.units < 0 else (low, high)


def _among_siblings(bounds: _Bounds, parent: _Above) -> None:
    mine = bounds.number.value
    for place, item in enumerate(parent.node.items):
        other = item.number
        if (
            place == parent.place
            or other is None
            or other.quoted != bounds.number.quoted
            or not other.units
            or not mine
        ):
            continue
        value = other.value
        if value == mine:  # which of the two may be larger does not show
            bounds.low = bounds.high = bounds.number.units
        elif (
            (value > 0) is (mine > 0) and abs(value) <= abs(mine) * _SAME_SIZE and abs(mine) <= abs(value) * _SAME_SIZE
        ):
            # and no further away than it still counts as of this size: the next edit is bound by it too
            if value < mine:
                bounds.above(value, True)
                bounds.below(value * _SAME_SIZE if mine > 0 else value / _SAME_SIZE, False)
            else:
                bounds.below(value, True)
                bounds.above(value / _SAME_SIZE if mine > 0 else value * _SAME_SIZE, False)


class _Bounds:
    """The units between which a number can move."""

    def __init__(self, number: Number, low: int, high: int) -> None:
        self.number, self.low, self.high = number, low, high

    def above(self, value: Decimal, strict: bool) -> None:
        """Stay above another number, or where it is not strict at it."""
        scaled = value * self.number.scale
        least = (
            int(scaled.to_integral_value(ROUND_FLOOR)) + 1 if strict else int(scaled.to_integral_value(ROUND_CEILING))
        )
        self.low = max(self.low, least)

    def below(self, value: Decimal, strict: bool) -> None:
        """Stay below another number, or where it is not strict at it."""
        scaled = value * self.number.scale
        most = (
            int(scaled.to_integral_value(ROUND_CEILING)) - 1 if strict else int(scaled.to_integral_value(ROUND_FLOOR))
        )
        self.high = min(self.high, most)
