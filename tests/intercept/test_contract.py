"""One story, every client: live, while recording, and replayed with the server stopped, a client sees the same."""

from __future__ import annotations

import pytest
from aiohttp import http_parser

from .fidelity import ESSENTIAL, REASONS, reason
from .probes import PROBES
from .stage import CLIENTS, performed, tells
from .story import Client, Probe

CASES = [
    pytest.param(client, probe, id=f"{client.name}-{probe.name}")
    for client in CLIENTS
    for probe in PROBES
    if tells(client, probe)
]


@pytest.mark.parametrize(("client", "probe"), CASES)
def test_what_a_client_sees_while_recording_is_what_it_sees_live(client: Client, probe: Probe) -> None:
    seen = performed(client.name)[probe.name]
    unexplained = [
        name for name in seen.differences("recording") if reason(client.name, probe.name, name, "recording") is None
    ]
    assert not unexplained, seen.show("recording")


@pytest.mark.parametrize(("client", "probe"), CASES)
def test_what_a_client_sees_replayed_is_what_it_sees_live(client: Client, probe: Probe) -> None:
    seen = performed(client.name)[probe.name]
    unexplained = [
        name for name in seen.differences("replay") if reason(client.name, probe.name, name, "replay") is None
    ]
    assert not unexplained, seen.show("replay")
    assert not seen.refusals


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_probes_that_must_fail_do_fail_and_others_do_not(client: Client) -> None:
    """Equal is not enough: a client that always raised the same error would be equal too."""
    failing = {
        "too many redirects", "Retry on 429 in vain", "connection refused", "a name that is not known", "connect timeout",
        "TLS to a server without it", "read timeout", "read timeout in the body", "total timeout",
        "total timeout in the body", "disconnected without an answer", "disconnected after POST", "connection reset",
        "a body cut short", "a body cut short, read in pieces", "a chunk cut short", "reset in the body",
        "an answer that is not HTTP", "gzip that is none", "raise_for_status of the session",
        "raise_for_status of the call",
    }  # fmt: skip
    if client.name == "aiohttp" and hasattr(http_parser, "HAS_ZSTD"):
        failing.add("zstd")  # it asks for a library that is not installed
    failed = {name for name, seen in performed(client.name).items() if any("error" in each for each in seen.live)}
    told = {probe.name for probe in PROBES if tells(client, probe)}
    assert failed == failing & told


def test_no_reason_excuses_what_matters() -> None:
    assert all(not each.aspects & ESSENTIAL for each in REASONS)
