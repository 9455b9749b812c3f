"""What is decided once for a whole run, by the first test or xdist worker that asks, and then holds for all of them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_marketreplay.cassette import files


class Run:
    """Decisions of one test run. With a folder, they are shared between processes."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, Any] = {}
        self._lock = threading.Lock()

    def existed(self, cassette: Path) -> bool:
        """Tell whether a cassette had files when the run first asked for it."""
        return bool(self._decide("exists", cassette, lambda: files.exists(cassette)))

    def files_at_start(self, cassette: Path) -> frozenset[str]:
        """Return the files (relative paths) that a cassette had when the run first asked to replace it."""
        return frozenset(
            self._decide(
                "files", cassette, lambda: [str(file.relative_to(cassette)) for file in files.all_files(cassette)]
            )
        )

    def _decide(self, what: str, cassette: Path, look: Callable[[], Any]) -> Any:
        path = os.path.realpath(cassette)
        name = f"{what}-{hashlib.sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:40]}.json"
        with self._lock:
            if name not in self._known:
                self._known[name] = look() if self._folder is None else self._shared(self._folder / name, look)
            return self._known[name]

    def _shared(self, file: Path, look: Callable[[], Any]) -> Any:
        """Let the first process decide: it links a complete file to the name, which fails for all others."""
        try:
            return json.loads(file.read_bytes())
        except FileNotFoundError:
            pass
        file.parent.mkdir(parents=True, exist_ok=True)
        mine = file.with_name(f"{file.name}.{os.getpid()}.{threading.get_ident()}")
        mine.write_text(json.dumps(look()), encoding="utf-8")
        try:
            os.link(mine, file)
        except FileExistsError:
            pass
        finally:
            mine.unlink()
        return json.loads(file.read_bytes())
