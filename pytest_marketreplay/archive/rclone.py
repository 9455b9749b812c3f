"""A remote that rclone reaches (1.60 or later): one process for each thing that is done, each in bounded time.

What was found by trial, and is therefore done: uploads to a name of their own, since over WebDAV a cut one stays under its
name; digests by reading back, since a listing has none; `cat` of what is not there ends well on S3 and gives nothing, so that
sizes are compared; `moveto` would delete what stands in its way, so that it is asked for first and told not to.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pytest_marketreplay.archive import rclone_process
from pytest_marketreplay.archive.rclone_errors import PASSING, Verdict, judge
from pytest_marketreplay.archive.rclone_process import Ended
from pytest_marketreplay.archive.remote import Listed, Progress
from pytest_marketreplay.archive.remote_spec import read_spec
from pytest_marketreplay.errors import RemoteError, UsageMistake

T = TypeVar("T")

TIMEOUT_S = 60.0
"""How long a remote may be silent."""
CONNECT_S = 10.0
TRIES = 3
_LOOK = "Look at what is there: marketreplay backup list"
_BRIEF = ("--no-modtime", "--no-mimetype")
_STATS = ("--stats", "500ms", "--stats-log-level", "NOTICE")


class RcloneRemote:
    """A folder that rclone reaches, as `archive.remote.Remote` asks for it.

    `spec` is a folder, a remote of `rclone.conf` or of the environment (`gdrive:backups`), a connection string
    (`:webdav,url=https://host/dav:backups`) or the URL of a WebDAV folder; secrets in it go to rclone by environment alone.
    A remote that is silent for `timeout_s` is given up; what may pass is tried `tries` times, with longer and longer pauses.
    Raises UsageMistake for a spec that is none, and MissingExtra where there is no rclone.
    """

    def __init__(
        self,
        spec: str,
        *,
        timeout_s: float = TIMEOUT_S,
        tries: int = TRIES,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        if not timeout_s > 0 or tries < 1:
            raise UsageMistake(f"a remote needs some time and one try, and has {timeout_s:g} s and {tries}")
        self._place = place = read_spec(spec, os.environ)
        self.name = place.name
        self.timeout_s, self.tries, self._pause = timeout_s, tries, pause
        self._program = rclone_process.find()
        # under a name of its own an upload needs no second one (rclone below 1.63 knows no such variable, and passes it over)
        more = {"RCLONE_INPLACE": "true", **place.environment}
        self._environment = rclone_process.environment(os.environ, more)
        for variable, password in place.obscure.items():
            self._environment[variable] = self._obscured(password)

    def list(self) -> list[Listed]:
        """Return the files of the folder, hidden ones too, none of its folders; `[]` where the folder is not there yet."""
        ended, output = self._asked("list", ["lsjson", self._place.base, "--files-only", *_BRIEF], missing=True)
        if ended.code != 0:
            return []
        try:
            return [Listed(each["Name"], int(each["Size"])) for each in json.loads(output) if not each.get("IsDir")]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._error(
                "list", Verdict("other", f"rclone's listing cannot be read: {error}", "Try again")
            ) from error

    def stat(self, file: str) -> Listed | None:
        """Return one file; None where it is not there."""
        ended, output = self._asked(f"look for {file}", ["lsjson", "--stat", self._at(file), *_BRIEF], missing=True)
        if ended.code != 0:
            return None
        try:
            found: Any = json.loads(output)
            # on S3 whatever is not there is told as a folder
            return None if found is None or found["IsDir"] else Listed(file, int(found["Size"]))
        except (ValueError, LookupError, TypeError) as error:
            raise self._error(
                f"look for {file}", Verdict("other", f"rclone's answer cannot be read: {error}", "Try again")
            ) from error

    def upload(self, source: Path, file: str, progress: Progress | None = None) -> None:
        """Upload a file under a name that is not there yet."""
        # without --ignore-times a file of the same size would be left as it is, with exit code 0
        self._asked(
            f"upload {file}",
            ["copyto", str(source.absolute()), self._at(file), "--ignore-times", *_STATS],
            moved=progress,
            uploading=True,
        )

    def download(self, file: str, target: Path, progress: Progress | None = None) -> None:
        """Download a file, to a path that is not there yet; what came of it is removed where it fails."""
        doing = f"download {file}"
        size = self._size(file, doing)
        self._retried(doing, lambda: self._download(file, target, size, doing, progress))

    def _download(self, file: str, target: Path, size: int, doing: str, progress: Progress | None) -> None:
        try:
            with open(target, "xb") as opened:
                self._cat(file, size, doing, opened.write, progress)
        except FileExistsError:
            raise
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def digest(self, file: str, progress: Progress | None = None) -> str:
        """Read a file back, whole, and return its SHA-256 in hex."""
        doing = f"read back {file}"
        size = self._size(file, doing)

        def read() -> str:
            found = hashlib.sha256()
            self._cat(file, size, doing, found.update, progress)
            return found.hexdigest()

        return self._retried(doing, read)

    def move(self, file: str, to: str) -> None:
        """Rename a file; refused where the new name is taken."""
        doing = f"rename {file} to {to}"

        begun = False

        def rename() -> None:
            nonlocal begun
            there, source = self.stat(to), self.stat(file)
            if begun and there is not None and source is None:
                return  # it was done, and only the answer got lost
            if there is not None:
                raise self._error(doing, Verdict("taken", "a file of that name is there", "Nothing was changed"))
            if source is None:
                raise self._error(doing, Verdict("missing", "it is not there", _LOOK))
            begun = True
            self._once(doing, ["moveto", self._at(file), self._at(to), "--ignore-existing"])
            if self.stat(file) is not None:
                raise self._error(doing, Verdict("taken", "another was faster to take that name", "Nothing was lost"))
            if self.stat(to) is None:
                raise self._error(doing, Verdict("lost", "it is under neither name", "Run the backup again"))

        self._retried(doing, rename)

    def delete(self, file: str) -> None:
        """Delete one file; nothing happens where it is gone."""

        def remove() -> None:
            try:
                self._once(f"delete {file}", ["deletefile", self._at(file)])
            except RemoteError:
                # rclone 1.60 says of whatever fails that it "is a directory or doesn't exist"
                if self.stat(file) is not None:
                    raise

        self._retried(f"delete {file}", remove)

    def read(self, file: str, offset: int, count: int) -> bytes:
        """Read a part of a file; shorter than `count` only at the file's end.

        A server that knows no ranges may give other bytes than asked: compare what comes with a digest.
        """
        doing = f"read {count} bytes of {file}"
        found = bytearray()

        def read() -> bytes:
            found.clear()
            self._once(
                doing,
                ["cat", self._at(file), "--offset", str(offset), "--count", str(count)],
                take=found.extend,
            )
            return bytes(found[:count])

        data = self._retried(doing, read)
        if not data and count and self.stat(file) is None:
            raise self._error(doing, Verdict("missing", "it is not there", _LOOK))
        return data

    # ------------------------------------------------------------ what they are made of

    def _at(self, file: str) -> str:
        if not file or "/" in file or file in (".", "..") or not file.isprintable():
            raise UsageMistake(f"{file!r} is no name of a file on a remote")
        base = self._place.base
        return base + file if base.endswith((":", "/")) else f"{base}/{file}"

    def _size(self, file: str, doing: str) -> int:
        found = self.stat(file)
        if found is None:
            raise self._error(doing, Verdict("missing", "it is not there", _LOOK))
        return found.size_bytes

    def _cat(
        self, file: str, size: int, doing: str, take: Callable[[bytes], object], progress: Progress | None
    ) -> None:
        """Read a whole file. On S3 rclone reads nothing from what is not there, and ends well: sizes are compared."""
        done = 0

        def count(chunk: bytes) -> None:
            nonlocal done
            done += len(chunk)
            take(chunk)
            if progress is not None:
                progress(done, size)

        self._once(doing, ["cat", self._at(file)], take=count)
        if done != size:
            raise self._error(
                doing, Verdict("lost", f"{done} of {size} bytes came", "Try again, or take another snapshot")
            )

    def _asked(
        self,
        doing: str,
        arguments: Sequence[str],
        *,
        missing: bool = False,
        moved: Callable[[int, int], None] | None = None,
        uploading: bool = False,
    ) -> tuple[Ended, bytes]:
        """Run rclone, again where what went wrong may pass. With `missing`, what is not there is no error."""

        def once() -> tuple[Ended, bytes]:
            output = bytearray()
            try:
                ended = self._once(doing, arguments, take=output.extend, moved=moved, uploading=uploading)
            except RemoteError as error:
                if missing and error.kind == "missing":
                    return Ended(1, ""), b""
                raise
            return ended, bytes(output)

        return self._retried(doing, once)

    def _retried(self, doing: str, once: Callable[[], T]) -> T:
        for attempt in range(1, self.tries):
            try:
                return once()
            except RemoteError as error:
                if error.kind not in PASSING or error.doing != doing:  # what was tried inside was tried often enough
                    raise
            self._pause(2.0 ** (attempt - 1) * random.uniform(0.5, 1.0))
        return once()

    def _once(
        self,
        doing: str,
        arguments: Sequence[str],
        *,
        take: Callable[[bytes], object] | None = None,
        moved: Callable[[int, int], None] | None = None,
        uploading: bool = False,
    ) -> Ended:
        connect_s = min(CONNECT_S, self.timeout_s)
        ended = rclone_process.run(
            [
                *(self._program, *arguments, "--use-json-log", "--ask-password=false"),
                *("--retries", "1", "--low-level-retries", "1"),
                *("--contimeout", f"{connect_s:g}s", "--timeout", f"{self.timeout_s:g}s"),
            ],
            self._environment,
            # rclone gives up by itself; this is for where it does not, and for servers that move on their own side
            idle_s=2 * self.timeout_s + 1,
            take=take,
            moved=moved,
        )
        if ended.code != 0:
            # a label such as `host-403` is no answer of a server
            log = ended.log
            places = [each for each in arguments[1:] if not each.startswith("--")]
            for name in (*places, *(each.rpartition("/")[2] for each in places), self._place.base):
                if len(name) > 3:
                    log = log.replace(name, "...")
            raise self._error(doing, judge(ended.code, log, uploading=uploading))
        return ended

    def _obscured(self, password: str) -> str:
        """Return a password as rclone wants it; through a pipe, since whatever is in a command line is seen by all."""
        ended = subprocess.run(
            [self._program, "obscure", "-"],
            input=password.encode(),
            capture_output=True,
            env=self._environment,
            timeout=self.timeout_s,
            check=False,
        )
        if ended.returncode != 0:
            raise self._error("obscure the password", judge(ended.returncode, ended.stderr.decode("utf-8", "replace")))
        return ended.stdout.decode().strip()

    def _error(self, doing: str, verdict: Verdict) -> RemoteError:
        return RemoteError(
            self.name, doing, verdict.kind, self._place.masked(verdict.reason).replace("\n", " "), verdict.cure
        )
