"""Forty secrets, sent in every place a client can put one: none of them is found in anything that is written or shown."""

from __future__ import annotations

import base64
import functools
import json
import random
import string
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from echo_server import echoing

RANDOM = random.Random(20251002)
PIECE = 12
"""A part of this many characters, from either end, counts as a find too: a shortened repr is no redaction."""


def _secret(number: int) -> str:
    """Make a secret: most plain letters and digits, some base64 as Kraken's signatures, some with awkward characters."""
    letters = "".join(RANDOM.choices(string.ascii_letters + string.digits, k=RANDOM.randint(20, 64)))
    if number % 5 == 1:
        return base64.b64encode(RANDOM.randbytes(48)).decode()
    if number % 5 == 3:
        return f"{letters[:14]}+/ü&'\" {letters[14:]}"
    return letters


PLACES = (
    # headers
    "h:X-MBX-APIKEY", "h:API-Key", "h:API-Sign", "h:Authorization bearer", "h:X-Foo-Secret", "h:OK-ACCESS-PASSPHRASE",
    "h:X-BAPI-SIGN", "h:CB-ACCESS-KEY", "h:Proxy-Authorization", "h:X-Api-Token", "h:Basic user", "h:Basic password",
    # cookies
    "c:session", "c:anything", "c:sent back",
    # query
    "q:signature", "q:apiKey", "q:token", "q:listenKey", "q:api_secret", "q:X-Amz-Credential", "q:passwd", "q:session_id",
    # URL
    "u:user", "u:password",
    # JSON bodies
    "j:apiKey", "j:deep.secret", "j:deep.list.password", "j:jwt", "j:credentials.a", "j:args.0.passphrase", "j:privateKey",
    # form bodies
    "f:signature", "f:otp", "f:api_key", "f:clientSecret",
    # elsewhere
    "e:refused signature", "e:refused key", "e:header of a refused call", "e:httpx token",
)  # fmt: skip
SECRETS = {place: _secret(number) for number, place in enumerate(PLACES)}

