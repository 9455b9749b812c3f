"""Venues: where answers belong, what is volatile and secret, what went wrong; one contract for all of them."""

from __future__ import annotations

import json

import pytest

from pytest_marketreplay.cassette.request import parse
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.replay.matching import Matcher
from pytest_marketreplay.venues.kraken import pair_name
from pytest_marketreplay.venues.profile import Generic, Location, Venue
from pytest_marketreplay.venues.registry import Registry

PACKAGED = sorted(Registry().venues)


def located(method: str, url: str, body: str | None = None) -> tuple[str, Location]:
    asked = parse(method, url, body)
    venue = Registry().of(asked.host)
    return venue.name, venue.locate(asked)


@pytest.mark.parametrize(
    ("url", "venue", "endpoint", "symbol"),
    [
        ("https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=5", "binance", "/api/v3/depth", "BTCUSDT"),
        ("https://api3.binance.com/api/v3/depth?symbol=btcusdt", "binance", "/api/v3/depth", "BTCUSDT"),
        ("https://data-api.binance.vision/api/v3/time", "binance", "/api/v3/time", None),
        ('https://api.binance.com/api/v3/ticker/price?symbols=["BTCUSDT"]', "binance", "/api/v3/ticker/price", None),
        ("https://api.binance.us/api/v3/depth?symbol=BTCUSD", "binance_us", "/api/v3/depth", "BTCUSD"),
        ("https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT", "binance_futures", "/fapi/v1/depth", "BTCUSDT"),
        ("https://api.kraken.com/0/public/Depth?pair=XBTUSD", "kraken", "/public/Depth", "BTC-USD"),
        ("https://api.kraken.com/0/public/Ticker?pair=XBTUSD,ETHUSD", "kraken", "/public/Ticker", None),
        ("https://api.kraken.com/0/public/Time", "kraken", "/public/Time", None),
        ("https://api.example.org/v1/book?market=BTC_EUR", "api.example.org", "/v1/book", "BTC_EUR"),
        ("https://api.example.org:8443/v1/book?instId=BTC-EUR", "api.example.org:8443", "/v1/book", "BTC-EUR"),
    ],
)
def test_an_answer_belongs_to_its_venue_endpoint_and_symbol(
    url: str, venue: str, endpoint: str, symbol: str | None
) -> None:
    assert located("GET", url) == (venue, Location(endpoint, symbol))


def test_krakens_post_form_belongs_where_its_get_does() -> None:
    by_post = located("POST", "https://api.kraken.com/0/public/Depth", "pair=XXBTZUSD&count=5")
    assert by_post == located("GET", "https://api.kraken.com/0/public/Depth?pair=XBT%2FUSD&count=5")


@pytest.mark.parametrize(
    ("spelling", "common"),
    [
        ("XBTUSD", "BTC-USD"),
        ("XXBTZUSD", "BTC-USD"),
        ("BTC-USD", "BTC-USD"),
        ("XBT/USD", "BTC-USD"),
        ("BTC/USD", "BTC-USD"),
        ("xbtusd", "BTC-USD"),
        ("XETHXXBT", "ETH-BTC"),
        ("ETHXBT", "ETH-BTC"),
        ("XDGUSD", "DOGE-USD"),
        ("XXDGXXBT", "DOGE-BTC"),
        ("SOLUSDT", "SOL-USDT"),
        ("USDTZUSD", "USDT-USD"),
        ("ADAEUR", "ADA-EUR"),
        ("DOTETH", "DOT-ETH"),
        ("XRPUSD", "XRP-USD"),
        ("XXRPZEUR", "XRP-EUR"),
        ("XTZUSD", "XTZ-USD"),
        ("XBTUSD.d", "BTC-USD.d"),
        ("XBTPYUSD", "BTC-PYUSD"),
        ("ODD", "ODD"),
        ("XBTUSD,ETHUSD", None),
    ],
)
def test_kraken_spells_a_pair_in_many_ways_and_means_one(spelling: str, common: str | None) -> None:
    assert pair_name(spelling) == common


@pytest.mark.parametrize(
    ("venue", "status", "answer", "problem"),
    [
        ("binance", 200, {"code": 0}, None),
        ("binance", 400, {"code": -1121, "msg": "Invalid symbol."}, "HTTP 400: -1121 Invalid symbol."),
        ("binance", 429, {"code": -1003, "msg": "Too many."}, "rate limited (HTTP 429): -1003 Too many."),
        ("binance", 418, None, "banned (HTTP 418)"),
        ("kraken", 200, {"error": [], "result": {}}, None),
        ("kraken", 200, {"error": ["EQuery:Unknown asset pair"]}, "EQuery:Unknown asset pair"),
        ("kraken", 520, None, "HTTP 520"),
    ],
)
def test_an_error_is_known_by_the_shape_of_its_venue(
    venue: str, status: int, answer: object, problem: str | None
) -> None:
    assert Registry().venues[venue].problem(status, answer) == problem


