"""A capture in a process of its own: `start` waits until it runs, or tells its error.

The child is `python -m pytest_marketreplay.collect.detach`; its settings come on standard input, which ends then. It says
one line of JSON on a pipe, `{}` or `{"error": ..., "usage": true}`, when it runs or when it cannot.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import orjson

from pytest_marketreplay.collect.sessions import SessionFolder, SessionState
from pytest_marketreplay.collect.settings import CollectSettings
from pytest_marketreplay.documents import make_folder
from pytest_marketreplay.errors import CollectError, MarketReplayError, UsageMistake

START_S = 30.0


def start(settings: CollectSettings, timeout: float = START_S) -> int:
    """Start a capture that outlives this process and its terminal; return its process id once it runs.

    What it writes on its own, a crash of the interpreter, goes to `output.txt` in the session's folder. Raises CollectError
    or UsageMistake as the child did, and CollectError where it says nothing within `timeout` seconds.
    """
    folder = SessionFolder(Path(settings.state_dir), settings.session_id).path
    try:
        make_folder(folder)
        output = (folder / "output.txt").open("ab")
    except OSError as error:
        raise CollectError(f"the state folder cannot be used: {error}. Choose another with --state-dir") from error
    reading, writing = os.pipe()
    try:
        with output:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "pytest_marketreplay.collect.detach", str(writing)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(writing,),
            )
        os.close(writing)
        writing = -1
        with suppress(BrokenPipeError):  # it died at once: the pipe below tells, by its end
            _hand_over(child, settings)
        line = _line(reading, timeout)
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    return _outcome(child, line, folder, timeout)


def _hand_over(child: subprocess.Popen[bytes], settings: CollectSettings) -> None:
    assert child.stdin is not None
    with child.stdin as stream:
        stream.write(msgspec.json.encode(settings))


def _line(reading: int, timeout: float) -> bytes | None:
    """Return the child's line, empty where it ended without one, None where it says nothing."""
    ready, _, _ = select.select([reading], [], [], timeout)
    return os.read(reading, 1 << 16) if ready else None


def _outcome(child: subprocess.Popen[bytes], line: bytes | None, folder: Path, timeout: float) -> int:
    if line is None:
        child.kill()
        child.wait()
        raise CollectError(f"the capture said nothing for {timeout:g} s and was ended; see {folder}")
    if not line:
        raise CollectError(f"the capture ended at once, exit code {child.wait()}; see {folder / 'output.txt'}")
    said: dict[str, Any] = orjson.loads(line)
    if "error" in said:
        child.wait()
        raise (UsageMistake if said["usage"] else CollectError)(said["error"])
    child.returncode = 0  # it is to outlive us: nobody waits for it, and that is no leak to warn of
    return child.pid


def main() -> int:
    """Run the capture whose settings stand on standard input; the first argument is the pipe to say a line on."""
    from pytest_marketreplay.collect.running import Capture

    said = os.fdopen(int(sys.argv[1]), "wb")
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=CollectSettings)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)

    def show(state: SessionState) -> None:
        if not said.closed:
            said.write(b"{}\n")
            said.close()

    try:
        last = Capture(settings, show=show).run()
    except MarketReplayError as error:
        if not said.closed:
            said.write(orjson.dumps({"error": str(error), "usage": isinstance(error, UsageMistake)}) + b"\n")
            said.close()
        return 1
    return 1 if last.status == "failed" else 0


if __name__ == "__main__":
    sys.exit(main())
