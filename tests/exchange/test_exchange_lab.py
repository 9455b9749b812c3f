"""The lab: answers that are awkward on purpose."""

from __future__ import annotations

import pytest
import requests

from pytest_marketreplay.exchange import SimulatedExchange
from pytest_marketreplay.exchange import lab as lab_module
from pytest_marketreplay.exchange.encodings import ENCODERS


@pytest.fixture
def lab(exchange: SimulatedExchange) -> str:
    return exchange.url("lab") + "/__lab__"


def raw(url: str) -> tuple[bytes, requests.Response]:
    response = requests.get(url, stream=True, timeout=10)
    with response:
        return response.raw.read(decode_content=False), response


@pytest.mark.parametrize("encoding", sorted(ENCODERS))
def test_a_body_comes_in_the_encoding_that_was_asked_for(lab: str, encoding: str) -> None:
    body, response = raw(f"{lab}/encoded/{encoding}")
    assert response.headers["content-encoding"] == encoding
    assert body == ENCODERS[encoding](lab_module.SAMPLE)
    if encoding in ("gzip", "deflate", "identity"):
        assert requests.get(f"{lab}/encoded/{encoding}").content == lab_module.SAMPLE


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_chunked_body_has_no_length(lab: str, encoding: str) -> None:
    response = requests.get(f"{lab}/chunked?pieces=7&encoding={encoding}")
    assert response.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in response.headers
    assert response.content == lab_module.SAMPLE


@pytest.mark.parametrize(("status", "method"), [(302, "GET"), (303, "GET"), (307, "POST"), (308, "POST")])
def test_a_chain_of_redirects_sets_a_cookie_at_every_hop(lab: str, status: int, method: str) -> None:
    with requests.Session() as session:
        response = session.post(f"{lab}/redirect/3?status={status}", data="x")
    assert [hop.status_code for hop in response.history] == [status] * 3
    assert response.json() == {"method": method, "cookies": {"hop1": "1", "hop2": "2", "hop3": "3"}}


def test_two_cookies_come_in_two_headers(lab: str) -> None:
    response = requests.get(f"{lab}/cookies")
    assert response.raw.headers.getlist("set-cookie") == ["session=abc; Path=/", "theme=dark; Path=/"]


@pytest.mark.parametrize("code", [200, 201, 400, 404, 418, 500, 503])
def test_any_status_can_be_had(lab: str, code: int) -> None:
    response = requests.get(f"{lab}/status/{code}")
    assert (response.status_code, response.json()) == (code, {"status": code})


def test_a_204_has_no_body_and_a_head_only_headers(lab: str) -> None:
    assert (requests.get(f"{lab}/status/204").status_code, requests.get(f"{lab}/status/204").content) == (204, b"")
    head = requests.head(f"{lab}/body/exact")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(lab_module.EXACT_JSON)


def test_an_etag_that_is_known_gives_304(lab: str) -> None:
    first = requests.get(f"{lab}/etag")
    second = requests.get(f"{lab}/etag", headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, second.status_code, second.content) == (200, 304, b"")
    assert second.headers["etag"] == first.headers["etag"]


def test_a_hanging_answer_comes_in_the_end_or_times_out(lab: str) -> None:
    assert requests.get(f"{lab}/hang?seconds=0").json() == {"late": True}
    with pytest.raises(requests.ReadTimeout):
        requests.get(f"{lab}/hang?seconds=60", timeout=0.05)


def test_a_dropped_connection_gives_no_answer_and_is_noted_without_a_status(
    lab: str, exchange: SimulatedExchange
) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{lab}/drop")
    assert [asked.status for asked in exchange.requests] == [None]


def test_a_truncated_body_is_shorter_than_promised(lab: str) -> None:
    response = requests.get(f"{lab}/truncated", stream=True)
    with response:
        assert int(response.headers["content-length"]) == 2 * len(lab_module.SAMPLE)
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            _ = response.content


@pytest.mark.parametrize("size", [0, 1, 17, 100_000])
def test_a_body_of_any_size_can_be_had(lab: str, size: int) -> None:
    body = requests.get(f"{lab}/bytes/{size}").content
    assert len(body) == size
    assert len(set(body.splitlines())) == len(body.splitlines())


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("binary", lab_module.BINARY),
        ("latin1", lab_module.NOT_UTF8),
        ("pretty", lab_module.PRETTY_JSON),
        ("exact", lab_module.EXACT_JSON),
        ("empty", b""),
        ("mislabelled", b"<html>maintenance</html>"),
    ],
)
def test_awkward_bodies_come_byte_for_byte(lab: str, name: str, body: bytes) -> None:
    assert requests.get(f"{lab}/body/{name}").content == body


def test_not_utf8_is_not_utf8() -> None:
    with pytest.raises(UnicodeDecodeError):
        lab_module.NOT_UTF8.decode()


def test_the_echo_tells_the_request_as_it_arrived(lab: str) -> None:
    response = requests.put(f"{lab}/echo?b=2&a=%2F1", data=b"\xffbody", headers={"X-Test": "yes"})
    echoed = response.json()
    assert (echoed["method"], echoed["query"], echoed["body"]) == ("PUT", "b=2&a=%2F1", "\\xffbody")
    assert echoed["size_bytes"] == 5
    assert ["X-Test", "yes"] in echoed["headers"]


@pytest.mark.parametrize("path", ["/nothing", "/__lab__/nothing", "/"])
def test_an_unknown_path_lists_the_known_ones(exchange: SimulatedExchange, path: str) -> None:
    response = requests.get(exchange.url("lab") + path)
    assert response.status_code == 404
    assert "/__lab__/encoded" in response.text


@pytest.mark.parametrize("path", ["encoded/rot13", "status/99", "redirect/x", "bytes/-1", "redirect/1?status=200"])
def test_a_request_that_makes_no_sense_is_a_400(lab: str, path: str) -> None:
    assert requests.get(f"{lab}/{path}").status_code == 400


def test_the_lab_fails_when_told_to(lab: str, exchange: SimulatedExchange) -> None:
    exchange.fail_next("lab", status=429, retry_after=9)
    response = requests.get(f"{lab}/arrived")
    assert (response.status_code, response.headers["retry-after"]) == (429, "9")
    assert requests.get(f"{lab}/arrived").status_code == 200
