"""Failures: the names under which they are stored, the same for all clients (format, "Failures").

| name | what happened |
| --- | --- |
| connect | no connection: refused, unreachable |
| dns | the name was not resolved |
| connect_timeout | no connection in time |
| tls | the TLS handshake failed |
| read_timeout | connected, no answer in time |
| timeout | the whole call took too long |
| disconnected | the server closed without an answer |
| reset | the connection was reset |
| incomplete | the body broke off; what came of it is stored |
"""

from __future__ import annotations

CONNECT = "connect"
DNS = "dns"
CONNECT_TIMEOUT = "connect_timeout"
TLS = "tls"
READ_TIMEOUT = "read_timeout"
TIMEOUT = "timeout"
DISCONNECTED = "disconnected"
RESET = "reset"
INCOMPLETE = "incomplete"

WITHOUT_ANSWER = (CONNECT, DNS, CONNECT_TIMEOUT, TLS, READ_TIMEOUT, TIMEOUT, DISCONNECTED, RESET)


def stored_headers(
    headers: list[tuple[str, str]], body: bytes, decoded: bytes | None
) -> tuple[list[tuple[str, str]], bytes, str | None]:
    """Return headers, body and the encoding undone, as they are stored.

    Where a content encoding was undone, the headers say so: no Content-Encoding, and the length of what is stored.
    `decoded` is None where there was nothing to undo or the client could not.
    """
    if decoded is None:
        return headers, body, None
    encoding = ", ".join(value for name, value in headers if name.lower() == "content-encoding") or None
    if encoding is None:
        return headers, decoded, None
    kept = [
        (name, str(len(decoded)) if name.lower() == "content-length" else value)
        for name, value in headers
        if name.lower() != "content-encoding"
    ]
    return kept, decoded, encoding
