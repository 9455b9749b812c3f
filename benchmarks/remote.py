"""A backup to a server on loopback and back: how long, how much memory, and how much of it for one symbol.

`python benchmarks/remote.py`, or `--size 100` (MB) for a quick run. The server is `rclone serve webdav`; each step is a command
of its own. Exits with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from archive import plant, size_of
from measure import environment

GOAL_S = 20.0
GOAL_MIB = 150.0
RUN = (
    "import re, sys; from pathlib import Path; from pytest_marketreplay.cli import cli\n"
    "try: cli(sys.argv[1:])\n"
    "finally: print(int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) / 1024)"
)


def step(env: dict[str, str], *arguments: str) -> tuple[float, float, dict[str, object]]:
    """Return the seconds of a command, its peak memory in MiB, and the JSON that it says."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments, "--json"], capture_output=True, text=True, check=False, env=env
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{arguments[:2]}: {done.stdout[-300:]} {done.stderr[-500:]}")
    said, _, peak = done.stdout.rstrip().rpartition("\n")
    return took, float(peak), json.loads(said)


def serve(rclone: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start a WebDAV server on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [rclone, "serve", "webdav", "--addr", f"127.0.0.1:{port}", str(folder)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RCLONE_CONFIG": os.devnull},
    )
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return process, port
    raise SystemExit("rclone does not serve")


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="MB of the tree")
    parser.add_argument("--folder", type=Path, help="where to work, instead of the system's folder for temporary files")
    options = parser.parse_args()
    rclone = shutil.which("rclone") or str(Path(sys.executable).with_name("rclone"))
    with tempfile.TemporaryDirectory(prefix="marketreplay-bench-", dir=options.folder) as name:
        folder = Path(name)
        files = plant(folder / "tree", options.size * 10**6, 7)
        size = size_of(folder / "tree")
        (folder / "remote").mkdir()
        server, port = serve(rclone, folder / "remote")
        env = environment({
            "RCLONE_CONFIG": os.devnull,
            "RCLONE_CONFIG_DAV_TYPE": "webdav",
            "RCLONE_CONFIG_DAV_URL": f"http://127.0.0.1:{port}/",
            "RCLONE_CONFIG_DAV_VENDOR": "other",
            "XDG_STATE_HOME": str(folder / "state"),
        })  # fmt: skip
        try:
            load = os.getloadavg()[0]
            run = step(env, "backup", "run", str(folder / "tree"), "--to", "dav:", "--label", "bench")
            packing = step_pack(env, folder)
            verify = step(env, "backup", "verify", "--to", "dav:", "--label", "bench")
            source = ("restore", "latest", "--from", "dav:", "--label", "bench")
            part = step(env, *source, "--to", str(folder / "part"), "--symbol", "C00USDT")
            whole = step(env, *source, "--to", str(folder / "whole"))
        finally:
            server.kill()
            server.wait()
        archive = size_of(folder / "remote")
        same = size_of(folder / "whole") >= size
    print(f"A tree of {size / 1e6:.0f} MB in {files} files, its archive {archive / 1e6:.0f} MB; WebDAV on loopback; "
          f"{os.cpu_count()} cores, load {load:.1f}\n")  # fmt: skip
    print("| | seconds | MiB of memory | read of the archive |\n| --- | --- | --- | --- |")
    upload_s = run[0] - packing
    rows = [
        ("backup run: pack, upload, read back, publish", run, ""),
        ("backup verify", verify, f"{archive / 1e6:.0f} MB"),
        ("restore of one symbol", part, f"{int(str(part[2]['fetched_bytes'])) / 1e6:.1f} MB"),
        ("restore of everything", whole, f"{archive / 1e6:.0f} MB"),
    ]
    for what, (took, peak, _), read in rows:
        print(f"| {what} | {took:.1f} | {peak:.0f} | {read} |")
    print(f"\nPacking alone {packing:.1f} s; so upload and reading back {upload_s:.1f} s.\n")
    goals = [
        (f"packing in at most {GOAL_S:.0f} s", packing <= GOAL_S),
        (f"upload and verification in at most {GOAL_S:.0f} s", upload_s <= GOAL_S),
        (f"memory under {GOAL_MIB:.0f} MiB", max(peak for _, (_, peak, _), _ in rows) < GOAL_MIB),
        ("one symbol reads less than a tenth", int(str(part[2]["fetched_bytes"])) < archive / 10),
        ("what came back is as large as what was there", same),
    ]
    for goal, is_met in goals:
        print(f"{'OK    ' if is_met else 'MISSED'}  {goal}")
    return 0 if all(is_met for _, is_met in goals) else 1


def step_pack(env: dict[str, str], folder: Path) -> float:
    """Return the seconds of packing alone, in a process of its own."""
    code = "import sys; from pathlib import Path; from pytest_marketreplay.archive.packing import pack; pack(*map(Path, sys.argv[1:]))"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, str(folder / "tree"), str(folder / "alone.zip")], check=True, env=env)
    (folder / "alone.zip").unlink()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
