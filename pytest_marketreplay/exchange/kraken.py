"""Answer as the Kraken Spot REST API does: methods, keys, signatures, nonces, errors.

Rules: "Spot REST Authentication", "Spot Errors" and "API Rate Limits" of the Kraken API documentation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from email.utils import formatdate

import orjson

from .account import Account
from .kraken_market import public_methods
from .kraken_private import is_order_call, private_methods
from .kraken_rules import INVALID_ARGUMENTS, UNKNOWN_METHOD, Arguments, KrakenRefusal, Pairs
from .kraken_streams import KrakenStreams
from .limits import Counter, Limits
from .market import Market
from .streams import VenueStreams
from .wire import Answer, Call, Failure, compact_json

_PUBLIC, _PRIVATE = "/0/public/", "/0/private/"


class KrakenSide:
    """Answer calls for one market and one account; `api_secret` is base64, as Kraken hands it out."""

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
        self._secret = base64.b64decode(api_secret)
        self._nonce = -1
        pairs = Pairs(market)
        self._public = public_methods(market, pairs)
        self._private = private_methods(market, account, pairs)
        self.streams: VenueStreams = KrakenStreams(market)
        self._public_calls = Counter(limits.kraken_public, limits.kraken_public_per_s, real_time)
        self._private_calls = Counter(limits.kraken_private, limits.kraken_private_per_s, real_time)

    def answer(self, call: Call) -> Answer:
        """Answer one call; never raises."""
        try:
            if call.path.startswith(_PUBLIC):
                result = self._answer_public(call, call.path.removeprefix(_PUBLIC))
            elif call.path.startswith(_PRIVATE):
                result = self._answer_private(call, call.path.removeprefix(_PRIVATE))
            else:
                return self._page(404, "Not Found")
        except KrakenRefusal as refusal:
            return self._errors(200, refusal.error)
        return Answer(200, compact_json({"error": [], "result": result}), self._headers())

    def failure(self, failure: Failure) -> Answer:
        """Make the answer of a failure that was asked for; Kraken tells most of them with status 200 or in HTML."""
        status = failure.status
        if status >= 520 or status == 403:
            return self._page(status, "Web server is returning an unknown error" if status >= 520 else "Forbidden")
        usual = "EService:Unavailable" if status >= 500 else "EAPI:Rate limit exceeded"
        if status in (418, 429):
            usual = "EGeneral:Too many requests"
        answer = self._errors(status, failure.message or usual)
        if status in (418, 429):
            answer.headers["Retry-After"] = f"{failure.retry_after}"
        return answer

    def _answer_public(self, call: Call, name: str) -> object:
        found = self._public.get(name)
        if found is None:
            raise KrakenRefusal(UNKNOWN_METHOD)
        if not self._public_calls.spend():
            raise KrakenRefusal("EGeneral:Too many requests")
        method, moves = found
        arguments = Arguments({**dict(call.query_pairs()), **_body_arguments(call)})
        if moves:
            self._market.advance()
        return method(arguments)

    def _answer_private(self, call: Call, name: str) -> object:
        method = self._private.get(name)
        if method is None or call.method != "POST":
            raise KrakenRefusal(UNKNOWN_METHOD)
        arguments = Arguments(_body_arguments(call))
        self._check_access(call, arguments.text("nonce"))
        if not is_order_call(name) and not self._private_calls.spend():
            raise KrakenRefusal("EAPI:Rate limit exceeded")
        return method(arguments)

    def _check_access(self, call: Call, nonce: str) -> None:
        if call.headers.get("api-key", "") != self._api_key:
            raise KrakenRefusal("EAPI:Invalid key")
        if not nonce.isdecimal() or len(nonce) > 20:
            raise KrakenRefusal("EAPI:Invalid nonce")
        path = call.path.encode("utf-8", "surrogateescape")
        message = path + hashlib.sha256(nonce.encode() + call.body).digest()
        expected = base64.b64encode(hmac.new(self._secret, message, hashlib.sha512).digest())
        if not hmac.compare_digest(expected, call.headers.get("api-sign", "").encode()):
            raise KrakenRefusal("EAPI:Invalid signature")
        if int(nonce) <= self._nonce:
            raise KrakenRefusal("EAPI:Invalid nonce")
        self._nonce = int(nonce)

    def _headers(self) -> dict[str, str]:
        return {
            "Content-Type": "application/json; charset=utf-8",
            "Date": formatdate(self._market.now_ms() // 1000, usegmt=True),
            "Server": "cloudflare",
            "Cache-Control": "private, max-age=0, no-store, no-cache, must-revalidate",
        }

    def _errors(self, status: int, error: str) -> Answer:
        return Answer(status, compact_json({"error": [error]}), self._headers())

    def _page(self, status: int, reason: str) -> Answer:
        page = f"<!DOCTYPE html>\n<html><head><title>api.kraken.com | {status}: {reason}</title></head></html>\n"
        return Answer(status, page.encode(), {**self._headers(), "Content-Type": "text/html; charset=UTF-8"})


def _body_arguments(call: Call) -> dict[str, object]:
    if call.method not in ("POST", "PUT"):
        return {}
    if call.headers.get("content-type", "").startswith("application/json"):
        try:
            values = orjson.loads(call.body)
        except orjson.JSONDecodeError:
            raise KrakenRefusal(INVALID_ARGUMENTS) from None
        if not isinstance(values, dict):
            raise KrakenRefusal(INVALID_ARGUMENTS)
        return values
    return dict(call.form())
