"""The guard beneath the interception: in a session that does not record, no socket and no name look-up gets out.

It refuses what no interception knows (`http.client`, `urllib.request`, raw sockets, ...), so that an
unsupported library is a clear error and never a live request. Loopback, Unix sockets and this host's own name stay open,
except hosts that `marketreplay_hosts` names as a venue's.

A connection that was open before the session is refused too, when the test's own code (a task or thread that carries the
session) sends on it. What other threads send on theirs, such as a debugger's, is left alone.
"""

from __future__ import annotations

import _socket
import socket
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

from pytest_marketreplay.config import is_loopback
from pytest_marketreplay.errors import NetworkRefused
from pytest_marketreplay.intercept.patches import Patch
from pytest_marketreplay.replay.current import SESSION, current
from pytest_marketreplay.replay.session import Session

_EXPLANATION = (
    "If this was an exchange client, its library is not one of those that can be recorded yet "
    "(docs/reference/clients.md).\nIf it is a service of your own, open it: marketreplay_allow_hosts = {host}"
)


_opened: WeakKeyDictionary[Session, set[str]] = WeakKeyDictionary()
"""The addresses that open names were resolved to: a client connects to the address, not to the name."""


_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def _text(host: Any) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)


def _is_open(session: Session, host: str, port: Any) -> bool:
    """Tell whether a host stays open in a session that refuses the network."""
    host = host.partition("%")[0]  # the scope of an IPv6 address
    if host.lower().startswith("::ffff:") and "." in host:
        host = host[7:]  # an IPv4 address, mapped
    bracketed = f"[{host}]" if ":" in host else host
    with_port = f"{bracketed}:{port}" if port else bracketed
    if session.registry.is_named(with_port.lower()) or session.registry.is_named(host.lower()):
        return False
    loopback = is_loopback(host)
    # `localhost:8080 = binance` is connected to as 127.0.0.1:8080
    if loopback and any(session.registry.is_named(f"{other}:{port}") for other in _LOOPBACK_NAMES):
        return False
    if loopback or session.allows(with_port) or session.allows(host):
        return True
    return host in _opened.get(session, ())


def _own_name(host: str) -> bool:
    return not host or host.lower() == socket.gethostname().lower()


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
    if is_loopback(name):
        return  # also where it is a venue: looking it up reaches nothing, and connecting to it is checked by itself
    if not _is_open(session, name, port) and not _own_name(name):
        _refuse(session, f"the {what} of {name}", name)


def check_connection(connection: socket.socket) -> None:
    """Refuse to send on a connection that was open before the session. Raises NetworkRefused."""
    session = SESSION.get()
    if session is None or not session.is_open or not session.refuses:
        return
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        peer = connection.getpeername()
    except OSError:
        return  # not connected: sending fails by itself
    if not _is_open(session, peer[0], peer[1]):
        _refuse(session, f"sending on a connection to {peer[0]}:{peer[1]}", peer[0])


def _refuse(session: Session, what: str, host: str) -> None:
    raise session.refuse(NetworkRefused(what, session.name, _EXPLANATION.format(host=host)))


def _connect(original: Callable[..., Any]) -> Callable[..., Any]:
    def connect(self: socket.socket, address: Any) -> Any:
        try:
            check_address(self.family, address, "a connection")
        except NetworkRefused:
            self.close()  # `socket.create_connection` does so only for an OSError
            raise
        return original(self, address)

    return connect


def _sendto(original: Callable[..., Any]) -> Callable[..., Any]:
    def sendto(self: socket.socket, *args: Any) -> Any:
        check_address(self.family, args[-1] if args else None, "a datagram")
        return original(self, *args)

    return sendto


def _sendmsg(original: Callable[..., Any]) -> Callable[..., Any]:
    def sendmsg(self: socket.socket, *args: Any) -> Any:
        if len(args) > 3 and args[3] is not None:
            check_address(self.family, args[3], "a datagram")
        else:
            check_connection(self)
        return original(self, *args)

    return sendmsg


