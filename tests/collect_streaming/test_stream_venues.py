"""What each venue is sent and answers, by the examples of its documentation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_marketreplay.venues.registry import Registry
from pytest_marketreplay.venues.streaming import Channel, Streaming, Verdict
from pytest_marketreplay.venues.streaming_venues import STREAMING

BOTH: tuple[Channel, ...] = ("depth", "trades")


def of(venue: str, levels: int | None = None) -> Streaming:
    described = Registry().venues[venue].streaming()
    assert described is not None
    return described(levels)


@pytest.mark.parametrize("venue", list(STREAMING))
def test_every_described_venue_has_decoders_for_its_stream_and_its_snapshot(venue: str) -> None:
    profile, streaming = Registry().venues[venue], of(venue)
    path = streaming.path(["BTC-USDT"], BOTH).partition("?")[0]
    decoder = profile.market(path, websocket=True)
    assert decoder is not None
    snapshot = streaming.snapshot("BTC-USDT")
    assert decoder.joins == (snapshot is not None) == (streaming.rest is not None)
    if snapshot is not None:
        assert profile.market(snapshot.partition("?")[0]) is not None
    host = streaming.ws.partition("://")[2]
    assert Registry().of(host) is not None
    assert Registry().of(host).name == venue


def test_a_venue_that_nobody_described_has_no_streaming() -> None:
    assert Registry().venues["deribit"].streaming() is None


@pytest.mark.parametrize(
    ("venue", "path"),
    [
        ("binance", "/stream?streams=btcusdt@depth@100ms/btcusdt@trade"),
        ("binance_us", "/stream?streams=btcusdt@depth@100ms/btcusdt@trade"),
        ("binance_futures", "/stream?streams=btcusdt@depth@100ms/btcusdt@aggTrade"),
        ("kraken", "/"),
        ("okx", "/ws/v5/public"),
        ("bybit", "/v5/public/spot"),
        ("coinbase", "/"),
        ("bitstamp", "/"),
    ],
)
def test_paths(venue: str, path: str) -> None:
    assert of(venue).path(["BTC-USDT"], BOTH) == path


@pytest.mark.parametrize(
    ("venue", "sent", "answers"),
    [
        ("binance", [], []),
        (
            "kraken",
            [
                '{"event":"subscribe","reqid":3,"pair":["XBT/USD","XDG/XBT"],"subscription":{"name":"book","depth":1000}}',
                '{"event":"subscribe","reqid":3,"pair":["XBT/USD","XDG/XBT"],"subscription":{"name":"trade"}}',
            ],
            [
                f'{{"channelID":1,"channelName":"{name}","event":"subscriptionStatus","pair":"{pair}","status":"subscribed",'
                f'"subscription":{{"name":"{name}"}}}}'
                for name in ("book", "trade")
                for pair in ("XBT/USD", "XDG/XBT")
            ],
        ),
        (
            "okx",
            [
                '{"op":"subscribe","args":[{"channel":"books","instId":"BTC-USD"},{"channel":"trades","instId":"BTC-USD"},'
                '{"channel":"books","instId":"DOGE-BTC"},{"channel":"trades","instId":"DOGE-BTC"}]}'
            ],
            [
                f'{{"event":"subscribe","arg":{{"channel":"{name}","instId":"{pair}"}},"connId":"a4d3ae55"}}'
                for pair in ("BTC-USD", "DOGE-BTC")
                for name in ("books", "trades")
            ],
        ),
        (
            "bybit",
            [
                '{"req_id":"3-0","op":"subscribe","args":["orderbook.1000.BTCUSD","publicTrade.BTCUSD",'
                '"orderbook.1000.DOGEBTC","publicTrade.DOGEBTC"]}'
            ],
            ['{"success":true,"ret_msg":"subscribe","conn_id":"2324","req_id":"3-0","op":"subscribe"}'],
        ),
        (
            "coinbase",
            [
                '{"type":"subscribe","channel":"heartbeats"}',
                '{"type":"subscribe","product_ids":["BTC-USD","DOGE-BTC"],"channel":"level2"}',
                '{"type":"subscribe","product_ids":["BTC-USD","DOGE-BTC"],"channel":"market_trades"}',
            ],
            ['{"channel":"subscriptions","sequence_num":1,"events":[{"subscriptions":{"level2":["BTC-USD"]}}]}'] * 3,
        ),
        (
            "bitstamp",
            [
                f'{{"event":"bts:subscribe","data":{{"channel":"{name}_{pair}"}}}}'
                for pair in ("btcusd", "dogebtc")
                for name in ("diff_order_book", "live_trades")
            ],
            [
                f'{{"event":"bts:subscription_succeeded","channel":"{name}_{pair}","data":{{}}}}'
                for pair in ("btcusd", "dogebtc")
                for name in ("diff_order_book", "live_trades")
            ],
        ),
    ],
)
def test_the_answers_to_a_subscription_are_all_that_is_waited_for(
    venue: str, sent: list[str], answers: list[str]
) -> None:
    streaming = of(venue)
    messages = streaming.subscribe(["BTC-USD", "DOGE-BTC"], BOTH, 3, opening=True)
    assert [message.text for message in messages] == sent
    verdicts = [streaming.verdict(json.loads(answer)) for answer in answers]
    assert [verdict.key for verdict in verdicts if verdict] == [key for one in messages for key in one.expects]
    assert not any(verdict is None or verdict.problem for verdict in verdicts)


@pytest.mark.parametrize("venue", list(STREAMING))
def test_what_ends_a_stream_is_said_with_the_same_names_and_not_waited_for(venue: str) -> None:
    streaming = of(venue)
    begin = streaming.subscribe(["BTC-USD"], BOTH, 4)
    end = streaming.unsubscribe(["BTC-USD"], BOTH, 4)
    assert [message.expects for message in end] == [()] * len(begin)
    plain = [message.text.replace("unsubscribe", "subscribe").replace("UNSUBSCRIBE", "SUBSCRIBE") for message in end]
    assert plain == [message.text for message in begin]


REFUSALS: list[tuple[str, Any, Verdict]] = [
    ("binance", {"error": {"code": 2, "msg": "bad"}, "id": 3}, Verdict("3", "bad")),
    ("binance", {"code": 2, "msg": "Invalid request", "id": 3}, Verdict("3", "Invalid request")),
    ("binance", {"error": "odd", "id": 3}, Verdict("3", "odd")),
    (
        "kraken",
        {
            "errorMessage": "Currency pair not supported X/Y",
            "event": "subscriptionStatus",
            "pair": "X/Y",
            "status": "error",
            "subscription": {"name": "book"},
        },
        Verdict("subscribed book X/Y", "Currency pair not supported X/Y"),
    ),
    ("okx", {"event": "error", "code": "60012", "msg": "Invalid request"}, Verdict("", "60012 Invalid request")),
    (
        "bybit",
        {"success": False, "ret_msg": "no topic", "req_id": "3-0", "op": "subscribe"},
        Verdict("3-0", "no topic"),
    ),
    ("coinbase", {"type": "error", "message": "bad product"}, Verdict("", "bad product")),
    ("bitstamp", {"event": "bts:error", "data": {"code": 4, "message": "Bad"}}, Verdict("", "Bad")),
]


@pytest.mark.parametrize(("venue", "message", "verdict"), REFUSALS)
def test_a_refusal_says_why(venue: str, message: Any, verdict: Verdict) -> None:
    assert of(venue).verdict(message) == verdict


@pytest.mark.parametrize("venue", list(STREAMING))
@pytest.mark.parametrize("message", [[], "pong", None, 7, {}, {"event": "heartbeat"}, {"id": 7}])
def test_other_messages_are_neither_verdict_nor_farewell(venue: str, message: Any) -> None:
    streaming = of(venue)
    assert streaming.verdict(message) is None
    assert streaming.farewell(message) is None


@pytest.mark.parametrize(
    ("venue", "message"),
    [
        ("binance", {"e": "serverShutdown", "E": 1}),
        ("binance", {"stream": "x", "data": {"e": "serverShutdown", "E": 1}}),
        ("okx", {"event": "notice", "code": "64008", "msg": "The connection will soon be closed"}),
        ("bitstamp", {"event": "bts:request_reconnect", "channel": "", "data": ""}),
    ],
)
def test_a_venue_that_asks_to_connect_anew_is_understood(venue: str, message: Any) -> None:
    assert of(venue).farewell(message) is not None


def test_the_depth_is_the_least_that_has_as_many_levels() -> None:
    assert [of("kraken", levels).levels for levels in (None, 1, 10, 11, 5000)] == [1000, 10, 10, 25, 1000]
    assert of("okx", 5).levels is None
    assert of("binance_futures").snapshot("BTC-USDT") == "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"


def test_each_venue_pings_in_its_own_words_or_by_a_frame() -> None:
    said = {venue: of(venue).ping(5) for venue in STREAMING}
    assert {venue: text for venue, text in said.items() if text is not None} == {
        "kraken": '{"event":"ping","reqid":5}',
        "okx": "ping",
        "bybit": '{"req_id":"5","op":"ping"}',
    }
    for venue, text in said.items():
        if text is not None:
            message = json.loads(text) if text != "ping" else text
            assert Registry().venues[venue].is_keepalive(message)


def test_a_streaming_of_ones_own_says_what_it_has_to() -> None:
    class Own(Streaming):
        ws = "wss://own.example"

    own = Own()
    assert (own.wire("btc-usd"), own.path([], BOTH), own.snapshot("BTC-USD"), own.farewell({})) == (
        "BTC-USD",
        "/",
        None,
        None,
    )
    for call in (
        lambda: own.subscribe([], BOTH, 1),
        lambda: own.unsubscribe([], BOTH, 1),
        lambda: own.verdict({}),
    ):
        with pytest.raises(NotImplementedError):
            call()
