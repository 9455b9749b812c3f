"""Keys: a recorded request is found again, and two requests that differ are two."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette.entry import Meta
from pytest_marketreplay.cassette.payload import Payload
from pytest_marketreplay.cassette.request import Asked, dump_json, params_fragment, parse
from pytest_marketreplay.replay.matching import Matcher, differences, show
from pytest_marketreplay.venues.profile import Venue
from pytest_marketreplay.venues.registry import Registry

HOST = "https://api.binance.com"
REGISTRY = Registry()
VENUE = Venue("x", (), secret_params=["magic"], public_params=["tokenSymbol"])
MATCHER = Matcher(VENUE, ["ignored"])

ORDINARY = ["symbol", "side", "limit", "price", "é", "a b", "x&y", "Symbol"]
SECRET = ["apiKey", "magic", "password", "token", "key"]
VOLATILE = ["timestamp", "Nonce", "SIGNATURE", "recvWindow", "newClientOrderId", "ignored"]
# lone surrogates stand in no request that was sent, and an empty name is the name of a body without names
TEXT = st.text(max_size=6)
SCALAR = st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | TEXT
NAME = st.sampled_from(ORDINARY + SECRET + VOLATILE)
JSON = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAME, inner, max_size=3), max_leaves=6
)
QUERY = st.lists(st.tuples(NAME, TEXT), max_size=4).map(urlencode)
BODY = st.one_of(
    st.none(),
    st.lists(st.tuples(NAME, TEXT), min_size=1, max_size=4).map(urlencode),
    st.dictionaries(NAME, JSON, max_size=4).map(dump_json),
    st.lists(JSON, max_size=3).map(dump_json),
    TEXT,
    st.binary(max_size=8),
)
ASKED = st.builds(
    lambda method, path, query, body: parse(method, f"{HOST}{path}?{query}", body),
    st.sampled_from(["GET", "POST", "delete"]),
    st.sampled_from(["/", "/api/v3/order", "/0/public/Depth", "/a%2Fb"]),
    QUERY,
    BODY,
)


def recorded(asked: Asked, venue: Venue = VENUE) -> entries.Head:
    """The head of the line that a recording of this request leaves, redacted."""
    fragment = params_fragment(venue.rules.redact_params(asked.params))
    meta = Meta(method=asked.method, body=asked.body_kind)
    return entries.read_head(entries.write_line(1, asked.path, fragment, meta, Payload(b"1"))[:-1])


@given(asked=ASKED)
@example(asked=parse("POST", f"{HOST}/x?a=1&a=2", '{"b":1}'))
@example(asked=parse("POST", f"{HOST}/x", '{"token":["BTC",{"x":1}],"apiKey":{"a":[1,"b"]}}'))
@example(asked=parse("POST", f"{HOST}/x", '{"pin":1234,"key":true,"token":null,"secret":""}'))
def test_a_recorded_request_is_found_by_the_request_that_it_was(asked):
    assert MATCHER.of_head(recorded(asked)) == MATCHER.of_request(asked)


@given(asked=ASKED)
def test_a_secret_is_in_no_key(asked):
    text = json.dumps(MATCHER.of_request(asked._replace(params=(*asked.params, ("apiKey", "TOP-SECRET-1")))))
    assert "TOP-SECRET-1" not in text


def normal(asked: Asked):
    """What distinguishes a request by the specification, made in the simplest way."""

    def clean(value, kind=None):
        if isinstance(value, dict):
            return {
                name: clean(item, VENUE.rules.kind(name) or kind)
                for name, item in value.items()
                if name.lower() not in VENUE.volatile | {"ignored"}
            }
        if isinstance(value, list):
            return [clean(item, kind) for item in value]
        if kind == "certain" and value not in (None, "") and not isinstance(value, bool):
            return "?"
        if kind == "doubtful" and value not in (None, "") and not isinstance(value, bool):
            return f"? {value}"
        return value

    pairs = []
    for name, value in asked.params:
        if name.lower() in VENUE.volatile | {"ignored"}:
            continue
        kind = VENUE.rules.kind(name) if name else None
        if kind == "certain" and not isinstance(value, dict | list | bool | None):
            value = "?"
        elif kind == "doubtful" and not isinstance(value, dict | list | bool | None):
            value = f"? {value}"
        elif kind and isinstance(value, bool | None):
            value = str(value)
        else:
            value = clean(value, kind)
        text = value if isinstance(value, str) else "json " + dump_json(value, canonical=True)
        pairs.append((name.lower(), text))
    return asked.method, asked.path, sorted(pairs)


@given(first=ASKED, second=ASKED)
@example(first=parse("GET", f"{HOST}/x?a=1"), second=parse("GET", f"{HOST}/x?a=2"))
@example(first=parse("GET", f"{HOST}/x?token=BTC"), second=parse("GET", f"{HOST}/x?token=ETH"))
@example(first=parse("POST", f"{HOST}/x", '{"a":1}'), second=parse("POST", f"{HOST}/x", '{"a":"1"}'))
@example(first=parse("POST", f"{HOST}/x", '{"a":1.0}'), second=parse("POST", f"{HOST}/x", '{"a":1.00}'))
def test_two_requests_have_one_key_only_where_the_venue_knows_no_difference(first, second):
    assume(not {first.body_kind, second.body_kind} & {"base64"} or first.body_kind == second.body_kind)
    assert (MATCHER.of_request(first) == MATCHER.of_request(second)) == (normal(first) == normal(second))


@given(pairs=st.lists(st.tuples(st.sampled_from(ORDINARY + SECRET), TEXT), max_size=5), data=st.data())
def test_order_case_and_place_of_parameters_do_not_count(pairs, data):
    shuffled = data.draw(st.permutations(pairs))
    cut = data.draw(st.integers(0, len(pairs)))
    upper = [(name.upper() if name.isascii() else name, value) for name, value in shuffled]
    query, body = urlencode(upper[:cut]), urlencode(upper[cut:])
    whole = parse("POST", f"{HOST}/x?{urlencode(pairs)}")
    assert MATCHER.of_request(parse("POST", f"{HOST}/x?{query}", body)) == MATCHER.of_request(whole)


@given(asked=ASKED, name=st.sampled_from(VOLATILE), value=st.text())
def test_what_is_new_in_every_call_does_not_count(asked, name, value):
    more = asked._replace(params=(*asked.params, (name, value)))
    assert MATCHER.of_request(more) == MATCHER.of_request(asked)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('{"a":1,"b":2}', '{"b":2,"a":1}'),
        ('[{"a":1,"b":{"c":1,"nonce":5}}]', '[{"b":{"nonce":6,"c":1},"a":1}]'),
        ('{"jsonrpc":"2.0","id":1,"method":"x"}', '{"jsonrpc":"2.0","id":2,"method":"x"}'),
        ('[{"jsonrpc":"2.0","id":1,"method":"x"}]', '[{"jsonrpc":"2.0","id":2,"method":"x"}]'),
        ('{"apiKey":"a"}', '{"apiKey":"b"}'),
        ('{"args":[{"apiKey":"a","sign":1}]}', '{"args":[{"apiKey":"b","sign":2}]}'),
    ],
)
def test_json_bodies_that_ask_the_same_have_one_key(first, second):
    keys = {MATCHER.of_request(parse("POST", f"{HOST}/x", body)) for body in (first, second)}
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('{"id":1}', '{"id":2}'),
        ('[{"id":1}]', '[{"id":2}]'),
        ('{"jsonrpc":"2.0","id":1,"method":"x"}', '{"jsonrpc":"2.0","id":1,"method":"y"}'),
        ('{"a":[1,2]}', '{"a":[2,1]}'),
        ('{"a":1}', '{"a":1.0}'),
        ('{"a":null}', '{"a":"null"}'),
        ('{"a":"\\u0000 1"}', '{"a":1}'),
        ('{"token":"BTC"}', '{"token":"ETH"}'),
        ('{"token":[["BTC"]]}', '{"token":[["ETH"]]}'),
    ],
)
def test_json_bodies_that_ask_something_else_have_two_keys(first, second):
    keys = {MATCHER.of_request(parse("POST", f"{HOST}/x", body)) for body in (first, second)}
    assert len(keys) == 2


def test_a_hand_written_line_matches_a_query():
    line = b'{"timestamp":1,"endpoint":"/x","params":{"limit":100,"s":["A","B"]},"response":1}'
    asked = parse("GET", f"{HOST}/x?s=A&limit=100&s=B")
    assert MATCHER.of_head(entries.read_head(line)) == MATCHER.of_request(asked)


def test_a_method_is_compared_without_case_and_kraken_without_its_version():
    kraken = Matcher(REGISTRY.venues["kraken"])
    line = (
        b'{"timestamp":1,"endpoint":"/public/Depth","params":{"pair":"XBTUSD"},"meta":{"method":"post"},"response":1}'
    )
    asked = parse("POST", "https://api.kraken.com/0/public/Depth", "pair=XBTUSD")
    assert kraken.of_head(entries.read_head(line)) == kraken.of_request(asked)


def test_names_of_one_endpoint_can_be_left_out():
    calls = []

    def ignore_at(*, venue: str, endpoint: str) -> frozenset[str]:
        calls.append((venue, endpoint))
        return frozenset(["from"]) if endpoint == "/a" else frozenset()

    matcher = Matcher(VENUE, (), ignore_at)
    for _ in range(2):
        assert matcher.of_request(parse("GET", f"{HOST}/a?From=1")) == matcher.of_request(
            parse("GET", f"{HOST}/a?from=2")
        )
    assert matcher.of_request(parse("GET", f"{HOST}/b?from=1")) != matcher.of_request(parse("GET", f"{HOST}/b?from=2"))
    assert calls == [("x", "/a"), ("x", "/b")]


def test_a_flood_of_names_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("pytest_marketreplay.replay.matching._MOST_NAMES", 3)
    matcher = Matcher(VENUE)
    for number in range(10):
        key = matcher.of_request(parse("GET", f"{HOST}/x?n{number}=1&apiKey=a"))
        assert key[2] == (("apikey", "REDACTED"), (f"n{number}", "1"))
        assert matcher.secrets(parse("GET", f"{HOST}/x?m{number}=1")) == ()
        assert matcher.secrets(parse("GET", f"{HOST}/x?m{number}=1&apiKey=abcdefgh")) == ("abcdefgh",)
    assert len(matcher._names) == len(matcher._innocent) == 3


@given(asked=ASKED)
@example(asked=parse("GET", "https://me:pass@h/x"))
@example(asked=parse("POST", f"{HOST}/x", '{"a":{"apiKey":"abcdefgh"}}'))
def test_no_secret_of_a_request_is_overlooked_by_the_short_cut(asked):
    found: list[str] = []
    VENUE.rules.redact_params(asked.params, found)
    if asked.userinfo:
        found += [asked.userinfo, *asked.userinfo.split(":", 1)]
    assert set(found) <= set(MATCHER.secrets(asked))


def test_differences_are_told_in_words():
    asked = MATCHER.of_request(parse("GET", f"{HOST}/x?a=1&b=2&b=3&c=x"))[2]
    recorded_ = MATCHER.of_request(parse("GET", f"{HOST}/x?a=2&b=2&d=4&c=x"))[2]
    assert differences(asked, recorded_) == [
        "a: '1' asked, '2' recorded",
        "b: '2', '3' asked, '2' recorded",
        "d: '4' recorded, not asked",
    ]
    assert differences(recorded_, asked)[2] == "d: '4' asked, not in the recording"


def test_a_body_without_names_is_told_as_the_body_and_shortened():
    one = MATCHER.of_request(parse("POST", f"{HOST}/x", "[" + "1," * 200 + "1]"))
    two = MATCHER.of_request(parse("POST", f"{HOST}/x", "[2]"))
    (text,) = differences(one[2], two[2])
    assert text.startswith("the body: '[1,1,")
    assert text.endswith("...' asked, '[2]' recorded")
    assert len(text) < 130
    assert show(*two) == "POST /x?'[2]'"
    assert show("GET", "/x", (("a", "\0[1]"), ("b", "2"))) == "GET /x?a=[1]&b=2"
    assert show("GET", "/x", ()) == "GET /x"


def test_bytes_that_are_no_utf8_are_kept_apart():
    first, second = (MATCHER.of_request(parse("GET", f"{HOST}/x?a={value}")) for value in ("%FF", "%FE"))
    assert first != second


@pytest.mark.parametrize("body", ["", '{"listenKey":"%s"}'])
def test_a_listen_key_that_was_played_asks_what_the_real_one_asked(body):
    venue = REGISTRY.venues["binance"]
    matcher = Matcher(venue)
    url = f"{HOST}/api/v3/userDataStream"
    real, played = (
        parse("PUT", url, body % key) if body else parse("PUT", f"{url}?listenKey={key}")
        for key in ("pqia91ma19a5s61c", "REDACTEDREDACTED")
    )
    assert matcher.of_request(played) == matcher.of_head(recorded(real, venue))


def test_a_body_without_names_is_found_again_although_a_secret_in_it_was_replaced():
    asked = parse("POST", f"{HOST}/x", '{"apiKey":"TOP-SECRET-1234","price":NaN}')
    assert MATCHER.secrets(asked) == ("TOP-SECRET-1234",)
    assert MATCHER.of_head(recorded(asked)) == MATCHER.of_request(asked)
    assert "TOP-SECRET" not in repr(MATCHER.of_request(asked))