def _send(original: Callable[..., Any]) -> Callable[..., Any]:
    def send(self: socket.socket, *args: Any, **more: Any) -> Any:
        check_connection(self)
        return original(self, *args, **more)

    return send


def _note(host: Any, addresses: Iterable[Any]) -> None:
    """Remember the addresses of a name that is open; those of loopback are open anyway."""
    session = current()
    if session is not None and session.refuses and host and not is_loopback(_text(host)):
        _opened.setdefault(session, set()).update(map(str, addresses))


def _getaddrinfo(original: Callable[..., Any]) -> Callable[..., Any]:
    def getaddrinfo(host: Any, port: Any, *args: Any, **more: Any) -> Any:
        check_name(host, port, "name look-up")
        found = original(host, port, *args, **more)
        _note(host, (address[0] for *_, address in found))
        return found

    return getaddrinfo


def _gethostbyname(original: Callable[..., Any]) -> Callable[..., Any]:
    def gethostbyname(hostname: Any) -> Any:
        check_name(hostname, None, "name look-up")
        found = original(hostname)
        _note(hostname, [found] if isinstance(found, str) else found[2])
        return found

    return gethostbyname


def _getnameinfo(original: Callable[..., Any]) -> Callable[..., Any]:
    def getnameinfo(sockaddr: Any, flags: int) -> Any:
        if not flags & socket.NI_NUMERICHOST and isinstance(sockaddr, tuple) and sockaddr:
            check_name(sockaddr[0], None, "reverse name look-up")
        return original(sockaddr, flags)

    return getnameinfo


def sockets() -> Iterable[Patch]:
    """Give the patches of `socket`."""
    yield Patch(socket.socket, "connect", _connect)
    yield Patch(socket.socket, "connect_ex", _connect)
    yield Patch(socket.socket, "sendto", _sendto)
    yield Patch(socket.socket, "send", _send)
    yield Patch(socket.socket, "sendall", _send)
    if hasattr(socket.socket, "sendmsg"):  # pragma: no branch - Windows has none
        yield Patch(socket.socket, "sendmsg", _sendmsg)
    # beneath socket.getaddrinfo, so that it holds where that was imported by name as well
    yield Patch(_socket, "getaddrinfo", _getaddrinfo)
    for name in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr"):
        yield Patch(socket, name, _gethostbyname)
    yield Patch(socket, "getnameinfo", _getnameinfo)


def tls() -> Iterable[Patch]:
    """Give the patches of `ssl`, whose sockets write past `socket.send`."""
    import ssl

    yield Patch(ssl.SSLSocket, "send", _send)
    yield Patch(ssl.SSLSocket, "write", _send)


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


def _loop_datagram(original: Callable[..., Any]) -> Callable[..., Any]:
    async def create_datagram_endpoint(
        self: Any, protocol_factory: Any, local_addr: Any = None, remote_addr: Any = None, **more: Any
    ) -> Any:
        if remote_addr is not None:
            check_address(socket.AF_INET, remote_addr, "a datagram")
        return await original(self, protocol_factory, local_addr, remote_addr, **more)

    return create_datagram_endpoint


def _loop_getnameinfo(original: Callable[..., Any]) -> Callable[..., Any]:
    async def getnameinfo(self: Any, sockaddr: Any, flags: int = 0) -> Any:
        if not flags & socket.NI_NUMERICHOST:
            check_name(sockaddr[0], None, "reverse name look-up")
        return await original(self, sockaddr, flags)

    return getnameinfo


def uvloop() -> Iterable[Patch]:
    """Give the patches of `uvloop`, which resolves and connects in C, past `socket`."""
    import uvloop

    yield Patch(uvloop.Loop, "create_connection", _loop_call("connection"))
    yield Patch(uvloop.Loop, "getaddrinfo", _loop_call("name look-up"))
    yield Patch(uvloop.Loop, "create_datagram_endpoint", _loop_datagram)
    yield Patch(uvloop.Loop, "getnameinfo", _loop_getnameinfo)