TESTS = '''
import asyncio, json, logging, os, pathlib, sys, warnings
import aiohttp, httpx, pytest, requests

class Sent(dict):
    """What was sent so far: a secret that never left this process is nobody's to know."""

    def __missing__(self, place):
        self[place] = json.loads(pathlib.Path(__file__).with_name("secrets.json").read_text())[place]
        return self[place]

S = Sent()
ECHO = {echo!r}
DEAD = "http://127.0.0.1:1"
log = logging.getLogger("client")

def ascii_(text):
    return text.encode("ascii", "ignore").decode()

def header_values():
    return {{
        "X-MBX-APIKEY": S["h:X-MBX-APIKEY"], "API-Key": S["h:API-Key"], "API-Sign": S["h:API-Sign"],
        "Authorization": "Bearer " + S["h:Authorization bearer"], "X-Foo-Secret": S["h:X-Foo-Secret"],
        "OK-ACCESS-PASSPHRASE": S["h:OK-ACCESS-PASSPHRASE"], "X-BAPI-SIGN": S["h:X-BAPI-SIGN"],
        "CB-ACCESS-KEY": S["h:CB-ACCESS-KEY"], "Proxy-Authorization": "Bearer " + S["h:Proxy-Authorization"],
        "X-Api-Token": S["h:X-Api-Token"],
        "Cookie": "session=" + S["c:session"] + "; theme=" + S["c:anything"],
    }}

def headers():
    return {{name: value.encode("utf-8") for name, value in header_values().items()}}

QUERY = ("signature", "apiKey", "token", "listenKey", "api_secret", "X-Amz-Credential", "passwd", "session_id")

def query():
    return {{name: S["q:" + name] for name in QUERY}} | {{"symbol": "BTCUSDT"}}

def json_body():
    return {{
        "apiKey": S["j:apiKey"], "deep": {{"secret": S["j:deep.secret"], "list": [{{"password": S["j:deep.list.password"]}}]}},
        "jwt": S["j:jwt"], "credentials": {{"a": S["j:credentials.a"]}},
        "args": [{{"passphrase": S["j:args.0.passphrase"]}}], "privateKey": S["j:privateKey"], "side": "BUY",
    }}

def form_body():
    return {{name: S["f:" + name] for name in ("signature", "otp", "api_key", "clientSecret")}} | {{"nonce": "1"}}

def maybe_fail(what):
    """Say everything aloud, and fail where this run is to fail."""
    values = sorted(S.values())
    first, last = values[0], values[-1]
    print("stdout", what, values)
    print("stderr", what, values, file=sys.stderr)
    log.debug("all of them: %s", values)
    log.error("a message with %r and %s", first, json.dumps(values))
    warnings.warn("deprecated key " + first + " and " + last)
    if os.environ.get("CANARY_FAILS"):
        local_secret, local_dict, local_text = first, dict(S), "x" * 90 + " ".join(values)
        if what == "assertion":
            assert {{"key": first, "more": values}} == {{"key": "other", "more": values[1:]}}, "with " + last
        if what == "text":
            assert first in "nothing like it"
        if what == "chain":
            try:
                raise ValueError("bad signature " + first)
            except ValueError as error:
                raise RuntimeError(f"call failed: {{S!r}}") from error
        if what == "refused":
            requests.get(DEAD + "/api/v3/order", params={{"signature": S["e:refused signature"]}}, timeout=5)
        raise RuntimeError(f"{{what}}: {{values}}")

@pytest.fixture(scope="module")
def login():
    answer = requests.get(ECHO + "/login", headers=headers(), params=query(), timeout=10)
    yield answer
    requests.delete(ECHO + "/login", headers=headers(), timeout=10)

@pytest.mark.marketreplay
def test_headers_and_query(login):
    response = requests.get(ECHO + "/api/v3/account", headers=headers(), params=query(), timeout=10)
    again = requests.get(ECHO + "/api/v3/limit", headers=headers(), params=query(), timeout=10)
    assert again.status_code == 429
    maybe_fail("assertion")

@pytest.mark.marketreplay
def test_user_info_and_cookies(record_property):
    session = requests.Session()
    base = ECHO.replace("http://", "http://" + requests.utils.quote(S["u:user"], safe="") + ":"
                        + requests.utils.quote(S["u:password"], safe="") + "@")
    response = session.get(base + "/me", headers={{"X-New-Cookie": ascii_(S["c:sent back"])}}, timeout=10)
    session.get(ECHO + "/me/again", auth=(S["h:Basic user"].encode(), S["h:Basic password"].encode()), timeout=10)
    record_property("login", S["h:Basic password"])
    record_property("cookie", S["c:session"])
    maybe_fail("text")

@pytest.mark.marketreplay
def test_bodies():
    requests.post(ECHO + "/json", json=json_body(), timeout=10)
    requests.post(ECHO + "/form", data=form_body(), timeout=10)
    maybe_fail("chain")

@pytest.mark.marketreplay
def test_exceptions():
    with pytest.raises(requests.ConnectionError):
        requests.get(DEAD + "/api/v3/order", params={{"signature": S["e:refused signature"], "apiKey": S["e:refused key"]}},
                     headers={{"X-Secret": S["e:header of a refused call"].encode()}}, timeout=5)
    maybe_fail("refused")

@pytest.mark.marketreplay
def test_httpx_and_aiohttp():
    httpx.get(ECHO + "/httpx", params={{"token": S["e:httpx token"]}})
    async def main():
        async with aiohttp.ClientSession() as session:
            async with session.post(ECHO + "/aio", params=query(), json=json_body()) as response:
                return await response.text()
    text = asyncio.run(main())
    maybe_fail("other")
'''


