"""How Binance reads parameters and says no."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import orjson

from pytest_marketreplay.errors import MarketReplayError

from .decimals import decimal_e8
from .wire import Answer, compact_json

Security = Literal["none", "key", "signed"]

_SYMBOL = r"^[A-Z0-9-_.]{1,20}$"
_SYMBOLS = r"^\[(\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}){0,1}\]$"
_NUMBER = r"^[0-9]{1,20}$"
_DECIMAL = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
_CLIENT_ID = r"^[a-zA-Z0-9-_]{1,36}$"


class BinanceRefusal(MarketReplayError):
    """Carry an error answer of the Binance API: HTTP status, code and message.

    Codes and messages: "Error codes for Binance" in the Spot API documentation (errors.md).
    """

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        self.code, self.message, self.status = code, message, status
        super().__init__(f"{code}: {message}")


def error_body(code: int, message: str) -> bytes:
    """Write the body of an error."""
    return compact_json({"code": code, "msg": message})


class Parameters:
    """Read the parameters of one call; each reader raises BinanceRefusal as the API would answer."""

    def __init__(
        self, query: Iterable[tuple[str, str]], form: Iterable[tuple[str, str]], symbols: Iterable[str]
    ) -> None:
        self._values: dict[str, str] = {}
        for pairs in (query, form):
            seen: set[str] = set()
            for name, value in pairs:
                if name in seen:
                    raise BinanceRefusal(-1101, f"Duplicate values for parameter '{name}' detected.")
                seen.add(name)
                self._values.setdefault(name, value)  # the query wins over the body
        self._symbols = set(symbols)

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def only(self, accepted: frozenset[str]) -> None:
        """Refuse parameters that the endpoint does not know."""
        sent = len(self._values)
        read = sum(name in accepted for name in self._values)
        if not accepted and sent:
            raise BinanceRefusal(-1101, f"Too many parameters; expected '0' and received '{sent}'.")
        if read < sent:
            message = f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'."
            raise BinanceRefusal(-1104, message)

    def text(self, name: str, legal: str = _CLIENT_ID) -> str | None:
        """Read an optional text that must match a range of characters."""
        value = self._values.get(name)
        if value is None:
            return None
        if not value:
            raise BinanceRefusal(-1105, f"Parameter '{name}' was empty.")
        if not re.fullmatch(legal, value):
            message = f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
            raise BinanceRefusal(-1100, message)
        return value

    def mandatory(self, name: str, legal: str = r"^.{1,200}$") -> str:
        """Read a text that must be there."""
        if not self._values.get(name):
            message = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
            raise BinanceRefusal(-1102, message)
        return self.text(name, legal) or ""

    def integer(self, name: str) -> int | None:
        """Read an optional whole number."""
        value = self.text(name, _NUMBER)
        return None if value is None else int(value)

    def moment_ms(self, name: str) -> int | None:
        """Read a time in milliseconds; microseconds, which are accepted too, are cut."""
        value = self.integer(name)
        return value // 1000 if value is not None and value >= 10**15 else value

    def limit(self, default: int, most: int) -> int:
        """Read `limit`; more than `most` means `most`, and 0 is refused."""
        value = self.integer("limit")
        if value == 0:
            raise BinanceRefusal(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(value if value is not None else default, most)

    def amount_e8(self, name: str) -> int | None:
        """Read an optional decimal as 1e-8 parts."""
        value = self.text(name, _DECIMAL)
        if value is None:
            return None
        amount = decimal_e8(value)
        if amount is None:
            raise BinanceRefusal(-1111, f"Parameter '{name}' has too much precision.")
        return amount

    def one_of(self, name: str, values: Iterable[str], code: int, message: str) -> str:
        """Read a mandatory word out of a list."""
        value = self.mandatory(name)
        if value not in values:
            raise BinanceRefusal(code, message)
        return value

    def symbol(self) -> str:
        """Read a mandatory symbol that the venue lists."""
        return self._listed(self.mandatory("symbol", _SYMBOL))

    def symbols(self) -> list[str] | None:
        """Read `symbols`, or `symbol`, or None when neither was sent; both at once are refused."""
        if "symbols" in self:
            if "symbol" in self:
                raise BinanceRefusal(-1128, "Combination of optional parameters invalid.")
            value = self.mandatory("symbols", _SYMBOLS)
            names = [self._listed(name) for name in orjson.loads(value)]
            if len(set(names)) < len(names):
                raise BinanceRefusal(-1151, "Symbol is present multiple times in the list.")
            return names
        return [self.symbol()] if "symbol" in self else None

    def _listed(self, symbol: str) -> str:
        if symbol not in self._symbols:
            raise BinanceRefusal(-1121, "Invalid symbol.")
        return symbol


@dataclass(frozen=True, slots=True)
class Route:
    """Describe one endpoint: what it runs, its weight, what it accepts and who may call it."""

    run: Callable[[Parameters], object]
    weight: int | Callable[[Parameters], int] = 1
    accepts: frozenset[str] | None = None
    """Parameters that it knows; None accepts any."""
    security: Security = "none"
    moves: bool = False
    """True when asking moves the market by one step."""


Routes = Mapping[tuple[str, str], Route]


def html_answer(status: int, reason: str) -> Answer:
    """Give the page of the web server that stands before the API, for a path that the API does not know."""
    title = f"{status} {reason}"
    page = (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return Answer(status, page.encode(), {"Content-Type": "text/html", "Server": "nginx"})
