"""Goals, and which of the series meet them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_marketreplay.report.result import Goals, Series, Verdict
from pytest_marketreplay.report.words import percent

MET, MISSED, UNKNOWN = "met", "missed", "unknown"


def judge(series: Sequence[Series], goals: Goals) -> tuple[tuple[Verdict, ...], bool]:
    """Return a verdict for each goal, and whether none was missed. A capture without any order book misses."""
    if not series:
        text = "no order book was found: nothing here is one that its venue knows"
        return (Verdict("order books", MISSED, text, ()),), False
    verdicts = (
        _goal(
            "completeness",
            f"at least {goals.min_completeness:g} % of the grid is there",
            series,
            lambda each: each.completeness,
            lambda value: value >= goals.min_completeness,
            lambda value: f"lowest {percent(value)}",
            worst=min,
        ),
        _goal(
            "declared",
            "every missing tick is declared by a gap entry" + _but(goals.max_undeclared),
            series,
            lambda each: each.undeclared,
            lambda value: value <= goals.max_undeclared,
            lambda value: f"most {value:.0f}",
        ),
        _goal(
            "latency",
            f"the 99th percentile of the capture latency is below {goals.max_latency_ms:g} ms",
            series,
            lambda each: each.latency_ms.p99,
            lambda value: value < goals.max_latency_ms,
            lambda value: f"highest {value:.1f} ms",
            of_streams="the frames of a stream came unasked, and the venue's times in them are of another clock",
        ),
        _goal(
            "sequence",
            "sequence numbers without a hole or a repeat" + _but(goals.max_sequence_faults),
            series,
            lambda each: each.sequence_holes + each.sequence_repeats if each.sequenced else None,
            lambda value: value <= goals.max_sequence_faults,
            lambda value: f"most {value:.0f}",
            of_streams="the frames of a stream have no such numbers; whether its diffs follow each other was checked "
            f"instead, breaks found: {sum(each.breaks for each in series if each.source == 'streamed')}",
        ),
    )
    return verdicts, all(verdict.state != MISSED for verdict in verdicts)


def remarks(series: Sequence[Series], damaged: int, last_ms: int | None) -> tuple[str, ...]:
    """Say what is odd and breaks no goal. `last_ms` is when the capture ended."""
    out = []
    if damaged:
        out.append(f"{damaged} damaged or unreadable lines were passed over")
    for each in series:
        odd = [
            f"{count} {what}"
            for count, what in (
                (each.crossed, "crossed books"),
                (each.empty, "empty books"),
                (each.update_ids_backwards, "update ids that go backwards"),
                (each.breaks, "breaks of the stream"),
                (each.failed, "failed answers"),
                (each.segments - 1, "jumps of the clock"),
            )
            if count > 0
        ]
        early_ms = 0 if last_ms is None else last_ms - each.last_ms
        if early_ms > max(10 * each.interval_ms, 5_000):
            odd.append(f"ends {early_ms / 1000:.0f} s before the capture does")
        if odd:
            out.append(f"{each.name}: {', '.join(odd)}")
    return tuple(out)


def _but(allowed: int) -> str:
    return f", but for {allowed} a pair" if allowed else ""


def _goal(
    name: str,
    wanted: str,
    series: Sequence[Series],
    value_of: Callable[[Series], float | None],
    meets: Callable[[float], bool],
    say: Callable[[float], str],
    worst: Callable[[Sequence[float]], float] = max,
    of_streams: str = "",
) -> Verdict:
    """Judge one goal; `of_streams` says why streams have nothing to say to it."""
    known = [(each.name, value) for each in series if (value := value_of(each)) is not None]
    streamed = sum(each.source == "streamed" for each in series)
    why = f": {of_streams}" if of_streams and streamed else ""
    if not known:
        return Verdict(name, UNKNOWN, f"{wanted}: the capture does not say{why}", ())
    missed = tuple(each for each, value in known if not meets(value))
    extreme = say(worst([value for _, value in known]))
    count = len(known)
    if missed:
        which = "missed" if count == 1 else f"missed by {len(missed)} of {count} pairs"
        return Verdict(name, MISSED, f"{wanted}: {which}, {extreme}", missed)
    which = "met" if count == 1 else f"met by all {count} pairs"
    silent = len(series) - count
    aside = f"; {silent} do not say{why}" if silent else ""
    return Verdict(name, MET, f"{wanted}: {which}, {extreme}{aside}", ())
