"""The exchange's end of a replayed WebSocket connection, in bytes (RFC 6455): the client's own library speaks to it.

No extension is ever offered: what was recorded is inflated already.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable

from pytest_marketreplay.cassette.frame import Opcode

_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CODES: dict[Opcode, int] = {"text": 1, "binary": 2, "close": 8, "ping": 9, "pong": 10}
_NAMES: dict[int, Opcode] = {code: name for name, code in _CODES.items()}
_OURS = frozenset(
    (
        "upgrade",
        "connection",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "content-length",
        "transfer-encoding",
    )
)


def accept(key: str) -> str:
    """Return the answer to a client's `Sec-WebSocket-Key` (RFC 6455, 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT).digest()).decode()


def handshake(
    key: str,
    *,
    status: int = 101,
    reason: str = "",
    headers: Iterable[tuple[str, str]] = (),
    subprotocol: str | None = None,
    body: bytes = b"",
) -> bytes:
    """Return the answer to an upgrade as bytes: 101 with what the handshake demands, or the status that refused it."""
    lines = [f"HTTP/1.1 {status} {reason}"]
    lines += [f"{name}: {value}" for name, value in headers if name.lower() not in _OURS]
    if status == 101:
        lines += ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept(key)}"]
        if subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    else:
        lines += [f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def request_header(request: bytes | bytearray, name: bytes) -> str:
    """Return a header of a client's request, "" where it has none; `name` is in lower case."""
    for line in request.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip().decode("latin-1")
    return ""


def frame(opcode: Opcode, data: bytes) -> bytes:
    """Return one unmasked frame, as a server sends it."""
    first = 0x80 | _CODES[opcode]
    length = len(data)
    if length < 126:
        return bytes((first, length)) + data
    if length < 65536:
        return bytes((first, 126)) + length.to_bytes(2, "big") + data
    return bytes((first, 127)) + length.to_bytes(8, "big") + data


class ClientFrames:
    """Takes apart what one end writes: frames, masked or not, in pieces or several at once.

    A message in fragments is one; one that is compressed (RFC 7692) is inflated.
    """

    def __init__(self, take: Callable[[Opcode, bytes], None]) -> None:
        self._take = take
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._first: Opcode = "text"
        self._is_squeezed = False
        self._inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes; each message that they complete is given on.

        Raises ValueError for what is no frame, zlib.error, and what the taker raises.
        """
        buffer = self._buffer
        buffer += data
        while (size := self._size()) is not None:
            head, length = size
            masked = buffer[1] & 0x80
            end = head + length
            payload = bytes(buffer[head:end])
            if masked and length:
                payload = _unmask(payload, bytes(buffer[head - 4 : head]))
            first = buffer[0]
            del buffer[:end]
            self._frame(first, payload)

    def _size(self) -> tuple[int, int] | None:
        """Return where the payload of the first frame begins and how long it is; None while it is not here whole."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        head, length = 2, buffer[1] & 0x7F
        if length >= 126:
            size = 2 if length == 126 else 8
            head += size
            if len(buffer) < head:
                return None
            length = int.from_bytes(buffer[2:head], "big")
        if buffer[1] & 0x80:
            head += 4
        return (head, length) if len(buffer) >= head + length else None

    def _frame(self, first: int, payload: bytes) -> None:
        code = first & 0x0F
        if code and code not in _NAMES:
            raise ValueError(f"opcode {code} is none of WebSocket's")
        if code >= 8:
            self._take(_NAMES[code], payload)
            return
        if code:
            self._first, self._parts = _NAMES[code], []
            self._is_squeezed = bool(first & 0x40)
        self._parts.append(payload)
        if first & 0x80:
            whole, self._parts = b"".join(self._parts), []
            self._take(self._first, self._inflate(whole) if self._is_squeezed else whole)

    def _inflate(self, data: bytes) -> bytes:
        whole = self._inflater.decompress(data + b"\x00\x00\xff\xff")  # a sender leaves that out (RFC 7692, 7.2.1)
        if self._inflater.eof:  # a final block: what comes next begins anew
            self._inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        return whole


def _unmask(data: bytes, mask: bytes) -> bytes:
    length = len(data)
    whole = mask * (length // 4 + 1)
    # one big integer instead of a loop over bytes: 100 times faster for a long message
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole[:length], "big")).to_bytes(length, "big")
