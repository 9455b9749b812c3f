"""A persister for vcrpy: a suite that stays on `@pytest.mark.vcr` keeps its recordings in our tree.

vcrpy saves a whole cassette at once, so the tree is staged and put in place of the old one when it is complete. A line
holds what vcrpy needs to match (`meta.vcr`: the request's URI, body and content type) beside what replay here needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_marketreplay import clock
from pytest_marketreplay.bridge import said
from pytest_marketreplay.bridge.interaction import TIMESTAMP, body_bytes, interaction_of
from pytest_marketreplay.bridge.sources import SUFFIXES, Unusable
from pytest_marketreplay.bridge.writing import Writer, tell, times
from pytest_marketreplay.cassette import files
from pytest_marketreplay.cassette import request as requests_
from pytest_marketreplay.cassette.entry import header_pairs, standard_reason
from pytest_marketreplay.cassette.redaction import SECRETS
from pytest_marketreplay.cassette.writer import Recording, make_folder
from pytest_marketreplay.errors import RecordingError
from pytest_marketreplay.replay import replace
from pytest_marketreplay.replay.matching import Matcher
from pytest_marketreplay.venues.registry import Registry

MATCHER = "marketreplay"
METADATA = ".vcr-metadata"
"""File beside the tree for what a suite keeps with vcrpy's `Cassette.get_metadata`, in the serializer's format."""


def folder_of(cassette_path: str | os.PathLike[str]) -> Path:
    """Return the cassette's folder: vcrpy's path without `.yaml`, `.yml` or `.json`."""
    path = Path(cassette_path)
    return path.with_suffix("") if path.suffix.lower() in SUFFIXES else path


class MarketReplayPersister:
    """Loads and saves vcrpy's cassettes as trees; the methods are those that vcrpy 7 and later call.

    A cassette that has no tree yet is read from vcrpy's own file, if there is one, and is a tree when it is saved next.
    """

    def __init__(self, *, registry: Registry | None = None, extra_paths: Iterable[str | os.PathLike[str]] = ()) -> None:
        """Keep recordings under the venues of `registry`; `extra_paths` are read after each cassette, never written."""
        self.registry = registry or Registry()
        self.extra_paths = tuple(extra_paths)
        self._matchers: dict[str, Matcher] = {}

    @classmethod
    def register(cls, vcr: Any, *, registry: Registry | None = None) -> MarketReplayPersister:
        """Make a `vcr.VCR` save into trees, and teach it to match as this package does: `match_on=["marketreplay"]`.

        Call it in pytest-recording's hook `pytest_recording_configure(config, vcr)`; cassettes that a `vcr` mark names
        beside the test's own are still read.
        """
        persister = cls(registry=registry, extra_paths=getattr(vcr.persister, "extra_paths", ()))
        vcr.register_persister(persister)
        vcr.register_matcher(MATCHER, persister.same_request)
        return persister

    def same_request(self, first: Any, second: Any) -> bool:
        """Tell whether two requests of vcrpy's are the same, whatever their signatures, nonces, timestamps and keys."""
        return self._key(first) == self._key(second)

    def _key(self, request: Any) -> object:
        raw = request._to_dict()
        asked = requests_.parse(raw["method"], raw["uri"], body_bytes(raw["body"], list(request.headers.items())))
        venue = self.registry.of(asked.host)
        if venue.name not in self._matchers:
            self._matchers[venue.name] = Matcher(venue)
        return asked.host, self._matchers[venue.name].of_request(asked)

    def load_cassette(self, cassette_path: str | os.PathLike[str], serializer: Any) -> tuple[Any, ...]:
        """Return requests, responses and, where there is any, metadata.

        Raises vcrpy's CassetteNotFoundError; DamagedCassette and CassetteError pass through vcrpy, which would record
        over a cassette that raises its own CassetteDecodeError.
        """
        from vcr.persisters.filesystem import CassetteNotFoundError

        paths = list(dict.fromkeys(map(str, (cassette_path, *self.extra_paths))))
        requests: list[Any] = []
        responses: list[Any] = []
        metadata: list[Any] = []
        missing = 0
        for path in paths:
            try:
                more = self._load(path, serializer)
            except CassetteNotFoundError:
                missing += 1
                continue
            requests += more[0]
            responses += more[1]
            metadata += more[2:]
        if missing == len(paths):
            raise CassetteNotFoundError(f"no cassette at {cassette_path}")
        return (requests, responses, *metadata[:1])

    def _load(self, path: str, serializer: Any) -> tuple[Any, ...]:
        from vcr.persisters.filesystem import FilesystemPersister
        from vcr.request import Request

        folder = folder_of(path)
        replace.finish(folder)
        kept = folder / METADATA
        if not files.exists(folder) and not kept.exists():
            loaded: tuple[Any, ...] = FilesystemPersister.load_cassette(path, serializer)
            return loaded
        requests, responses = [], []
        for entry in said.read(folder, self.registry):
            requests.append(Request(entry.method, entry.uri, entry.body, entry.headers))
            headers: dict[str, list[str]] = {}
            for name, value in header_pairs(entry.meta.headers):
                headers.setdefault(name, []).append(value)
            message = entry.meta.reason if entry.meta.reason is not None else standard_reason(entry.meta.status)
            responses.append(
                {
                    "status": {"code": entry.meta.status, "message": message},
                    "headers": headers,
                    "body": {"string": entry.answer},
                    TIMESTAMP: entry.timestamp_ms,
                }
            )
        if kept.exists():
            return requests, responses, serializer.deserialize(kept.read_text("utf-8"))
        return requests, responses

    def save_cassette(
        self, cassette_path: str | os.PathLike[str], cassette_dict: dict[str, Any], serializer: Any
    ) -> None:
        """Write a cassette in place of the tree that is there; where anything fails, the old one stays.

        Raises RecordingError for a request or response that cannot be written.
        """
        folder = folder_of(cassette_path)
        told = []
        for request, response in zip(cassette_dict["requests"], cassette_dict["responses"], strict=True):
            raw = {"request": {**request._to_dict(), "headers": dict(request.headers)}, "response": response}
            try:
                told.append(tell(interaction_of(raw), self.registry))
            except Unusable as error:
                raise RecordingError(f"{folder}: {request.method} cannot be recorded: {error}") from error
        replace.finish(folder)
        old = [file for file in files.all_files(folder) if not file.relative_to(folder).parts[1].startswith("ws_")]
        staged = replace.staging(folder)
        recording = Recording(staged)
        writer = Writer(told)
        moments = times([one.interaction.moment_ms for one in told], clock.now_ns() // 1_000_000)
        try:
            for one, timestamp_ms in zip(told, moments, strict=True):
                written = writer.write(one, timestamp_ms, said.meta_of)
                recording.append(written.place, written.line)
            recording.close()
            metadata = cassette_dict.get("metadata")
            text = SECRETS.scrub(serializer.serialize(metadata)) if metadata else None
            at_start = [str(file.relative_to(folder)) for file in old]
            replace.commit(
                folder, staged, None, at_start, lambda place: Matcher(self.registry.by_folder(place.venue)).of_head
            )
        except BaseException:
            recording.close()
            if staged.exists() and not (staged / replace._PLAN).exists():  # a plan is carried out by the next load
                replace.drop(staged, folder)
            raise
        _keep_metadata(folder, text)


def _keep_metadata(folder: Path, text: str | None) -> None:
    kept = folder / METADATA
    if text is None:
        kept.unlink(missing_ok=True)
        return
    make_folder(folder)  # a cassette of metadata alone
    temporary = folder / f"{METADATA}.{os.getpid()}"
    temporary.write_text(text, "utf-8")
    temporary.replace(kept)
