"""What a streaming feed has counted, and the gaps that it tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pytest_marketreplay.collect.books import Finding
from pytest_marketreplay.collect.grid import OpenGap
from pytest_marketreplay.collect.stream_entries import Emit, Target, gap_item
from pytest_marketreplay.metrics.meter import Meter
from pytest_marketreplay.sinks.items import Gap
from pytest_marketreplay.venues.streaming import Channel

_MS = 1_000_000


class Ledger:
    """Counts for one feed, and hands its gaps on as entries."""

    def __init__(self, emit: Emit, meter: Meter) -> None:
        self._emit, self.meter = emit, meter
        self.counts: Counter[str] = Counter()
        self.problems: dict[str, str] = {}
        """What the venue said of a pair that it refuses."""
        self._outage: tuple[Target, int, str] | None = None
        self.moved_ns = 0
        """By how much the wall clock was set since the feed began, all jumps together."""

    def count(self, name: str, number: int = 1) -> None:
        """Count something."""
        self.counts[name] += number

    def gap(self, target: Target, gap: Gap, pair: str = "") -> None:
        """Tell a gap, at the place of what is missing."""
        self.meter.gap(target.place.venue, gap.kind, gap.count)
        self._emit(gap_item(target, gap, pair))

    # ---------------------------------------------------------------- between two connections

    @property
    def is_cut(self) -> bool:
        """Whether there is a hole that has not ended."""
        return self._outage is not None

    def lost(self, target: Target, since_ns: int, reason: str) -> None:
        """Note that nothing comes any more; a hole that is open already goes on."""
        if self._outage is None:
            self._outage = target, since_ns, reason

    def recovered(self, now_ns: int) -> None:
        """Note that data comes (again): a hole ends, and is told."""
        if self._outage is not None:
            (target, from_ns, reason), self._outage = self._outage, None
            self.gap(target, Gap("disconnected", from_ns // _MS, max(from_ns, now_ns) // _MS, 0, reason))

    def by_now(self, time_ns: int, moved_ns: int) -> int:
        """Return a time as the wall clock of now has it; `moved_ns` is how far it had been set when that time was read."""
        return time_ns + self.moved_ns - moved_ns

    def jumped(self, target: Target, jump: Gap) -> None:
        """Tell that the wall clock was set. A hole that is open ends by the old clock and goes on by the new one."""
        outage = self._outage
        self.recovered(jump.from_ms * _MS)
        self.gap(target, jump)
        self.moved_ns += (jump.to_ms - jump.from_ms) * _MS
        if outage is not None:
            self._outage = outage[0], jump.to_ms * _MS, outage[2]

    def tell_in_parts(self, now_ns: int) -> None:
        """Tell what has passed of a hole that lasts: a killed process must not leave more than a minute undeclared."""
        if self._outage is not None and now_ns - self._outage[1] >= OpenGap.LONGEST_MS * _MS:
            target, _, reason = self._outage
            self.recovered(now_ns)
            self._outage = target, now_ns, reason

    # ---------------------------------------------------------------- in a stream

    def found(self, target: Target, pair: str, channel: Channel, finding: Finding, since_ns: int, now_ns: int) -> None:
        """Tell a break in a stream; `since_ns` is when the last good message came, `now_ns` when it showed."""
        kind = finding.kind
        self.count("checksum" if kind == "checksum" else f"sequence_{kind}")
        self.meter.checked(target.place.venue, "update_id")
        reason = f"{pair} {channel}: {kind}"
        if finding.expected is not None:
            reason += f", {finding.expected} was expected, and {finding.found} came"
        from_ns = since_ns if kind in ("gap", "checksum") else now_ns
        self.gap(target, Gap("sequence", from_ns // _MS, now_ns // _MS, finding.missing, reason), pair)

    def unreadable(self, target: Target, now_ns: int) -> None:
        """Tell a frame that cannot be read; it is in the tree as it came."""
        self.count("unreadable")
        self.gap(target, Gap("sequence", now_ns // _MS, now_ns // _MS, 1, "an unreadable frame"))

    def refused(self, pairs: Iterable[str], problem: str) -> None:
        """Note that the venue does not want a subscription."""
        self.count("refused")
        for pair in pairs:
            self.problems[pair] = problem
