"""How a place for snapshots is written, as rclone writes it, and how its secrets are kept out of every command line.

A folder, `gdrive:backups` of `rclone.conf`, `:webdav,url=...:path` on the fly, or the URL of a WebDAV server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.logs import PLACEHOLDER, redact

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_REMOTE = re.compile(
    r"(?P<name>:?[\w.+@][\w.+@ -]*)"
    r"(?P<options>(?:,\w+(?:=(?:'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[^,:'\"][^,:]*|))?)*)"
    r":(?P<path>.*)",
    re.DOTALL,
)
_OPTION = re.compile(r",(\w+)(?:=('(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[^,:'\"][^,:]*|))?")
_SECRET = re.compile(r"pass|secret|token|key|cred|auth|sas|cookie", re.IGNORECASE)
_SHORTEST = 4
"""Characters of the shortest value that is masked wherever it shows; what is shorter would mask words."""
_EXAMPLES = (
    "it can be a folder, gdrive:backups, :webdav,url='https://host/dav':backups, or https://user@host/dav/backups"
)


class Place(NamedTuple):
    """A remote, taken apart."""

    base: str
    """What rclone is given: holds no secret."""
    name: str
    """What is shown and remembered: the same for the same place, whatever the password is."""
    environment: dict[str, str]
    """What rclone is told beside it."""
    obscure: dict[str, str]
    """Passwords by the name of the variable that rclone wants each in, obscured."""
    secrets: tuple[str, ...]
    """What must show nowhere."""

    def masked(self, text: str) -> str:
        """Return a text without this remote's secrets, and without whatever else looks like one."""
        for secret in self.secrets:
            text = text.replace(secret, PLACEHOLDER)
        return redact(text)


def read_spec(spec: str, environment: Mapping[str, str]) -> Place:
    """Return what a text says of a remote; a relative folder is made absolute. Raises UsageMistake, without its secrets."""
    if not spec or spec.startswith("-") or not spec.isprintable():
        raise UsageMistake(f"the remote is {redact(spec)!r}; {_EXAMPLES}")
    secrets = _long(value for name, value in environment.items() if name.startswith("RCLONE_") and _SECRET.search(name))
    url = _URL.match(spec)
    if url is not None:
        return _of_url(spec, url[1].lower(), environment, secrets)
    if ":" not in spec.split("/", 1)[0]:
        folder = str(Path(spec).expanduser().absolute())
        return Place(folder, folder, {}, {}, secrets)
    match = _REMOTE.fullmatch(spec)
    # `url=https://...` without quotes ends at its colon, and the rest, with whatever is secret in it, would be the path
    if match is None or (match["options"] and match["path"].startswith("//")):
        raise UsageMistake(
            f"the remote {redact(spec.split(',', 1)[0])!r} is not written as rclone writes it (a value with a colon is in quotes); {_EXAMPLES}"
        )
    return _of_rclone(match, secrets)


def _long(values: object) -> tuple[str, ...]:
    return tuple(sorted({each for each in values if len(each) >= _SHORTEST}, key=len, reverse=True))  # type: ignore[attr-defined]


def _of_rclone(match: re.Match[str], secrets: tuple[str, ...]) -> Place:
    """Take the options of a connection string out, into the variables that mean the same."""
    name, path = match["name"], match["path"]
    prefix = f"RCLONE_{name[1:]}" if name.startswith(":") else f"RCLONE_CONFIG_{name}"
    told, shown, hidden = {}, [], list(secrets)
    for key, quoted in _OPTION.findall(match["options"]):
        value = _unquoted(quoted) if quoted else "true"
        told[re.sub("[- ]", "_", f"{prefix}_{key}").upper()] = value
        if _SECRET.search(key):
            hidden.append(value)
            value = PLACEHOLDER
        else:
            parts = urlsplit(value) if "://" in value else None
            if parts is not None and "@" in parts.netloc:
                hidden += _userinfo(parts)
                value = parts._replace(netloc=f"{PLACEHOLDER}@{parts.netloc.rpartition('@')[2]}").geturl()
        shown.append(f",{key}={value}")
    return Place(f"{name}:{path}", f"{name}{''.join(shown)}:{path}", told, {}, _long(hidden))


def _unquoted(text: str) -> str:
    return text[1:-1].replace(text[0] * 2, text[0]) if text[0] in "'\"" else text


def _userinfo(parts: SplitResult) -> list[str]:
    """Return what must not show of a URL's user and password, as written and decoded; a user alone is no secret."""
    password = parts.password
    if password is None:
        user = parts.username or ""
        return [user, unquote(user)]
    return [parts.netloc.rpartition("@")[0], password, unquote(password)]


def _of_url(spec: str, scheme: str, environment: Mapping[str, str], secrets: tuple[str, ...]) -> Place:
    """Read the URL of a folder of a WebDAV server; what is not there of it is made at the first backup."""
    try:
        parts = urlsplit(spec)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise UsageMistake(
            f"the remote is {redact(spec)!r}, and of URLs only those of WebDAV folders are taken; {_EXAMPLES}"
        )
    path = parts.path.strip("/")
    at = parts.netloc.rpartition("@")[2]
    told = {"RCLONE_WEBDAV_URL": f"{scheme}://{at}/"}
    told["RCLONE_WEBDAV_VENDOR"] = environment.get("RCLONE_WEBDAV_VENDOR", "other")
    obscure = {}
    if parts.username is not None:
        told["RCLONE_WEBDAV_USER"] = unquote(parts.username)
    if parts.password is not None:
        obscure["RCLONE_WEBDAV_PASS"] = unquote(parts.password)
    hidden = [*secrets, *(_userinfo(parts) if parts.password is not None else [])]
    return Place(f":webdav:{unquote(path)}", f"{scheme}://{at}/{path}", told, obscure, _long(hidden))
