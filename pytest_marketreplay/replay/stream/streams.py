"""All WebSocket connections of one session: which are recorded, which are played, and in what order."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_marketreplay.cassette import files, payload
from pytest_marketreplay.cassette.entry import Head, HeadMeta
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.frame import Frame, FrameMeta, read_frame, write_frame
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.cassette.request import WEBSOCKET
from pytest_marketreplay.errors import RecordingExhausted, UnrecordedRequest
from pytest_marketreplay.replay import explain
from pytest_marketreplay.replay.matching import Key, Matcher, show
from pytest_marketreplay.replay.recognise import Recogniser
from pytest_marketreplay.replay.stream.player import Player
from pytest_marketreplay.replay.stream.recorded import Connection, Lines
from pytest_marketreplay.replay.stream.timeline import Timeline

if TYPE_CHECKING:
    from pytest_marketreplay.replay.answer import Answer
    from pytest_marketreplay.replay.faults import Faults
    from pytest_marketreplay.replay.recognise import Known
    from pytest_marketreplay.replay.session import Session
    from pytest_marketreplay.venues.profile import Venue

_MOST_SHOWN = 5


def opening_key(matcher: Matcher, frame: Frame) -> Key:
    """Return the key of a recorded connection, as `Matcher.of_request` gives it for one that is asked for."""
    head = Head(frame.timestamp, frame.endpoint, frame.params, frame.response, HeadMeta(method=WEBSOCKET))
    return matcher.of_head(head)


class Streams:
    """The connections of a session. Safe under threads."""

    def __init__(self, session: Session, recogniser: Recogniser, layers: list[str]) -> None:
        self.session = session
        self._recogniser = recogniser
        self._layers = layers
        self._lines: dict[tuple[int, Place], Lines] = {}
        self._lock = threading.RLock()
        self._unbound: list[tuple[Key, Player]] = []
        self.timeline = Timeline(session)

    @property
    def faults(self) -> Faults | None:
        """What is injected into the frames."""
        return self.session.faults

    @property
    def described(self) -> str:
        """The session's cassettes, for error texts."""
        return ", ".join(self._layers)

    def cure(self) -> str:
        """Return the command that records what is missing."""
        return explain.cure_rewrite(self.session.settings.command())

    def matcher(self, venue: Venue) -> Matcher:
        """Return what compares the messages of a venue's clients."""
        return self._recogniser.matcher(venue)

    def connections(self, known: Known) -> list[Connection]:
        """Return the recorded connections to a URL, of all layers, in recorded order. Raises DamagedCassette."""
        matcher = self.matcher(known.venue)
        with self._lock:
            return [
                connection
                for layer in range(len(self._layers))
                for connection in self._of(layer, known.place, matcher).connections
                if connection.opening is None or opening_key(matcher, connection.opening) == known.key
            ]

    def has(self, known: Known, *, optional: bool) -> bool:
        """Tell whether `play` would find a connection. Raises DamagedCassette."""
        recorded = self.connections(known)
        again = self.session.settings.exhausted != "error" and not optional
        return any(again or not connection.was_played for connection in recorded)

    def play(self, known: Known, *, optional: bool) -> Player | None:
        """Take a recorded connection for one that a client opens.

        None: nothing fits, where that is no mistake (`optional`). Raises UnrecordedRequest, RecordingExhausted,
        DamagedCassette.
        """
        with self._lock:
            recorded = self.connections(known)
            left = [connection for connection in recorded if not connection.was_played]
            self._unbound = [
                (key, each) for key, each in self._unbound if each.connection is None and not each.is_closed
            ]
            reserved = sum(key == known.key for key, _ in self._unbound)
            if len(left) <= reserved:
                if optional:
                    return None
                if not recorded or self.session.settings.exhausted == "error":
                    raise self._missing(known, len(recorded))
                left = recorded[-1:] if self.session.settings.exhausted == "last" else recorded
                for connection in left:
                    connection.was_played = False
            player = Player(self, known, self._url(known), left)
            if player.connection is None:
                self._unbound.append((known.key, player))
            return player

    def turned_away(self, known: Known, said: Answer) -> Player:
        """Return a connection whose upgrade an injected fault answers; what is recorded stays for the next."""
        connection = Connection(Lines([], self.matcher(known.venue)), "injected")
        connection.first_ns = connection.last_ns = self.timeline.now_ns
        meta = FrameMeta(dir="open", status=said.status, headers=said.meta.headers, error=said.error)
        body = payload.encode(said.body) if said.body else payload.Payload(b"null")
        line = write_frame(connection.first_ns // 1_000_000, known.asked.path, b"{}", meta, body)
        connection.opening = read_frame(line.rstrip(b"\n"))
        return Player(self, known, self._url(known), [connection])

    def unplayed(self, layer: int) -> list[tuple[Path, int, str]]:
        """Return file, line and endpoint of what no client did of a layer. Reads the whole layer.

        That is every connection that was never opened, and every message that was not sent in one that was.
        """
        out = []
        root = self._layers[layer]
        with self._lock:
            for place in files.places(Path(root)):
                if place.endpoint.startswith("ws_"):
                    lines = self._of(layer, place, self._recogniser.matcher_of_folder(place.venue))
                    for each in lines.connections:
                        endpoint = each.opening.endpoint if each.opening else place.endpoint
                        unsent = [sent.where for sent in each.sends if sent.position not in each.made]
                        out += [(*where, endpoint) for where in (unsent if each.was_played else [each.where])]
        return out

    def _of(self, layer: int, place: Place, matcher: Matcher) -> Lines:
        lines = self._lines.get((layer, place))
        if lines is None:
            folder = os.path.join(self._layers[layer], *place)
            lines = Lines([os.path.join(folder, name) for name in files.names_in(folder)], matcher)
            try:
                lines.load()
            except BaseException:
                lines.close()
                raise
            self._lines[layer, place] = lines
        return lines

    def _url(self, known: Known) -> str:
        asked = known.asked
        params = known.venue.rules.redact_params(asked.params)
        scheme = {"http": "ws", "https": "wss"}.get(asked.scheme, asked.scheme)
        return SECRETS.scrub(show("", f"{scheme}://{asked.host}{asked.path}", params)).strip()

    def _missing(self, known: Known, recorded: int) -> UnrecordedRequest:
        asked = f"WebSocket {self._url(known)}"
        where = f"cassette: {self.described}, mode {self.session.settings.mode}, place {'/'.join(known.place)}"
        command = self.session.settings.command()
        if recorded:
            times = "once" if recorded == 1 else f"{recorded} times"
            text = (
                f"it is recorded {times}, and every connection has been played ({where})\n"
                f'to play the last one again: exhausted="last"; to start over: exhausted="loop"\n{explain.cure(command)}'
            )
            return RecordingExhausted(asked, SECRETS.scrub(text))
        near: list[str] = []
        for layer in range(len(self._layers)):
            for place in files.places(Path(self._layers[layer])):
                if place.venue == known.place.venue and place.endpoint.startswith("ws_") and len(near) < _MOST_SHOWN:
                    matcher = self.matcher(known.venue)
                    near += [self._describe(each, place) for each in self._of(layer, place, matcher).connections]
        shown = ["recorded connections of this venue:", *(f"  {text}" for text in dict.fromkeys(near[:_MOST_SHOWN]))]
        nothing = [f"no WebSocket connection of {known.venue.name!r} is recorded"]
        return UnrecordedRequest(
            asked, SECRETS.scrub("\n".join([where, *(shown if near else nothing), explain.cure(command)]))
        )

    def _describe(self, connection: Connection, place: Place) -> str:
        opening = connection.opening
        if opening is None:
            return f"{place.endpoint} (without its handshake)"
        return show("", opening.endpoint, tuple(opening.params.items())).strip()

    def close(self) -> None:
        """End all connections and close the files."""
        self.timeline.close()
        with self._lock:
            for lines in self._lines.values():
                lines.close()
