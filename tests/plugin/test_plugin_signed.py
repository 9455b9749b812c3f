"""Signed requests replay, although timestamp, nonce and signature are new in every call, and with other credentials."""

from __future__ import annotations

import pytest

SIGNED = """
import base64, hashlib, hmac, itertools, os, time
from urllib.parse import urlencode

KEY, SECRET = os.environ["CANARY_KEY"], os.environ["CANARY_SECRET"]
TICKS = itertools.count(int(os.environ["CANARY_TIME"]))

def note(signature, response):
    with SEEN.open("a") as out:
        out.write(json.dumps([signature, response.status_code, response.text]) + "\\n")

def binance(method, path, **params):
    query = urlencode({**params, "recvWindow": 5000, "timestamp": int(time.time() * 1000) + next(TICKS)})
    signature = hmac.new(SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
    url = f"{BINANCE}{path}?{query}&signature={signature}"
    response = requests.request(method, url, headers={"X-MBX-APIKEY": KEY}, timeout=10)
    note(signature, response)
    return response

def kraken(method, **params):
    nonce = time.time_ns() + next(TICKS)
    body = urlencode({"nonce": nonce, **params})
    path = f"/0/private/{method}"
    secret = base64.b64decode(base64.b64encode(SECRET.encode()))
    digest = hmac.new(secret, path.encode() + hashlib.sha256(f"{nonce}{body}".encode()).digest(), hashlib.sha512).digest()
    headers = {"API-Key": KEY, "API-Sign": base64.b64encode(digest).decode(),
               "Content-Type": "application/x-www-form-urlencoded"}
    response = requests.post(KRAKEN + path, data=body, headers=headers, timeout=10)
    note(headers["API-Sign"], response)
    return response

@pytest.mark.marketreplay
def test_binance():
    assert "balances" in binance("GET", "/api/v3/account").json()
    order = binance("POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC",
                    quantity="0.001", price="50000", newClientOrderId=os.urandom(8).hex()).json()
    assert order["symbol"] == "BTCUSDT"

@pytest.mark.marketreplay
def test_kraken():
    answer = kraken("Balance").json()
    assert answer["error"] == [], answer
    assert kraken("OpenOrders", trades="true").json()["error"] == []
"""


@pytest.fixture
def signed(suite, monkeypatch):
    suite.tests(SIGNED)
    monkeypatch.setenv("CANARY_KEY", suite.exchange.api_key("binance"))
    monkeypatch.setenv("CANARY_SECRET", suite.exchange.api_secret("binance"))
    monkeypatch.setenv("CANARY_TIME", "1")
    return suite


def test_signed_requests_replay_with_new_signatures(signed, monkeypatch):
    signed.run(mode="once").assert_outcomes(passed=2)
    live = signed.seen()
    assert [status for _, status, _ in live] == [200] * 4
    monkeypatch.setenv("CANARY_TIME", "777")
    signed.exchange.stop()
    signed.run().assert_outcomes(passed=2)
    replayed = signed.seen()
    assert [line[1:] for line in replayed] == [line[1:] for line in live]
    assert not {line[0] for line in live} & {line[0] for line in replayed}, (
        "the signatures are the same: it shows nothing"
    )


def test_signed_requests_replay_with_other_credentials(signed, monkeypatch):
    signed.run(mode="once").assert_outcomes(passed=2)
    live = signed.seen()
    monkeypatch.setenv("CANARY_KEY", "somebody-elses-key")
    monkeypatch.setenv("CANARY_SECRET", "somebody-elses-secret")
    signed.exchange.stop()
    signed.run().assert_outcomes(passed=2)
    assert [line[1:] for line in signed.seen()] == [line[1:] for line in live]


def test_neither_key_nor_signature_is_in_the_cassette(signed):
    signed.run(mode="once").assert_outcomes(passed=2)
    stored = b"".join(signed.tree().values())
    assert signed.exchange.api_key("binance").encode() not in stored
    for signature, _, _ in signed.seen():
        assert signature.encode() not in stored
    assert b"REDACTED" in stored
