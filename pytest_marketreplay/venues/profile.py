"""What a venue is to this package: where its answers belong, what changes in every call, and what is secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pytest_marketreplay.cassette.redaction import Rules
from pytest_marketreplay.cassette.request import Asked

if TYPE_CHECKING:
    from pytest_marketreplay.market.decoding import Decoder
    from pytest_marketreplay.venues.polling import Polling
    from pytest_marketreplay.venues.streaming import Streaming


class Location(NamedTuple):
    """Where an answer stands in the tree."""

    endpoint: str
    """The path without what the venue strips: `/public/Depth` for Kraken's `/0/public/Depth`."""
    symbol: str | None
    """In the venue's common form (`BTCUSDT`, `BTC-USD`); None where the answer belongs to no single symbol."""


SYMBOL_NAMES = (
    "symbol",
    "pair",
    "instid",
    "instrument_name",
    "instrument",
    "product_id",
    "currency_pair",
    "currencypair",
    "market",
    "book",
)
"""Parameter names, lower case, by which exchanges name an instrument; the first that is there counts."""

VOLATILE = frozenset(
    ("timestamp", "signature", "sign", "sig", "nonce", "recvwindow", "recv_window", "otp", "request_id", "requestid")
)
"""Parameter names, lower case, that are new in every call with most exchanges."""

CLIENT_ORDER_IDS = frozenset(
    (
        "newclientorderid",
        "clientorderid",
        "client_order_id",
        "clordid",
        "cl_ord_id",
        "orderlinkid",
        "client_oid",
        "clientoid",
    )
)
"""Names of order ids that clients make up (ccxt and python-binance make a new one in every call)."""


class Venue:
    """One exchange's profile. Subclass it, or pass what differs; a venue is a plug-in of one file.

    All parameter and header names are compared without case.
    """

    name: str
    """The first folder of the tree."""
    hosts: tuple[str, ...] = ()
    """Host names, with a port where it is not the scheme's own; `fnmatch` patterns are allowed."""
    volatile: frozenset[str] = VOLATILE | CLIENT_ORDER_IDS
    """Parameters (lower case) that are left out of a match, because they are new in every call."""
    reference: frozenset[str] = frozenset()
    """Endpoints (as in `Location`) of reference data: it hardly changes and many tests need it."""
    secret_fields: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Endpoint -> names of the JSON fields of its answer that are themselves a secret (a listen key, a token)."""
    stored_headers: frozenset[str] = frozenset()
    """Request headers (lower case) that may be stored; by default none is."""
    symbol_names: tuple[str, ...] = SYMBOL_NAMES
    request_ids: frozenset[str] = frozenset(("id", "req_id", "reqid"))
    """Names (lower case) by which a client numbers its WebSocket messages, and the acknowledgement repeats the number."""

    def __init__(
        self,
        name: str | None = None,
        hosts: Iterable[str] | None = None,
        *,
        secret_headers: Iterable[str] = (),
        secret_params: Iterable[str] = (),
        public_params: Iterable[str] = (),
    ) -> None:
        if name is not None:
            self.name = name
        if hosts is not None:
            self.hosts = tuple(host.lower() for host in hosts)
        self.rules = Rules(secret_headers, secret_params, public_params)
        self._ranks = {name: rank for rank, name in enumerate(self.symbol_names)}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def endpoint(self, path: str) -> str:
        """Return the endpoint of a request path; the same for all spellings that the venue treats alike."""
        return path

    def symbol(self, value: str) -> str | None:
        """Return the common form of a symbol as a request spells it, or None where it names several."""
        return value

    def locate(self, asked: Asked) -> Location:
        """Return where the answer to a request belongs."""
        symbol = None
        best = len(self.symbol_names)
        for name, value in asked.params:
            rank = self._ranks.get(name)
            if rank is None:
                rank = self._ranks.get(name.lower(), best)
            if rank < best and value and isinstance(value, str):
                best, symbol = rank, self.symbol(value)
        return Location(self.endpoint(asked.path), symbol)

    def locate_stream(self, asked: Asked) -> Location:
        """Return where the frames of a WebSocket connection belong, by its URL."""
        return self.locate(asked)

    def is_keepalive(self, message: Any) -> bool:
        """Tell whether a client's message only keeps the connection open: it is neither matched nor waited for.

        `message` is the parsed JSON, or the text where it is not JSON.
        """
        if isinstance(message, dict):
            return any(message.get(name) in ("ping", "pong") for name in ("op", "event", "method", "type"))
        return message in ("ping", "pong")

    def error_body(self, status: int) -> Any:
        """Return the JSON value that an error of this status has, for faults that are injected."""
        return {"error": f"HTTP {status} (injected)"}

    def clock_error(self) -> tuple[int, Any]:
        """Return status and JSON value of the answer to a request whose timestamp or nonce is off, for faults."""
        return 401, {"error": "timestamp or nonce out of its window (injected)"}

    def market(self, endpoint: str, *, websocket: bool = False) -> Decoder | None:
        """Return a new reader of an endpoint's answers, or of one connection's frames, as market data.

        None where the venue has none there, or nobody has described it. `endpoint` is the path as it was recorded.
        """
        return None

    def polling(self) -> Polling | None:
        """Return how the venue's order books are asked for, for the collector; None where nobody has described it."""
        from pytest_marketreplay.venues import polling

        return polling.of(self)

    def streaming(self) -> type[Streaming] | None:
        """Return how the venue streams its market, for the collector; None where nobody has described it."""
        from pytest_marketreplay.venues import streaming

        return streaming.of(self)

    def problem(self, status: int, answer: Any) -> str | None:
        """Tell what went wrong in an answer, in the venue's own error shape; None for a good one.

        `answer` is the parsed JSON body, or None where it is not JSON.
        """
        return f"HTTP {status}" if status >= 400 else None


class Generic(Venue):
    """An exchange that nobody has described yet: recorded under its host's name, with generic redaction."""

    def __init__(self, host: str) -> None:
        super().__init__(host, (host,))
