"""The control messages of Binance's streams: how they are read, and what is wrong with them.

Methods and texts: "Live Subscribing/Unsubscribing to streams" and "Error Messages" of web-socket-streams.md.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import orjson

from pytest_marketreplay.errors import MarketReplayError

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_TEXT_ID = re.compile(r"[a-zA-Z0-9_-]{1,36}")
_INVALID = 2

Id = int | str | None


class BinanceMistake(MarketReplayError):
    """Carry an error frame; `id` is left out of the frame where none could be read."""

    def __init__(self, code: int, message: str, *, id: Id = None, with_id: bool = False) -> None:
        self.code, self.message, self.id, self.with_id = code, message, id, with_id
        super().__init__(f"{code}: {message}")

    def answer(self) -> dict[str, object]:
        """Give the frame."""
        frame: dict[str, object] = {"error": {"code": self.code, "msg": self.message}}
        return {**frame, "id": self.id} if self.with_id else frame


class Control(NamedTuple):
    """Hold one control message."""

    method: str
    params: list[object]
    id: Id

    def streams(self) -> list[str]:
        """List the streams that are named; raises BinanceMistake when that is no list of names."""
        names = [name for name in self.params if isinstance(name, str)]
        if not self.params or len(names) < len(self.params):
            raise self._wrong("Invalid request: expected a list of stream names")
        return names

    def known_property(self) -> None:
        """Check the property's name; raises BinanceMistake for another one than `combined`."""
        if not self.params or not isinstance(self.params[0], str):
            raise self._wrong("Invalid request: property name must be a string")
        if len(self.params) > (2 if self.method == "SET_PROPERTY" else 1):
            raise self._wrong("Invalid request: too many parameters")
        if self.params[0] != "combined":
            raise BinanceMistake(0, "Unknown property", id=self.id, with_id=True)

    def combined(self) -> bool:
        """Read the value that `combined` is to have; raises BinanceMistake when it is no boolean."""
        self.known_property()
        value = self.params[1] if len(self.params) > 1 else None
        if not isinstance(value, bool):
            raise BinanceMistake(1, "Invalid value type: expected Boolean", id=self.id, with_id=True)
        return value

    def _wrong(self, message: str) -> BinanceMistake:
        return BinanceMistake(_INVALID, message, id=self.id, with_id=True)


def read_control(text: str) -> Control:
    """Read a text frame; raises BinanceMistake, whose places in the text are counted as Binance counts them."""
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f"at line {error.lineno} column {error.colno}"
        raise BinanceMistake(3, f"Invalid JSON: expected value {where}") from None
    end = f"at line {text.count(chr(10)) + 1} column {len(text) - text.rfind(chr(10)) - 1}"
    if not isinstance(message, dict):
        raise BinanceMistake(_INVALID, f"Invalid request: invalid type, expected a request {end}")
    method, number, params = message.get("method"), message.get("id"), message.get("params", [])
    if not _is_id(number):
        raise BinanceMistake(_INVALID, "Invalid request: request ID must be an unsigned integer")
    if "method" not in message:
        raise BinanceMistake(_INVALID, f"Invalid request: missing field `method` {end}", id=number, with_id=True)
    if method not in _METHODS:
        known = ", ".join(f"`{each}`" for each in _METHODS)
        place = text.find(f'"{method}"') + len(f"{method}") + 2
        problem = f"unknown variant `{method}`, expected one of {known} at line 1 column {place}"
        raise BinanceMistake(_INVALID, f"Invalid request: {problem}", id=number, with_id=True)
    if not isinstance(params, list):
        raise BinanceMistake(_INVALID, f"Invalid request: invalid type {end}", id=number, with_id=True)
    return Control(method, params, number)


def _is_id(value: object) -> bool:
    if isinstance(value, str):
        return _TEXT_ID.fullmatch(value) is not None
    if isinstance(value, bool):
        return False
    return value is None or (isinstance(value, int) and -(2**63) <= value < 2**63)
