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
| protocol | what came was not HTTP, or not what the client can read |
| incomplete | the body broke off; what came of it is stored |

`read_timeout`, `timeout` and `reset` with a status and headers ended a body that had begun, as `incomplete` does.
"""

from __future__ import annotations

from typing import TypeVar

CONNECT = "connect"
DNS = "dns"
CONNECT_TIMEOUT = "connect_timeout"
TLS = "tls"
READ_TIMEOUT = "read_timeout"
TIMEOUT = "timeout"
DISCONNECTED = "disconnected"
RESET = "reset"
PROTOCOL = "protocol"
INCOMPLETE = "incomplete"

REFUSED_TEXT = "Connection refused"
RESET_TEXT = "Connection reset by peer"
UNKNOWN_NAME_TEXT = "Name or service not known"

_Error = TypeVar("_Error", bound=BaseException)


def replayed(error: _Error, cause: BaseException | None = None) -> _Error:
    """Return an error that reads as it did live, with the cause it had; a note says that it comes from a recording."""
    error.__cause__ = cause
    error.add_note("replayed from a recording")
    return error