@pytest.mark.parametrize("name", PACKAGED)
class TestEveryVenue:
    """The contract that a new venue is held to as well."""

    def test_its_hosts_lead_to_it(self, name: str) -> None:
        registry = Registry()
        venue = registry.venues[name]
        hosts = [host for host in venue.hosts if "[" not in host]
        assert hosts
        assert {registry.of(host).name for host in hosts} == {name}

    def test_volatile_and_stored_names_are_lower_case(self, name: str) -> None:
        venue = Registry().venues[name]
        for names in (venue.volatile, venue.stored_headers, frozenset(venue.symbol_names)):
            assert names == {item.lower() for item in names}

    def test_a_signed_request_is_the_same_with_another_timestamp_and_signature(self, name: str) -> None:
        venue = Registry().venues[name]
        url = "https://host/endpoint?symbol=BTCUSDT&{}={}&signature={}"
        stamp = "nonce" if name == "kraken" else "timestamp"
        one, other = (
            Matcher(venue).of_request(parse("GET", url.format(stamp, number, signature)))
            for number, signature in ((1, "aa"), (2, "bb"))
        )
        assert one == other
        assert one != Matcher(venue).of_request(parse("GET", "https://host/endpoint?symbol=ETHUSDT&timestamp=1"))

    def test_what_is_no_secret_stays(self, name: str) -> None:
        rules = Registry().venues[name].rules
        for public in ("symbol", "pair", "side", "type", "quantity", "price", "limit", "interval", "orderId", "asset"):
            assert rules.kind(public) is None, public

    def test_a_location_is_the_same_for_equal_requests(self, name: str) -> None:
        venue = Registry().venues[name]
        asked = parse("GET", "https://host/a/b?symbol=ABC")
        assert venue.locate(asked) == venue.locate(parse("GET", "https://host/a/b?symbol=ABC"))


def test_a_named_host_wins_over_the_venue_that_has_it() -> None:
    registry = Registry(hosts={"api.binance.com": "kraken", "127.0.0.1:*": "binance", "[::1]:8080": "binance_us"})
    assert registry.of("api.binance.com").name == "kraken"
    assert registry.of("127.0.0.1:4321").name == "binance"
    assert registry.of("[::1]:8080").name == "binance_us"
    assert registry.is_named("127.0.0.1:4321")
    assert registry.is_named("[::1]:8080")
    assert not registry.is_named("localhost:4321")


def test_a_host_can_be_given_to_a_venue_that_nobody_has_described() -> None:
    registry = Registry(hosts={"127.0.0.1:1": "my_exchange"})
    assert registry.of("127.0.0.1:1").name == "my_exchange"
    assert registry.by_folder("my_exchange") is registry.of("127.0.0.1:1")


def test_a_later_venue_of_the_same_name_replaces_the_packaged_one() -> None:
    mine = Venue("binance", ("api.binance.com",))
    assert Registry([mine]).of("api.binance.com") is mine


def test_an_unknown_host_and_its_folder_have_the_same_generic_profile() -> None:
    registry = Registry()
    assert isinstance(registry.of("api.example.org:8443"), Generic)
    assert registry.by_folder("api.example.org%3A8443").name == "api.example.org:8443"


@pytest.mark.parametrize("hosts", [{"": "binance"}, {"127.0.0.1": ""}])
def test_an_empty_host_or_venue_is_a_mistake(hosts: dict[str, str]) -> None:
    with pytest.raises(UsageMistake, match="names no host or no venue"):
        Registry(hosts=hosts)


def test_json_rpc_calls_match_without_their_number() -> None:
    matcher = Matcher(Generic("x"))
    one, other, different = (
        matcher.of_request(parse("POST", "https://x/api", json.dumps(call)))
        for call in (
            {"jsonrpc": "2.0", "id": 1, "method": "get_book", "params": {"instrument": "BTC", "nonce": 1}},
            {"jsonrpc": "2.0", "id": 2, "method": "get_book", "params": {"instrument": "BTC", "nonce": 2}},
            {"jsonrpc": "2.0", "id": 1, "method": "get_book", "params": {"instrument": "ETH", "nonce": 1}},
        )
    )
    assert one == other != different


@pytest.mark.parametrize(
    ("real", "test"),
    [("api.binance.com", "testnet.binance.vision"), ("fapi.binance.com", "testnet.binancefuture.com")],
)
def test_a_test_network_is_another_venue_than_the_real_market(real, test):
    registry = Registry()
    assert registry.of(real).name != registry.of(test).name
    assert type(registry.of(real)) is type(registry.of(test))


def test_a_venue_shows_its_name() -> None:
    assert repr(Registry().venues["kraken"]) == "<Kraken kraken>"
