"""Drawn sessions and answers as cassettes, which the package replays like any other."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import orjson

from pytest_marketreplay.cassette import entry as entries
from pytest_marketreplay.cassette import frame as frames
from pytest_marketreplay.cassette import names, payload
from pytest_marketreplay.cassette.entry import Meta, header_object
from pytest_marketreplay.cassette.files import Place
from pytest_marketreplay.cassette.frame import FrameMeta
from pytest_marketreplay.cassette.request import WEBSOCKET, Asked, dump_json
from pytest_marketreplay.cassette.writer import Recording
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.strategies.recorded import RecordedAnswer
from pytest_marketreplay.strategies.session import MarketSession, WireAnswer
from pytest_marketreplay.venues.registry import Registry

_MS = 1_000_000
_NOTHING = payload.Payload(b"null")


def write_session(folder: str | os.PathLike[str], session: MarketSession) -> Path:
    """Write a session as a cassette and return its folder: its REST answers, and its connection.

    The connection ends with the recording (`limit`), not by the exchange. A folder that has files already gets new ones
    beside them. Raises RecordingError.
    """
    recording = Recording(Path(folder))
    registry = Registry()
    try:
        for answer in session.answers:
            recording.append(_place(registry, session.venue, answer), _line(answer))
        _write_connection(recording, registry, session)
    finally:
        recording.close()
    return recording.root


def _place(registry: Registry, name: str, answer: WireAnswer) -> Place:
    venue = registry.venues[name]
    at = venue.locate(Asked("GET", "https", "", answer.path, answer.params))
    return Place(names.venue_folder(name), names.endpoint_folder(at.endpoint), names.symbol_folder(at.symbol))


def _line(answer: WireAnswer) -> bytes:
    meta = Meta(latency_ms=0.0, headers=answer.headers)
    params = orjson.dumps(dict(answer.params))
    return entries.write_line(answer.time_ns // _MS, answer.path, params, meta, payload.encode(answer.body))


def _write_connection(recording: Recording, registry: Registry, session: MarketSession) -> None:
    venue = registry.venues[session.venue]
    at = venue.locate_stream(Asked(WEBSOCKET, "wss", session.host, session.path, session.query))
    place = Place(
        names.venue_folder(venue.name),
        names.endpoint_folder(at.endpoint, websocket=True),
        names.symbol_folder(at.symbol),
    )
    opened = FrameMeta(dir="open", conn="1", seq=0, offset_ns=0, status=101, latency_ms=0.0)
    query = orjson.dumps(dict(session.query))
    recording.append(place, frames.write_frame(session.start_ns // _MS, session.path, query, opened, _NOTHING))
    for number, frame in enumerate(session.frames, 1):
        meta = FrameMeta(dir=frame.direction, conn="1", seq=number, offset_ns=frame.time_ns - session.start_ns)
        line = frames.write_frame(frame.time_ns // _MS, session.path, b"{}", meta, payload.encode(frame.data))
        recording.append(place, line)
    meta = FrameMeta(
        dir="end",
        conn="1",
        seq=len(session.frames) + 1,
        offset_ns=session.end_ns - session.start_ns,
        error="limit",
    )
    recording.append(place, frames.write_frame(session.end_ns // _MS, session.path, b"{}", meta, _NOTHING))


def write_answers(folder: str | os.PathLike[str], answers: Iterable[RecordedAnswer]) -> Path:
    """Write answers of `from_cassette` as a cassette and return its folder: each answers the request it was recorded for.

    Answers to equal requests play in the order given. Raises UsageMistake for a frame of a WebSocket, RecordingError.
    """
    recording = Recording(Path(folder))
    try:
        for answer in answers:
            if answer.status is None:
                raise UsageMistake(f"{answer.endpoint}: a single frame is no answer to a request; take REST endpoints")
            # of the recorded meta, encoding and space are of the body that was recorded
            meta = msgspec.structs.replace(
                answer.meta, headers=header_object(list(answer.headers)), encoding="json", space=None
            )
            params = dump_json(answer.params).encode()
            line = entries.write_line(answer.timestamp_ms, answer.endpoint, params, meta, payload.encode(answer.body))
            recording.append(answer.place, line)
    finally:
        recording.close()
    return recording.root
