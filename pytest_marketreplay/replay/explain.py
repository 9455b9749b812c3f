"""What a miss says: what was asked, the nearest recorded entries and what differs in each, and how to record it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_marketreplay.cassette import names
from pytest_marketreplay.errors import CassetteError
from pytest_marketreplay.replay.matching import Key, differences, show

if TYPE_CHECKING:
    from pytest_marketreplay.cassette.files import Place
    from pytest_marketreplay.replay.tape import Tape

_NEAREST = 3
_MOST_PLACES = 50
_MOST_KEYS = 20_000


def _distance(asked: Key, recorded: Key) -> tuple[int, int, int]:
    left, right = set(asked[2]), set(recorded[2])
    names_left, names_right = {name for name, _ in left}, {name for name, _ in right}
    return (
        (asked[1] != recorded[1]) * 2 + (asked[0] != recorded[0]),
        len(names_left ^ names_right),
        len(left ^ right),
    )


def nearest(tape: Tape, place: Place, key: Key) -> list[tuple[Key, int]]:
    """Return the recorded requests nearest to this one and how often each is recorded; none of another venue's.

    The place that was asked is looked at first, then places of the same endpoint, then the venue's others (at most 50
    places, so that a miss in a large archive ends soon).
    """
    candidates = [(number, other) for number, other in tape.places() if other.venue == place.venue]
    candidates.sort(
        key=lambda item: (item[1] != place, item[1].endpoint != place.endpoint, item[1].symbol != place.symbol)
    )
    found: dict[Key, int] = {}
    for number, other in candidates[:_MOST_PLACES]:
        try:
            index = tape.index(number, other)
        except CassetteError:
            continue  # what is damaged elsewhere is told when it is asked for, and by `cassette check`
        for recorded, slots in index.slots.items():
            found[recorded] = found.get(recorded, 0) + len(slots)  # type: ignore[index, call-overload]
        if len(found) > _MOST_KEYS:
            break
    near = sorted(found.items(), key=lambda item: (_distance(key, item[0]), item[0]))[:_NEAREST]
    # what differs in the endpoint tells nothing where the endpoint itself is recorded
    return [item for item in near if _distance(key, item[0])[0] == _distance(key, near[0][0])[0]]


def explain(tape: Tape, place: Place, key: Key, command: str, mode: str) -> str:
    """Return the explanation of a miss."""
    lines = [f"cassette: {', '.join(map(str, tape.layers)) or '(none)'}, mode {mode}, place {'/'.join(place)}"]
    near = nearest(tape, place, key)
    if near:
        lines.append("nearest recorded:")
    for recorded, count in near:
        times = "" if count == 1 else f" ({count} times)"
        lines.append(f"  {show(recorded[0], recorded[1], recorded[2])}{times}")
        differs = []
        if recorded[0] != key[0]:
            differs.append(f"method: {key[0]} asked, {recorded[0]} recorded")
        if recorded[1] != key[1]:
            differs.append(f"endpoint: {key[1]} asked, {recorded[1]} recorded")
        differs += differences(key[2], recorded[2])
        lines += [f"    {difference}" for difference in differs]
    if not near:
        others = sorted({other.venue for _, other in tape.places()})
        if others:
            known = ", ".join(others)
            lines.append(
                f"nothing of {place.venue!r} is recorded, only of: {known} (marketreplay_hosts says which host is which venue)"
            )
        else:
            lines.append("the cassette is empty")
    lines.append(cure(command))
    return "\n".join(lines)


def exhausted(tape: Tape, place: Place, count: int, command: str, mode: str) -> str:
    """Return the explanation for a request whose recorded answers are all played."""
    times = "once" if count == 1 else f"{count} times"
    return (
        f"it is recorded {times}, and every answer has been played "
        f"(cassette: {', '.join(map(str, tape.layers))}, mode {mode}, place {'/'.join(place)})\n"
        f'to play the last one again: exhausted="last"; to start over: exhausted="loop"\n' + cure(command)
    )


def cure(command: str) -> str:
    """Return the command that would record what is missing."""
    return (
        f"to record it: {command}new_episodes"
        if command
        else 'to record it: open the cassette with mode="new_episodes"'
    )


def cure_rewrite(command: str) -> str:
    """Return the command that records a connection anew."""
    return f"to record it anew: {command}all" if command else 'to record it anew: open the cassette with mode="all"'


def place_of(venue: str, endpoint: str, symbol: str | None, *, websocket: bool = False) -> tuple[str, str, str]:
    """Return the folder names of a place."""
    folder = names.endpoint_folder(endpoint, websocket=websocket)
    return names.venue_folder(venue), folder, names.symbol_folder(symbol)
