"""The log of a capture: plain lines in UTC, in files that are rotated, with nothing secret in them.

Names decide, as in cassettes: the value of whatever is called like a credential becomes a placeholder, in messages, their
arguments and tracebacks alike; so do passwords in URLs, tokens that show themselves by their form, and private keys.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from pytest_marketreplay.errors import CollectError, UsageMistake

LOGGERS = ("pytest_marketreplay.collect", "pytest_marketreplay.documents")
"""What goes into the file: the collector's own, and the word that a document was read from its backup."""

MODE = 0o644
FOLDER_MODE = 0o750
PLACEHOLDER = "REDACTED"

_SECRET = re.compile(
    r"apikey|accesskey|token|bearer|secret|passphrase|password|passwd|pwd$|privatekey|signature|authorization|credential"
    r"|listenkey|jwt|cookie|mnemonic|key$|^auth$|auth$|^sign$|apisign$|^sig$|^t?otp$|^pin$|^2fa$|^tfa$"
)
_WHOLE_LINE = re.compile(r"authorization$|cookie$")
"""Names of headers whose values have blanks in them: `Authorization: Digest username="a", response="b"`."""

_URL_USER = re.compile(r"(://)[^/?#\s]+@")
_URL_SLASH = re.compile(r"(://)(?!\[)[^\s/?#@:]{0,256}:(?!\d+[/?#])[^\s@\"'<>]{1,256}@")
"""A password with a slash in it; not the `:9443/ws/btcusdt@depth` of a stream."""

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S)
_BY_FORM = re.compile(
    r"\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"  # a JSON web token
    r"|(?<=[Bb]earer )[\w.~+/=-]+"
    r"|(?<=[Bb]asic )(?=[a-z/-]*[A-Z0-9+=])[\w+/=-]{6,}"
)
_OPTION = re.compile(r"(?<!\S)(--?[\w-]+)( +)(\"[^\"\r\n]*\"?|'[^'\r\n]*'?|\S+)")
_NAME = re.compile(
    r"""
    (?<![\w.-])(?P<name>[\w.-]++)                            # from the start of a word: a long one is read once
    (?: (?:\\*["'])?[ \t]*(?:=>?|:|%3D)[ \t]*                # name=value  "name": value  name%3Dvalue
      | \\*["'][ \t]*,[ \t]*(?=[bruf]{0,2}\\*["']) )         # ("name", "value")
    """,
    re.X | re.I,
)
_VALUE = re.compile(
    r"""
    [bruf]{0,2}(?P<quote>\\*["'])[^\r\n]*?(?:(?<!\\)(?P=quote)|(?=[\r\n])|\Z)  # with more backslashes, a quote is in it
    | [{\[(][^\r\n]*                                         # an object: whatever is in it
    | (?:(?:Bearer|Basic|Token|Digest)[ ]+)?(?:(?!\\["'])[^\s&"'])+
    """,
    re.X | re.I,
)
_ANOTHER = re.compile(r"[ \t]*(?:=>?|:)[ \t]*")
_REST = re.compile(r"[^\r\n]*")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


@lru_cache(maxsize=4096)
def _looks_secret(name: str) -> bool:
    return _SECRET.search(re.sub(r"[^a-z0-9]", "", name.lower())) is not None


def redact(text: str) -> str:
    """Return a text with a placeholder for whatever looks like a credential; when in doubt, for more than that."""
    text = _PRIVATE_KEY.sub(PLACEHOLDER, text)
    text = _URL_USER.sub(rf"\1{PLACEHOLDER}@", text)
    text = _URL_SLASH.sub(rf"\1{PLACEHOLDER}@", text)
    text = _OPTION.sub(lambda match: match[1] + match[2] + (PLACEHOLDER if _looks_secret(match[1]) else match[3]), text)
    return _BY_FORM.sub(PLACEHOLDER, "".join(_without_named(text)))


