"""The guard beneath the interception: in a session that does not record, no socket and no name look-up gets out.

It refuses what no interception knows (WebSocket for now, `http.client`, `urllib.request`, raw sockets, ...), so that an
unsupported library is a clear error and never a live request. Loopback, Unix sockets and this host's own name stay open,
except hosts that `marketreplay_hosts` names as a venue's.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

from pytest_marketreplay.config import is_loopback
from pytest_marketreplay.errors import NetworkRefused
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.replay.current import current
from pytest_marketreplay.replay.session import Session

_EXPLANATION = (
    "If this was an exchange client, its library is not one of those that can be recorded yet "
    "(docs/reference/clients.md).\nIf it is a service of your own, open it: marketreplay_allow_hosts = {host}"
)


def _text(host: Any) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)


def _is_open(session: Session, host: str, port: Any) -> bool:
    """Tell whether a host stays open in a session that refuses the network."""
    bracketed = f"[{host}]" if ":" in host else host
    with_port = f"{bracketed}:{port}" if port else bracketed
    if session.registry.is_named(with_port.lower()) or session.registry.is_named(host.lower()):
        return False
    return is_loopback(host) or session.allows(with_port) or session.allows(host)


def _own_name(host: str) -> bool:
    return host in ("", "<broadcast>") or host.lower() == socket.gethostname().lower()


def check_address(family: Any, address: Any, what: str) -> None:
    """Refuse an address that may not be reached now. Raises NetworkRefused."""
    session = current()
    if session is None or not session.refuses or not isinstance(address, tuple) or len(address) < 2:
        return  # no session, a session that records, or a Unix or other local socket
    if family not in (socket.AF_INET, socket.AF_INET6):
        return
    host = _text(address[0])
    if not _is_open(session, host, address[1]) and not _own_name(host):
        _refuse(session, f"{what} to {host}:{address[1]}", host)


def check_name(host: Any, port: Any, what: str) -> None:
    """Refuse a name look-up that may not be made now. Raises NetworkRefused."""
    session = current()
    if session is None or not session.refuses or host is None:
        return
    name = _text(host)
    if not _is_open(session, name, port) and not _own_name(name) and not _is_loopback_venue(name):
        _refuse(session, f"the {what} of {name}", name)


def _is_loopback_venue(name: str) -> bool:
    return is_loopback(name)  # looking up loopback reaches nothing; connecting to it is checked by itself


def _refuse(session: Session, what: str, host: str) -> None:
    raise session.refuse(NetworkRefused(what, session.name, _EXPLANATION.format(host=host)))


def _connect(original: Callable[..., Any]) -> Callable[..., Any]:
    def connect(self: socket.socket, address: Any) -> Any:
        check_address(self.family, address, "a connection")
        return original(self, address)

    return connect


def _sendto(original: Callable[..., Any]) -> Callable[..., Any]:
    def sendto(self: socket.socket, *args: Any) -> Any:
        check_address(self.family, args[-1] if args else None, "a datagram")
        return original(self, *args)

    return sendto


def _sendmsg(original: Callable[..., Any]) -> Callable[..., Any]:
    def sendmsg(self: socket.socket, *args: Any) -> Any:
        check_address(self.family, args[3] if len(args) > 3 else None, "a datagram")
        return original(self, *args)

    return sendmsg


def _getaddrinfo(original: Callable[..., Any]) -> Callable[..., Any]:
    def getaddrinfo(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        check_name(host, port, "name look-up")
        return original(host, port, *args, **more)

    return getaddrinfo


def _gethostbyname(original: Callable[..., Any]) -> Callable[..., Any]:
    def gethostbyname(hostname: Any) -> Any:
        check_name(hostname, None, "name look-up")
        return original(hostname)

    return gethostbyname


def sockets() -> Iterable[Patch]:
    """Give the patches of `socket`."""
    yield Patch(socket.socket, "connect", _connect)
    yield Patch(socket.socket, "connect_ex", _connect)
    yield Patch(socket.socket, "sendto", _sendto)
    if hasattr(socket.socket, "sendmsg"):
        yield Patch(socket.socket, "sendmsg", _sendmsg)
    yield Patch(socket, "getaddrinfo", _getaddrinfo)
    yield Patch(socket, "gethostbyname", _gethostbyname)
    yield Patch(socket, "gethostbyname_ex", _gethostbyname)


def _loop_call(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        async def call(self: Any, *args: Any, **more: Any) -> Any:
            host, port = _loop_target(args, more)
            check_name(host, port, what)
            if host is not None and is_loopback(_text(host)):
                check_address(socket.AF_INET, (host, port), "a connection")
            return await original(self, *args, **more)

        return call

    return make


def _loop_target(args: tuple[Any, ...], more: dict[str, Any]) -> tuple[Any, Any]:
    """Find host and port in the arguments of `create_connection(factory, host, port)` or `getaddrinfo(host, port)`."""
    positional = args[1:] if args and callable(args[0]) else args
    host = positional[0] if positional else more.get("host")
    port = positional[1] if len(positional) > 1 else more.get("port")
    return host, port


def uvloop() -> Iterable[Patch]:
    """Give the patches of `uvloop`, which resolves and connects in C, past `socket`."""
    import uvloop

    yield Patch(uvloop.Loop, "create_connection", _loop_call("connection"))
    yield Patch(uvloop.Loop, "getaddrinfo", _loop_call("name look-up"))