@functools.cache
def forms(secret: str) -> set[str]:
    """Return what counts as a find: the secret or a long part of it, plain, percent-encoded, in JSON, inside base64."""
    plain = {secret, secret[:PIECE], secret[-PIECE:], json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    percent = {quote(secret, safe=""), quote_plus(secret), quote(secret)}
    coded = set()
    raw = secret.encode()
    for offset in range(3):
        inner = base64.b64encode(b"\0" * offset + raw)[(0, 2, 3)[offset] : (offset + len(raw)) // 3 * 4].decode()
        coded |= {inner, inner.replace("+", "-").replace("/", "_")}
    return plain | percent | {form.lower() for form in percent if "%" in form} | coded


def finds(texts: Iterable[tuple[str, bytes]], but: Iterable[str] = ()) -> list[str]:
    """Return where which secret is found."""
    out = []
    for name, data in texts:
        text = data.decode("utf-8", "replace")
        for place, secret in SECRETS.items():
            if place in but:
                continue
            hits = [form for form in forms(secret) if form in text]
            if hits:
                out.append(f"{name}: {place} as {min(hits, key=len)!r}")
    return out


def written(folder: Path) -> list[tuple[str, bytes]]:
    """Return every file under the folder, but for those that hold the secrets by purpose."""
    return [
        (str(file.relative_to(folder)), file.read_bytes())
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in ("secrets.json", "stdout", "stderr")
    ]


def test_there_are_forty_different_secrets():
    assert len(set(SECRETS.values())) == 40


def test_the_search_finds_what_is_there():
    secret = SECRETS["h:API-Sign"]
    for text in (
        secret,
        f"...{secret[:14]}...",
        quote(secret, safe=""),
        base64.b64encode(b"ab" + secret.encode()).decode(),
    ):
        assert finds([("text", text.encode())]) != []


@pytest.fixture
def canary(suite, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(suite.path / "temporary"))
    (suite.path / "temporary").mkdir()
    with echoing() as echo:
        host = echo.partition("://")[2]
        suite.write(
            "pytest.ini",
            f"""
            [pytest]
            marketreplay_hosts =
                {host} = echo
                127.0.0.1:1 = dead
            log_level = DEBUG
            junit_logging = all
        """,
        )
        suite.write("test_canary.py", "")
        (suite.path / "test_canary.py").write_text(TESTS.format(echo=echo))
        (suite.path / "market.py").unlink()
        (suite.path / "secrets.json").write_text(json.dumps(SECRETS))
        yield suite


LOUD = ("--junitxml=report.xml", "-l", "-vv", "-rA", "--durations=5")


def check(suite, result) -> None:
    """Search everything that a run wrote and showed."""
    assert "REDACTED" in result.stdout.str(), "no secret was to be shown: the test shows nothing"
    shown = [("stdout", result.stdout.str().encode()), ("stderr", result.stderr.str().encode())]
    found = finds(shown + written(suite.path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("style", [pytest.param("long", marks=pytest.mark.slow), "native"])
@pytest.mark.parametrize("fails", [False, True])
def test_no_secret_is_found_after_recording_replaying_and_missing(canary, monkeypatch, style, fails):
    if fails:
        monkeypatch.setenv("CANARY_FAILS", "1")
    arguments = (*LOUD, f"--tb={style}")
    result = canary.spawn(*arguments, mode="once")
    result.assert_outcomes(
        **({"failed": 5} if fails else {"passed": 5}), warnings=result.parseoutcomes().get("warnings", 0)
    )
    check(canary, result)
    if not fails:
        assert len(canary.cassettes()) == 7
        result = canary.spawn(*arguments)
        result.assert_outcomes(passed=5, warnings=result.parseoutcomes().get("warnings", 0))
        check(canary, result)
        monkeypatch.setenv("CANARY_FAILS", "1")
        result = canary.spawn(*arguments)
        result.assert_outcomes(failed=5, warnings=result.parseoutcomes().get("warnings", 0))
        check(canary, result)
    # every request of these is a miss
    import shutil

    shutil.rmtree(canary.path / "cassettes", ignore_errors=True)
    result = canary.spawn(*arguments)
    assert result.parseoutcomes().get("passed", 0) == 0
    check(canary, result)


@pytest.mark.parametrize("fails", [False, True])
def test_no_secret_is_found_with_workers(canary, monkeypatch, fails):
    if fails:
        monkeypatch.setenv("CANARY_FAILS", "1")
    for mode in ("once", None):
        result = canary.spawn(*LOUD, "-n", "2", mode=mode)
        assert result.parseoutcomes()["failed" if fails else "passed"] == 5
        check(canary, result)


def test_market_data_that_merely_has_a_field_of_that_name_stays(canary):
    canary.spawn(mode="once")
    answers = [
        json.loads(line)
        for file in (canary.path / "cassettes").rglob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert answers
    live = [answer for answer in answers if answer["meta"]["status"]]
    assert all(answer["response"]["market"] == {"token": "BTC", "key": "not-a-secret"} for answer in live)
