"""One client of Kraken's WebSocket API, version 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_marketreplay.venues.kraken import pair_name

from .client import Client
from .native import Desk, dumps, message_object, texts
from .pump import Pump
from .timeline import Route

_DEFAULTS = {"book": ("depth", 10), "ohlc": ("interval", 1)}


def v1_route(channel: str, pair: str | None) -> Route:
    """Return the route of a channel and a pair, however the pair is spelt."""
    return "v1", channel, (pair_name(pair) or pair) if pair else ""


class V1Session:
    """Subscriptions by pair and name, one acknowledgement for each pair."""

    def __init__(self, client: Client, pump: Pump, desk: Desk, acknowledged: Mapping[Route, dict[str, Any]]) -> None:
        self._client, self._pump, self._desk, self._acknowledged = client, pump, desk, acknowledged

    async def start(self) -> None:
        """Say the recorded status of the system, which comes first."""
        route = v1_route("systemStatus", None)
        if not self._desk.has(route):
            return
        stream = self._desk.timeline.streams[route]
        await self._client.send("text", self._desk.timeline.frames.read(stream.lines[0]).data())

    async def message(self, data: bytes) -> None:
        """Answer ping, subscribe and unsubscribe."""
        message = message_object(data) or {}
        event = message.get("event")
        subscription = message.get("subscription")
        if event == "ping":
            await self._say({"event": "pong"}, message)
        elif event in ("subscribe", "unsubscribe") and isinstance(subscription, dict):
            pairs: list[str | None] = [*texts(message.get("pair"))]
            for pair in pairs or [None]:
                await self._subscription(str(event), pair, subscription, message)
        else:
            self._desk.miss(f"message {data.decode('utf-8', 'replace')}")
            await self._say({"errorMessage": "Malformed request", "event": "error", "status": "error"}, message)

    async def _subscription(
        self, event: str, pair: str | None, subscription: dict[str, Any], message: dict[str, Any]
    ) -> None:
        name = str(subscription.get("name"))
        kept = {key: value for key, value in subscription.items() if key != "token"}
        channel = name
        if name in _DEFAULTS:
            key, usual = _DEFAULTS[name]
            kept.setdefault(key, usual)
            channel = f"{name}-{kept[key]}"
        route = v1_route(channel, pair)
        known = {"pair": pair} if pair else {}
        if not self._desk.has(route):
            why = self._desk.miss(f"{event} {' '.join(route)}", route)
            problem = {"errorMessage": f"Currency pair not supported {pair or channel} ({why})"}
            problem |= {"event": "subscriptionStatus", "status": "error"}
            await self._say({**problem, **known, "subscription": kept}, message)
            return
        recorded = self._acknowledged.get(route)
        if recorded is None:
            recorded = {"channelName": channel, "event": "subscriptionStatus", **known, "subscription": kept}
        status = "subscribed" if event == "subscribe" else "unsubscribed"
        answer = {key: value for key, value in recorded.items() if key != "reqid"}
        await self._say(answer | known | {"status": status}, message)
        beat = v1_route("heartbeat", None)
        if event == "subscribe":
            self._pump.subscribe([route, *([beat] if self._desk.has(beat) else [])])
        else:
            self._pump.unsubscribe([route])

    async def _say(self, answer: dict[str, Any], message: dict[str, Any]) -> None:
        """Send an answer with the client's own number."""
        if (number := message.get("reqid")) is not None:
            answer["reqid"] = number
        await self._client.send("text", dumps(answer))
