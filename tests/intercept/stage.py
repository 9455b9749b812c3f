"""Three performances of each probe: live, while it is recorded, and replayed with the servers stopped."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.exchange import SimulatedExchange

from .async_clients import Aiohttp, AsyncHttpx
from .probes import PROBES
from .story import Client, Probe, Seen, Site
from .sync_clients import Httpx, Requests, Urllib3
from .wire import Wire

CLIENTS: tuple[Client, ...] = (Requests(), Urllib3(), Aiohttp(), Httpx(), AsyncHttpx())


class Performed(NamedTuple):
    """What was seen of one probe."""

    live: list[Seen]
    recording: list[Seen]
    replay: list[Seen]
    refusals: int

    def differences(self, which: str) -> list[str]:
        """Return the aspects in which the recording or the replay is not as live."""
        out: dict[str, None] = {}
        other: list[Seen] = getattr(self, which)
        for here, there in zip(self.live, other, strict=True):
            out |= dict.fromkeys(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
        return sorted(out)

    def show(self, which: str) -> str:
        """Return the differences for people."""
        other: list[Seen] = getattr(self, which)
        return "\n".join(
            f"call {number}, {name}:\n  live   {here.get(name)!r:.600}\n  {which:<6} {there.get(name)!r:.600}"
            for number, (here, there) in enumerate(zip(self.live, other, strict=True), 1)
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        )


def tells(client: Client, probe: Probe) -> bool:
    """Tell whether a client can tell a probe."""
    return probe.clients is None or client.name in probe.clients


def _unknown_name(host: Any, port: Any, *args: Any, **more: Any) -> Any:
    if "exchange.invalid" in str(host):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _getaddrinfo(host, port, *args, **more)


_getaddrinfo = socket.getaddrinfo


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Listen on a port that accepts nobody: its queue is full, so that connecting to it takes forever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@cache
def performed(client_name: str) -> dict[str, Performed]:
    """Perform every probe of one client; once in a process."""
    client = next(each for each in CLIENTS if each.name == client_name)
    probes = [probe for probe in PROBES if tells(client, probe)]
    live: dict[str, list[Seen]] = {}
    recording: dict[str, list[Seen]] = {}
    out: dict[str, Performed] = {}
    with tempfile.TemporaryDirectory() as folder, socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: refuses everybody, and nobody else gets the port
        # a name that nobody knows must not depend on the resolver of the machine that runs this
        with full_backlog() as full, mock.patch("socket.getaddrinfo", _unknown_name):  # noqa: SIM117
            with SimulatedExchange() as exchange, Wire() as wire:
                site = Site(
                    wire.url,
                    exchange.url("lab"),
                    f"http://127.0.0.1:{reserved.getsockname()[1]}",
                    f"http://127.0.0.1:{full}",
                )
                hosts = {base.removeprefix("http://"): "lab" for base in site}
                for probe in probes:
                    wire.seen.clear()
                    live[probe.name] = client.tell(probe, site)
                    wire.seen.clear()
                    with use_cassette(Path(folder) / probe.name.replace("/", "-"), mode="rewrite", hosts=hosts):
                        recording[probe.name] = client.tell(probe, site)
        for probe in probes:
            cassette = Path(folder) / probe.name.replace("/", "-")
            with use_cassette(cassette, mode="none", hosts=hosts) as session:
                replay = client.tell(probe, site)
                refusals = len(session.refusals)
                session.refusals.clear()
            out[probe.name] = Performed(live[probe.name], recording[probe.name], replay, refusals)
    return out
