"""Redaction: what goes, in which disguises, and what has to stay as it was sent."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_marketreplay.cassette import redaction
from pytest_marketreplay.cassette.redaction import PLACEHOLDER, Rules, Secrets, forms, redact_field, redact_url
from pytest_marketreplay.cassette.request import parse

SECRET = 's3cr/t+K"y=é~\\_42'
VALUES = st.text(min_size=8, max_size=24).filter(lambda text: not text.startswith(PLACEHOLDER))


def known(*values: str) -> Secrets:
    secrets = Secrets()
    secrets.add(values)
    return secrets


# ---------------------------------------------------------------- disguises


@given(secret=VALUES, before=st.binary(max_size=7), after=st.binary(max_size=7))
@example(secret="12345678", before=b"a", after=b"")
@example(secret="12345678", before=b"ab", after=b"")
def test_a_secret_is_found_inside_base64_at_any_offset(secret, before, after):
    whole = before + secret.encode() + after
    plain = base64.b64encode(whole)
    percent = {quote(plain, safe=safe).encode() for safe in ("", "/")}
    percent |= {re.sub(rb"%..", lambda match: match[0].lower(), coded) for coded in percent}
    for coded in (plain, base64.urlsafe_b64encode(whole), *percent):
        found, hit = known(secret).scrub_payload(b'{"a":"' + coded + b'"}')
        assert hit
        assert len(found) == len(coded) + 8


@given(secret=VALUES)
@example(secret=SECRET)
@example(secret="\ud800 is alone")
def test_a_secret_is_found_percent_encoded_and_escaped(secret):
    writable = secret.encode("utf-8", "replace").decode()
    if writable != secret:
        assert known(secret).scrub(f"x{secret}x") == f"x{PLACEHOLDER}x"
        return
    disguises = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        "".join(f"%{byte:02X}" for byte in secret.encode()),
        "".join(f"%{byte:02x}" for byte in secret.encode()),
        json.dumps(secret)[1:-1],
        json.dumps(secret).replace("/", "\\/")[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
    }
    for disguise in disguises:
        text = known(secret).scrub(f"<{disguise}>")
        assert text == f"<{PLACEHOLDER}>", disguise


def test_percent_encoding_in_lower_case_is_found():
    lower = quote(SECRET, safe="").replace("%2F", "%2f").replace("%C3%A9", "%c3%a9").replace("%5C", "%5c")
    lower = lower.replace("%2B", "%2b").replace("%3D", "%3d")
    assert known(SECRET).scrub(lower) == PLACEHOLDER


@given(secret=VALUES, before=st.text(), after=st.text())
def test_a_payload_keeps_its_length(secret, before, after):
    body = f"{before}{secret}{after}".encode()
    found, hit = known(secret).scrub_payload(body)
    assert hit
    assert len(found) == len(body)


def test_the_longest_form_goes_first_so_that_no_rest_of_it_stays():
    lengths = [len(form) for form in forms(SECRET)]
    assert lengths == sorted(lengths, reverse=True)
    assert min(lengths) >= redaction.SHORTEST


def test_short_values_and_placeholders_are_not_searched_for():
    secrets = known("1234567", PLACEHOLDER, f"{PLACEHOLDER}-ab12")
    assert len(secrets) == 0
    assert secrets.scrub_payload(b"1234567 REDACTED") == (b"1234567 REDACTED", False)
    assert secrets.scrub("1234567") == "1234567"
    assert known("12345678").scrub("") == ""
    assert secrets.add(["", "12345678"]) == ("12345678",)


def test_a_short_secret_has_no_base64_form():
    found = set(forms("a/b"))
    assert found >= {b"a/b", b"a%2Fb", b"a%2fb", b"%61%2F%62", b"%61%2f%62", rb"a\/b"}
    assert all(b"a" in form or b"61" in form for form in found)  # base64 of it has neither: YS9i, EvY, hL2


def test_old_one_time_signatures_make_room_and_a_key_in_use_stays():
    secrets = Secrets(limit=10)
    for number in range(100):
        secrets.add(["the-api-key", f"signature-{number:04}"])
    assert len(secrets) == 10
    assert secrets.scrub("the-api-key signature-0099 signature-0001") == f"{PLACEHOLDER} {PLACEHOLDER} signature-0001"


def test_payloads_are_searched_for_the_newest_secrets_and_texts_for_all():
    secrets = Secrets()
    secrets.add(f"signature-{number:04}" for number in range(100))
    assert secrets.scrub_payload(b"signature-0000 signature-0099") == (b"signature-0000 REDACTEDREDACT", True)
    assert "signature" not in secrets.scrub("signature-0000 signature-0099")


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    ["apiKey", "api_key", "X-MBX-APIKEY", "secret", "client_secret", "signature", "passphrase", "password", "access_token",
     "Authorization", "Cookie", "listenKey", "jwt", "sign", "sig", "otp", "auth", "X-Api-Sign"],
)  # fmt: skip
def test_credentials_are_certain(name):
    assert redaction.looks_secret(name) == "certain"
    assert Rules().is_secret_header(name)


@pytest.mark.parametrize(
    "name", ["token", "session_id", "key", "publicKey", "auth_id", "code", "pin", "2fa", "CSRF-Token"]
)
def test_names_that_can_mean_either_are_doubtful(name):
    assert redaction.looks_secret(name) == "doubtful"
    assert Rules().is_secret_header(name)


@pytest.mark.parametrize(
    "name",
    ["symbol", "side", "limit", "price", "quantity", "timestamp", "pair", "interval", "type", "asset", "clientOrderId",
     "keyword", "monkeys", "design", "zipcode", "spin", "Accept", "User-Agent", "orderId", "recvWindow"],
)  # fmt: skip
def test_trading_parameters_are_no_secrets(name):
    assert redaction.looks_secret(name) is None
    assert not Rules().is_secret_header(name)


def test_a_venue_can_say_more_and_less_without_case():
    rules = Rules(headers=["X-Magic"], params=["Magic"], public=["Token"])
    assert rules.kind("MAGIC") == "certain"
    assert rules.kind("TOKEN") is None
    assert rules.kind("key") == "doubtful"
    assert rules.is_secret_header("x-MAGIC")


def test_names_can_be_added():
    rules = Rules()
    assert (rules.kind("Magic"), rules.is_secret_header("MAGIC")) == (None, False)
    rules.add(["Magic"])
    assert (rules.kind("MAGIC"), rules.is_secret_header("magic")) == ("certain", True)


# ---------------------------------------------------------------- requests


def redacted(body: str) -> dict:
    found: list[str] = []
    params = Rules().redact_params(parse("POST", "https://h/x", body).params, found)
    return {"params": dict(params), "found": found}


def test_nested_json_is_redacted_and_the_rest_stays():
    out = redacted(
        '{"op":"login","args":[{"apiKey":"k-123456","passphrase":"p-123456","timestamp":"1","sign":"s-1"}],'
        '"flags":{"secret":true,"token":null,"password":""},"pin":[1234]}'
    )
    assert out["params"]["op"] == "login"
    assert out["params"]["args"] == [
        {"apiKey": PLACEHOLDER, "passphrase": PLACEHOLDER, "timestamp": "1", "sign": PLACEHOLDER}
    ]
    assert out["params"]["flags"] == {"secret": True, "token": None, "password": ""}
    assert out["params"]["pin"][0].startswith(f"{PLACEHOLDER}-")
    assert out["found"] == ["k-123456", "p-123456", "s-1", "1234"]


def test_everything_beneath_a_secret_name_is_secret():
    out = redacted('{"credentials":{"user":"me","words":["alpha","beta"],"n":7},"token":{"a":"BTC"}}')
    assert out["params"]["credentials"] == {"user": PLACEHOLDER, "words": [PLACEHOLDER] * 2, "n": PLACEHOLDER}
    assert out["params"]["token"]["a"].startswith(f"{PLACEHOLDER}-")
    assert out["found"] == ["me", "alpha", "beta", "7", "BTC"]


def test_a_whole_body_without_names_is_not_taken_for_a_secret():
    assert redacted('["key","BTCUSDT"]')["params"] == {"": ["key", "BTCUSDT"]}
    assert redacted('[{"secret":"abc","symbol":"BTC"}]')["params"] == {"": [{"secret": PLACEHOLDER, "symbol": "BTC"}]}
    assert redacted("plain")["params"] == {"": "plain"}


@given(first=st.text(min_size=1), second=st.text(min_size=1))
@example(first="BTC", second="ETH")
def test_a_doubtful_name_keeps_different_requests_apart_and_equal_ones_equal(first, second):
    one, two = (redaction.placeholder(value, "doubtful") for value in (first, second))
    assert (one == two) >= (first == second)
    assert redaction.placeholder("BTC", "doubtful") != redaction.placeholder("ETH", "doubtful")
    assert redaction.placeholder(first, "certain") == redaction.placeholder(second, "certain") == PLACEHOLDER
    assert first not in one or len(first) < 8 or first in f"{PLACEHOLDER}-"


def test_redaction_of_what_is_redacted_changes_nothing():
    rules = Rules()
    once = rules.redact_params((("apiKey", "abc"), ("token", "BTC"), ("symbol", "X")))
    found: list[str] = []
    assert rules.redact_params(once, found) == once
    assert found == []


# ---------------------------------------------------------------- answers


@given(value=st.text(min_size=1), other=st.text())
def test_a_secret_field_keeps_the_length_and_every_other_byte(value, other):
    for ascii_ in (True, False):
        raw = json.dumps(value, ensure_ascii=ascii_)[1:-1].encode()
        rest = json.dumps(other, ensure_ascii=ascii_).encode()
        body = (
            b'{"x":' + rest + b', "listenKey" : "' + raw + b'","expires":3600, "deep":[{"listenKey":"' + raw + b'"}]}'
        )
        out, found = redact_field(body, "listenKey")
        mark = redaction.same_length(len(raw))
        assert (
            out
            == b'{"x":'
            + rest
            + b', "listenKey" : "'
            + mark
            + b'","expires":3600, "deep":[{"listenKey":"'
            + mark
            + b'"}]}'
        )
        assert found == [value, value]


@pytest.mark.parametrize(
    "body",
    [
        b'{"listenKey":5}',
        b'{"listenKey":null}',
        b'{"listenKey":""}',
        b'{"a":"listenKey"}',
        b'{"listenKeys":"x"}',
        b'{"a":"\\"listenKey\\":\\"x\\""}',
    ],
)
def test_what_only_resembles_a_secret_field_stays(body):
    assert redact_field(body, "listenKey") == (body, [])


def test_a_secret_field_of_a_broken_body_is_redacted_too():
    assert redact_field(b'{"token":"a\\qb","x', "token") == (b'{"token":"REDA","x', ["a\\qb"])


@pytest.mark.parametrize(
    ("name", "value", "kept", "found"),
    [
        ("Set-Cookie", "sid=abc123; Path=/; HttpOnly", "sid=REDACTED; Path=/; HttpOnly", ["abc123"]),
        ("set-cookie", 'sid="abc"; Secure', "sid=REDACTED; Secure", ["abc"]),
        ("Set-Cookie", "gone=; Max-Age=0", "gone=; Max-Age=0", [""]),
        (
            "Location",
            "https://u:p@h/x?apiKey=abc&symbol=BTC",
            "https://REDACTED@h/x?apiKey=REDACTED&symbol=BTC",
            ["abc"],
        ),
        ("Link", '<https://h/x?cursor=5>; rel="next"', '<https://h/x?cursor=5>; rel="next"', []),
        ("X-Auth-Token", "abc", PLACEHOLDER, ["abc"]),
        ("X-Magic", "abc", PLACEHOLDER, ["abc"]),
        ("access-control-allow-credentials", "true", "true", []),
        ("Access-Control-Allow-Headers", "X-MBX-APIKEY", "X-MBX-APIKEY", []),
        ("Content-Type", "application/json", "application/json", []),
        ("x-mbx-used-weight", "20", "20", []),
        ("x-csrf-token", "abc", "abc", []),
    ],
)
def test_response_headers_lose_secrets_and_nothing_else(name, value, kept, found):
    out: list[str] = []
    rules = Rules(headers=["x-magic"])
    assert redaction.redact_response_header(name, value, rules, out) == kept
    assert out == found
    assert redaction.header_matters(name, rules) >= (kept != value or found != [])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/x", "https://h/x"),
        ("https://h/x?", "https://h/x?"),
        ("https://h/x?symbol=A&&side=BUY&x", "https://h/x?symbol=A&&side=BUY&x"),
        ("https://h/x?signature=abc&timestamp=1#top", "https://h/x?signature=REDACTED&timestamp=1#top"),
        ("https://h/x?apiKey=", "https://h/x?apiKey="),
        ("https://h/x?apiKey=REDACTED", "https://h/x?apiKey=REDACTED"),
        ("https://user:pa@ss@h/x", "https://REDACTED@h/x"),
        ("https://h/x?mail=a@b", "https://h/x?mail=a@b"),
        ("https://h?mail=a@b", "https://h?mail=a@b"),
    ],
)
def test_urls_are_shown_without_secrets(url, shown):
    assert redact_url(url, Rules()) == shown


def test_a_doubtful_parameter_of_a_url_is_told_apart():
    found: list[str] = []
    one, two = (redact_url(f"https://h/x?token={coin}", Rules(), found) for coin in ("BTC", "ETH"))
    assert one != two
    assert found == ["BTC", "ETH"]


# ---------------------------------------------------------------- bodies without names, and paths

HIDDEN = "TOP-SECRET-1234"
NAMELESS = {
    "multipart": f'--b\r\nContent-Disposition: form-data; name="api_secret"\r\n\r\n{HIDDEN}\r\n--b--\r\n',
    "multipart with a type": f'--b\r\nContent-Disposition: form-data; name="apiKey"\r\nX: y\r\n\r\n{HIDDEN}\r\n--b--\r\n',
    "a form with a flag": f"apiKey={HIDDEN}&flag",
    "JSON with NaN": f'{{"apiKey":"{HIDDEN}","price":NaN}}',
    "lines of JSON": f'{{"op":"login","apiKey":"{HIDDEN}"}}\n{{"op":"ping"}}\n',
    "XML": f"<login><user>me</user><password>{HIDDEN}</password></login>",
    "lines": f"user: me\npassword = {HIDDEN}\n",
}


@pytest.mark.parametrize("body", NAMELESS.values(), ids=NAMELESS)
def test_a_secret_in_a_body_that_has_no_named_parameters_is_known_by_the_name_before_it(body):
    found: list[str] = []
    stored = Rules().redact_params(parse("POST", "https://api.example/x", body).params, found)
    assert HIDDEN not in repr(stored)
    assert PLACEHOLDER in repr(stored)
    assert found == [HIDDEN]
    assert Rules().redact_params(stored) == stored


def test_a_body_without_names_and_secrets_stays_as_it_was_sent():
    body = '--b\r\nContent-Disposition: form-data; name="symbol"\r\n\r\nBTCUSDT\r\n--b--\r\n{"price":NaN}<a>1</a>'
    assert Rules().redact_text(body) == body


@pytest.mark.parametrize(
    ("path", "token", "stored"),
    [
        ("/bot12345:AAHdqTcvCH1vGWJxfSeofSAs/send", "12345:AAHdqTcvCH1vGWJxfSeofSAs", "/botREDACTED/send"),
        ("/bot12345%3AAAHdqTcvCH1vGWJxfSeofSAs/send", "12345:AAHdqTcvCH1vGWJxfSeofSAs", "/botREDACTED/send"),
        ("/api/webhooks/1234567890/" + "x" * 40, "1234567890/" + "x" * 40, "/api/webhooks/REDACTED"),
        ("/services/T0000000/B0000000/" + "x" * 24, "T0000000/B0000000/" + "x" * 24, "/services/REDACTED"),
        ("/api/v3/depth", None, "/api/v3/depth"),
        ("/ws/REDACTEDREDACTEDREDA/x", None, "/ws/REDACTED/x"),
    ],
)
def test_a_token_in_a_path_names_no_folder(path, token, stored):
    asked = parse("GET", f"https://api.example{path}")
    assert asked.path == stored
    assert token is None or token in asked.path_secrets