def _without_named(text: str) -> Iterator[str]:
    at = 0
    for name in _NAME.finditer(text):
        # a name may itself have been the value of the one before: `key: apiSecret=...`
        if name.start() < at or not _looks_secret(name["name"]):
            continue
        start = name.end()
        value = _VALUE.match(text, start)
        while value is not None and value.end() > start:
            quote = value["quote"] or ""
            if not quote and _WHOLE_LINE.search(name["name"].lower()):
                value = _REST.match(text, start)
            yield text[at:start] + quote + PLACEHOLDER + quote
            at = value.end() if value else start
            # `("key", "apiSecret": "...")`, `token: a = b`: what was taken for the value was a name
            another = _ANOTHER.match(text, at)
            start = another.end() if another else at
            value = _VALUE.match(text, start) if another else None
    yield text[at:]


class Lines(logging.Formatter):
    """Format a record as `2026-01-31T12:00:00.123Z WARNING name: message`, without secrets and on one line.

    A traceback, or a message of several lines, goes on in lines that begin with four spaces, so that nothing an exchange
    sends can look like a line of the log. Control characters are escaped. `scrub` is applied to the text last: it may know
    secrets by their value.
    """

    def __init__(self, scrub: Callable[[str], str] | None = None) -> None:
        super().__init__()
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        text = redact(super().format(record))
        if self._scrub is not None:
            text = self._scrub(text)
        text = _UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text.rstrip("\n"))
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        return f"{time}Z {record.levelname} {record.name}: " + text.replace("\n", "\n    ")


class _Files(RotatingFileHandler):
    """The files: made with their mode, and what could not be written is counted and told."""

    lost = 0

    def _open(self) -> TextIOWrapper:
        stream = super()._open()
        os.fchmod(stream.fileno(), MODE)
        return stream

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; after a failure, say first how many are missing."""
        if lost := self.lost:
            told = f"{lost} lines of this log could not be written"
            super().emit(logging.LogRecord(LOGGERS[0], logging.ERROR, __file__, 0, told, None, None))
            if self.lost > lost:
                return
            self.lost = 0
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is that of `logging`
        """Tell standard error, once for each run of failures, what failed; never what the record says."""
        self.lost += 1
        if self.lost == 1 and sys.stderr is not None:
            error = sys.exc_info()[1]
            reason = str(error) if isinstance(error, OSError) else type(error).__name__
            with suppress(OSError, ValueError):  # standard error is closed: there is nowhere left to say it
                sys.stderr.write(
                    f"{self.baseFilename}: a line from {record.pathname}:{record.lineno} could not be written: {reason}\n"
                )


def start(
    path: Path,
    *,
    level: int | str = logging.INFO,
    max_bytes: int = 10_000_000,
    keep: int = 5,
    scrub: Callable[[str], str] | None = None,
) -> Callable[[], None]:
    """Write the log of the collector to a file, and return what ends that.

    At `max_bytes` the file becomes `path.1`, and so on; `keep` of them are kept beside it. Files have the mode 644, folders
    that are made 750. One process at a time may write a log. `scrub` may take out secrets that are known by their value.
    Raises UsageMistake for a level, size or number that is none, and CollectError where the file cannot be written.
    """
    number = logging.getLevelNamesMapping().get(level.upper()) if isinstance(level, str) else level
    if number is None:
        known = ", ".join(name.lower() for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
        raise UsageMistake(f"{level!r} is no level of the log: it is one of {known}")
    if max_bytes < 1 or keep < 1:
        raise UsageMistake(f"a log keeps at least one file of at least one byte, not {keep} of {max_bytes}")
    try:
        _make_folder(path.parent)
        files = _Files(path, maxBytes=max_bytes, backupCount=keep, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise CollectError(f"the log {path} cannot be written: {error}. Grant access, or name another path") from error
    files.setFormatter(Lines(scrub))
    before = {logger: logger.level for logger in map(logging.getLogger, LOGGERS)}
    for logger in before:
        logger.addHandler(files)
        logger.setLevel(number)

    def stop() -> None:
        for logger, level_before in before.items():
            if files in logger.handlers:
                logger.removeHandler(files)
                logger.setLevel(level_before)
        files.close()

    return stop


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        with suppress(FileExistsError):  # made meanwhile, or no folder: opening the file says so
            folder.mkdir(FOLDER_MODE)
