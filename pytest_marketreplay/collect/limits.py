"""What a venue allows: no request before `Retry-After` ends, none during a ban, back-off where nothing is said.

Binance, "General API Information", "IP Limits": 429 asks to back off, 418 is a ban of two minutes to three days, and
`Retry-After` (RFC 9110, 10.2.3: seconds or a date) goes with both.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_S = 1.0
CAP_S = 60.0
BAN_S = 120.0
LONGEST_BAN_S = 3 * 86_400.0


def _moment(value: str | None) -> datetime | None:
    """Read an HTTP date; one without a zone is UTC (RFC 9110, 5.6.7)."""
    try:
        moment = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError):  # the latter from a zone of many digits
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def retry_after_s(value: str | None, now_ns: int, date: str | None = None) -> float | None:
    """Return the seconds of a `Retry-After` header; None where there is none, or none that can be read.

    For the form that is a date, `date` is the same answer's `Date` header: both are the venue's clock, and a wall clock of
    ours that is wrong by an hour shortens no ban. `now_ns` (Unix epoch) stands in where the venue sends none.
    """
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text, re.ASCII):  # some send fractions, against the RFC
        return float(text)
    until, sent = _moment(text), _moment(date)
    if until is None:
        return None
    return max(0.0, until.timestamp() - (now_ns / 1e9 if sent is None else sent.timestamp()))


def asked_to_wait_s(headers: Iterable[tuple[str, str]], now_ns: int) -> float | None:
    """Return the seconds of an answer's `Retry-After`, a date in it by the answer's own `Date`; None where it says none."""
    said = {name.lower(): value for name, value in headers}
    return retry_after_s(said.get("retry-after"), now_ns, said.get("date"))


def forbidden_s(status: int, headers: Iterable[tuple[str, str]], now_ns: int) -> float | None:
    """Return how long a refused handshake forbids to ask again; None where it does not say so."""
    said = asked_to_wait_s(headers, now_ns)
    return BAN_S if said is None and status == 418 else said


def is_refusal(venue: str, status: int) -> bool:
    """Tell whether a status says that a venue was asked too often.

    A 403 does at Binance ("HTTP 403 return code is used when the WAF Limit (Web Application Firewall) has been violated")
    and at Bybit ("Rate Limit", "IP Limit"); elsewhere it may be of one pair, and must not hold up the others.
    """
    return status in (418, 429) or (status == 403 and venue.startswith(("binance", "bybit")))


class Limits:
    """When one venue may be asked again; shared by all of its pairs. Times are seconds of the event loop's clock."""

    def __init__(self, rng: random.Random, *, first_s: float = FIRST_S, cap_s: float = CAP_S) -> None:
        self._rng, self._first_s, self._cap_s = rng, first_s, cap_s
        self._limited = self._banned = 0
        self._refused_s = float("-inf")
        self.free_s = float("-inf")
        """From when on the venue may be asked."""
        self.banned_until_s = float("-inf")
        """Until when a 418 holds: that one bans the address, whatever it asks for."""
        self.reason = ""
        self.used_weight: int | None = None
        """What the venue last said of the weight that is used up (`X-MBX-USED-WEIGHT-1M`)."""

    def may_ask(self, now_s: float) -> bool:
        """Tell whether a request is allowed now."""
        return now_s >= self.free_s

    def hold(self, until_s: float, reason: str) -> None:
        """Ask nothing until then; an earlier time never undoes a later one."""
        if until_s > self.free_s:
            self.free_s, self.reason = until_s, reason

    def ban(self, until_s: float) -> None:
        """Ask for nothing at all until then."""
        self.banned_until_s = max(self.banned_until_s, until_s)
        self.hold(until_s, "banned (418)")

    def refused(self, status: int, retry_after: float | None, now_s: float, sent_s: float = float("inf")) -> None:
        """Take a 429 or 418, or a rate limit that came with another status, to the letter.

        `sent_s` is when that request was sent: those that were under way together are refused together, and count once.
        """
        is_new = sent_s >= self._refused_s
        self._refused_s = now_s
        if status == 418:
            self._banned += is_new or not self._banned
            # what is not said is guessed on the long side, and doubled as the venue doubles it
            guess = min(LONGEST_BAN_S, BAN_S * 2.0 ** min(self._banned - 1, 30))
            wait_s = retry_after if retry_after is not None else guess
            self.ban(now_s + wait_s)
            return
        self._limited += is_new or not self._limited
        backoff = min(self._cap_s, self._first_s * 2.0 ** min(self._limited - 1, 30)) * self._rng.uniform(0.5, 1.0)
        self.hold(now_s + (retry_after if retry_after is not None else backoff), f"rate limited ({status})")

    def answered(self, used_weight: str | None, sent_s: float = float("inf")) -> None:
        """Note a good answer: what comes after is not a series any more, unless it was sent before the last refusal."""
        if sent_s >= self._refused_s:
            self._limited = self._banned = 0
        if used_weight is not None and used_weight.isdigit():
            self.used_weight = int(used_weight)
