"""Requests taken apart, written as `params`, and read back: the same parameters, digit for digit."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette.entry import Meta
from pytest_marketreplay.cassette.payload import Payload
from pytest_marketreplay.cassette.request import (
    dump_json,
    params_fragment,
    params_object,
    parse,
    parse_json,
    query_pairs,
    stored_params,
)

URL = "https://api.binance.com/api/v3/order"


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://API.Binance.com/api/v3/depth", "api.binance.com", "/api/v3/depth"),
        ("https://api.binance.com:443/x", "api.binance.com", "/x"),
        ("http://api.binance.com:443/x", "api.binance.com:443", "/x"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "/"),
        ("http://[::1]:8080/x", "[::1]:8080", "/x"),
        ("http://[::1]:80/x", "[::1]", "/x"),
        ("wss://h:443/ws", "h", "/ws"),
        ("https://h/a b/é", "h", "/a%20b/%C3%A9"),
        ("https://h/a%2Fb//c/", "h", "/a%2Fb//c/"),
        ("https://h?x=1", "h", "/"),
        ("https://h/x#a/b", "h", "/x"),
    ],
)
def test_host_and_path_are_what_the_tree_needs(url, host, path):
    asked = parse("get", url)
    assert (asked.method, asked.host, asked.path) == ("GET", host, path)


def test_user_information_is_taken_out_of_the_host():
    asked = parse("GET", "https://me%40x:p%3Aw@h:8443/x")
    assert (asked.userinfo, asked.host) == ("me@x:p:w", "h:8443")


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        ("", []),
        ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("a=&b", [("a", ""), ("b", "")]),
        ("a=1&&b=2&", [("a", "1"), ("b", "2")]),
        ("a=x%26y+z&b=%C3%A9", [("a", "x&y z"), ("b", "é")]),
        ("symbols=%5B%22BTCUSDT%22%5D", [("symbols", '["BTCUSDT"]')]),
        ("a=1;b=2", [("a", "1;b=2")]),
        ("a=b=c", [("a", "b=c")]),
    ],
)
def test_a_query_is_taken_apart_in_order(query, pairs):
    assert query_pairs(query) == pairs
    assert parse("GET", f"{URL}?{query}").params == tuple(pairs)


@pytest.mark.parametrize(
    ("tail", "pairs"), [("?a=1#b=2", (("a", "1"),)), ("#b?a=1", ()), ("?#b", ()), ("?a=1?b", (("a", "1?b"),))]
)
def test_a_fragment_is_never_sent(tail, pairs):
    assert parse("GET", URL + tail).params == pairs


def test_half_a_character_in_a_parameter_can_be_written():
    asked = parse("POST", URL, rb'{"a":"\ud800","b":"1"}')
    assert params_fragment(asked.params) == b'{"a":"?","b":"1"}'


@pytest.mark.parametrize(
    ("body", "kind", "params"),
    [
        (None, None, ()),
        (b"", None, ()),
        (b"pair=XBTUSD&count=2", "form", (("pair", "XBTUSD"), ("count", "2"))),
        ("pair=XBT%2FUSD&empty=", "form", (("pair", "XBT/USD"), ("empty", ""))),
        (b'{"a":1.50,"b":[1E-8]}', "json", (("a", Decimal("1.50")), ("b", [Decimal("1E-8")]))),
        (b'[{"a":1}]', "json", (("", [{"a": 1}]),)),
        (b'{"":1}', "json", (("", {"": 1}),)),
        (b'"text"', "text", (("", '"text"'),)),
        (b"hello", "text", (("", "hello"),)),
        (b'{"a":NaN}', "text", (("", '{"a":NaN}'),)),
        (b'{"a":1e99999999999999999999}', "text", (("", '{"a":1e99999999999999999999}'),)),
        (b"[" * 20_000, "text", (("", "[" * 20_000),)),
        (b"\xff\xfe", "base64", (("", "//4="),)),
    ],
)
def test_a_body_is_read_by_what_it_is(body, kind, params):
    asked = parse("POST", URL, body)
    assert (asked.body_kind, asked.params) == (kind, params)


def test_a_stream_that_cannot_be_read_is_said_so():
    assert parse("POST", URL, unread=True).body_kind == "unread"
    assert parse("POST", URL, b"a=1", unread=True).body_kind == "form"


def test_a_json_body_whose_names_stand_in_the_query_too_is_kept_whole():
    asked = parse("POST", f"{URL}?a=1", b'{"a":2}')
    assert asked.params == (("a", "1"), ("", {"a": 2}))
    assert params_object(parse("POST", f"{URL}?a=1&a=2", b"a=3").params) == {"a": ["1", "2", "3"]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON, canonical=st.booleans())
@example(value=10**40, canonical=False)
@example(value=Decimal("1E-8"), canonical=False)
def test_json_is_written_without_losing_a_digit(value, canonical):
    text = dump_json(value, canonical=canonical)
    assert dump_json(parse_json(text), canonical=canonical) == text
    assert "\n" not in text
    assert json.loads(text, parse_float=Decimal) == value


@given(value=st.dictionaries(st.text(), JSON))
def test_canonical_json_does_not_know_the_order_of_keys(value):
    turned = dict(reversed(value.items()))
    assert dump_json(value, canonical=True) == dump_json(turned, canonical=True)


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "[" * 20_000, "1e99999999999999999999", "", "\ufeff1"]
)
def test_what_is_not_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


NAMES = st.text("abcXYZ_é &=%+", min_size=1, max_size=4)
PAIRS = st.lists(st.tuples(NAMES, st.text(max_size=5)), max_size=5)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=4)


def stored(asked):
    """The parameters as they are read back from a line."""
    line = entries.write_line(1, asked.path, params_fragment(asked.params), Meta(body=asked.body_kind), Payload(b"1"))
    head = entries.read_head(line[:-1])
    return stored_params(head.params, head.meta.body)


def by_name(params):
    return sorted(((name, dump_json(value, canonical=True)) for name, value in params))


def quoted(pairs) -> str:
    from urllib.parse import urlencode

    return urlencode(pairs)


@given(query=PAIRS, form=PAIRS)
def test_form_parameters_come_back_from_a_line(query, form):
    asked = parse("POST", f"{URL}?{quoted(query)}", quoted(form))
    assert by_name(stored(asked)) == by_name(asked.params) == by_name([*query, *form])


@given(query=PAIRS, value=OBJECTS | st.lists(JSON, max_size=3))
@example(query=[("a", "1"), ("a", "2")], value={"b": 1})
@example(query=[("a", "1")], value={"a": [1]})
@example(query=[("a", "1"), ("a", "2")], value=[])
def test_json_parameters_come_back_from_a_line(query, value):
    asked = parse("POST", f"{URL}?{quoted(query)}", dump_json(value))
    assert by_name(stored(asked)) == by_name(asked.params)


@given(query=PAIRS, body=st.binary(min_size=1))
def test_any_body_comes_back_from_a_line(query, body):
    asked = parse("POST", f"{URL}?{quoted(query)}", body)
    assert by_name(stored(asked)) == by_name(asked.params)


def test_a_hand_written_line_may_hold_numbers_and_lists():
    params = {"limit": 100, "price": Decimal("0.10000000"), "symbols": ["A", "B"], "test": True, "no": None}
    assert stored_params(params, None) == (
        ("limit", "100"), ("price", "0.10000000"), ("symbols", "A"), ("symbols", "B"), ("test", "true"), ("no", "null"),
    )  # fmt: skip
