"""Answer as the Binance Spot REST API does: routes, weights, keys, signatures, errors.

Rules: "General API Information", "Limits" and "Request Security" of the Binance Spot REST API documentation.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from email.utils import formatdate

from .account import Account
from .binance_market import market_routes
from .binance_rules import BinanceRefusal, Parameters, Route, error_body, html_answer
from .binance_streams import BinanceStreams
from .binance_trading import trading_routes
from .limits import Limits, Verdict, WeightLimit
from .listen_keys import ListenKeys
from .market import Market
from .streams import VenueStreams
from .wire import Answer, Call, Failure, compact_json, without_parameter

_KEY_FORMAT = re.compile(r"[A-Za-z0-9]{64}")
_DEFAULT_WINDOW_MS, _WIDEST_WINDOW_MS = 5_000, 60_000
_SERVER_ERRORS = {
    500: (-1000, "An unknown error occurred while processing the request."),
    503: (-1008, "Server is currently overloaded with other requests. Please try again in a few minutes."),
    504: (-1007, "Timeout waiting for response from backend server. Send status unknown; execution status unknown."),
}


class BinanceSide:
    """Answer calls for one market and one account; `real_time` gives Unix epoch seconds for limits and signatures."""

    def __init__(
        self,
        market: Market,
        account: Account,
        *,
        api_key: str,
        api_secret: str,
        limits: Limits,
        real_time: Callable[[], float],
    ) -> None:
        self._market = market
        self._api_key = api_key
        self._secret = api_secret.encode()
        self._limits = limits
        self._real_time = real_time
        self._weight = WeightLimit(limits, real_time)
        keys = ListenKeys(market.seed)
        self._routes = {**market_routes(market, limits), **trading_routes(market, account, keys)}
        self.streams: VenueStreams = BinanceStreams(market, account, keys, limits, real_time)
        self._paths = {path for _, path in self._routes}
        self._answers = 0
        self._orders: list[float] = []

    def answer(self, call: Call) -> Answer:
        """Answer one call; never raises."""
        method = "GET" if call.method == "HEAD" else call.method
        route = self._routes.get((method, call.path))
        if route is None:
            known = call.path in self._paths
            return html_answer(405, "Not Allowed") if known else html_answer(404, "Not Found")
        verdict: Verdict | None = None
        try:
            body_pairs = [] if method == "GET" else call.form()
            parameters = Parameters(call.query_pairs(), body_pairs, self._market.listings)
            weight = route.weight if isinstance(route.weight, int) else route.weight(parameters)
            verdict = self._weight.spend(weight)
            if verdict.status != 200:
                return self._limited(verdict.status, verdict.retry_after, verdict.used)
            self._check_access(route, call, parameters)
            if route.accepts is not None:
                parameters.only(route.accepts)
            if route.moves:
                self._market.advance()
            body = compact_json(route.run(parameters))
        except BinanceRefusal as refusal:
            used = (verdict or self._weight.spend(1)).used
            return Answer(refusal.status, error_body(refusal.code, refusal.message), self._headers(used))
        headers = self._headers(verdict.used)
        if (call.method, call.path) == ("POST", "/api/v3/order"):
            now = self._real_time()
            self._orders.append(now)
            recent = sum(now - each < 10 for each in self._orders)
            headers |= {"x-mbx-order-count-10s": f"{recent}", "x-mbx-order-count-1d": f"{len(self._orders)}"}
        return Answer(200, body, headers)

    def failure(self, failure: Failure) -> Answer:
        """Make the answer of a failure that was asked for: a rate limit, a ban, a firewall, a server error."""
        if failure.status in (418, 429):
            return self._limited(failure.status, failure.retry_after, self._limits.binance_weight + 1, failure.message)
        if failure.status == 403:
            return html_answer(403, "Forbidden")
        code, message = _SERVER_ERRORS.get(failure.status, (-1001, "Internal error; unable to process your request."))
        body = error_body(code, failure.message or message)
        return Answer(failure.status, body, self._headers(1))

    def _limited(self, status: int, retry_after: int, used: int, message: str | None = None) -> Answer:
        limit = self._limits.binance_weight
        if message is None and status == 418:
            until_ms = int((self._real_time() + retry_after) * 1000)
            message = (
                f"Way too much request weight used; IP banned until {until_ms}. "
                "Please use WebSocket Streams for live updates to avoid bans."
            )
        elif message is None:
            message = (
                f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
                "Please use WebSocket Streams for live updates to avoid polling the API."
            )
        return Answer(status, error_body(-1003, message), {**self._headers(used), "Retry-After": f"{retry_after}"})

    def _headers(self, used: int) -> dict[str, str]:
        self._answers += 1
        token = hashlib.sha256(f"{self._market.seed}/answer/{self._answers}".encode()).hexdigest()
        return {
            "Content-Type": "application/json;charset=UTF-8",
            "Date": formatdate(self._market.now_ms() // 1000, usegmt=True),
            "Server": "nginx",
            "x-mbx-uuid": f"{token[:8]}-{token[8:12]}-{token[12:16]}-{token[16:20]}-{token[20:32]}",
            "x-mbx-used-weight": f"{used}",
            "x-mbx-used-weight-1m": f"{used}",
            "Cache-Control": "no-cache, no-store, must-revalidate",
            "Pragma": "no-cache",
            "Expires": "0",
        }

    def _check_access(self, route: Route, call: Call, parameters: Parameters) -> None:
        if route.security == "none":
            return
        key = call.headers.get("x-mbx-apikey", "")
        if not _KEY_FORMAT.fullmatch(key):
            raise BinanceRefusal(-2014, "API-key format invalid.", 401)
        if key != self._api_key:
            raise BinanceRefusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        if route.security == "signed":
            sent_ms = self._check_signature(call, parameters)
            self._check_moment(sent_ms, parameters)

    def _check_signature(self, call: Call, parameters: Parameters) -> int:
        parameters.mandatory("timestamp", r"^[0-9]{1,20}$")
        signature = parameters.mandatory("signature")
        query = call.query.encode("utf-8", "surrogateescape")
        body = b"" if call.method == "GET" else call.body
        # The query string and the body follow each other without an ampersand between them.
        signed = without_parameter(query, "signature") + without_parameter(body, "signature")
        expected = hmac.new(self._secret, signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.lower().encode()):
            raise BinanceRefusal(-1022, "Signature for this request is not valid.")
        return parameters.moment_ms("timestamp") or 0

    def _check_moment(self, sent_ms: int, parameters: Parameters) -> None:
        """Hold the timestamp against the real time and the market's: a client goes by either."""
        window_ms = parameters.integer("recvWindow")
        if window_ms is not None and window_ms > _WIDEST_WINDOW_MS:
            raise BinanceRefusal(-1131, "recvWindow must be less than 60000.")
        allowed_ms = _DEFAULT_WINDOW_MS if window_ms is None else window_ms
        moments = (int(self._real_time() * 1000), self._market.now_ms())
        if any(sent_ms < now_ms + 1000 and now_ms - sent_ms <= allowed_ms for now_ms in moments):
            return
        if all(sent_ms >= now_ms + 1000 for now_ms in moments):
            raise BinanceRefusal(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        raise BinanceRefusal(-1021, "Timestamp for this request is outside of the recvWindow.")
