"""The demonstration of a capture: two pairs, once a second, for ten minutes, and the report's verdict on it.

`python benchmarks/capture.py` captures from the simulated exchange; `--server exchange_server.py --data DIR` from a server that plays
recorded payloads. Exits with 1 where the report misses a goal.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pytest_marketreplay.exchange.server import SimulatedExchange


@contextlib.contextmanager
def simulated() -> Iterator[str]:
    """Start the exchange in the box."""
    with SimulatedExchange() as exchange:
        exchange.step_every = 0.1
        yield exchange.url("binance")


@contextlib.contextmanager
def recorded(server: Path, data: Path) -> Iterator[str]:
    """Start a server of recorded payloads."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, str(server), "--data", str(data), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 10):
                yield f"http://127.0.0.1:{port}"
                return
            time.sleep(0.05)
        raise SystemExit("the server ended before it listened")
    finally:
        process.terminate()
        process.wait(10)


def main() -> int:
    """Capture and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration", default="10m")
    parser.add_argument("--interval", default="1.0")
    parser.add_argument("--pairs", default="BTC-USDT,ETH-USDT")
    parser.add_argument("--server", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args()
    source = recorded(options.server, options.data) if options.server else simulated()
    with tempfile.TemporaryDirectory() as folder, source as url:
        tree = Path(folder, "capture")
        command = ["marketreplay", "collect", "start", "--venue", "binance", "--pairs", options.pairs]
        command += ["--interval", options.interval, "--duration", options.duration, "--to", str(tree)]
        command += ["--base-url", f"binance={url}", "--state-dir", str(Path(folder, "state"))]
        subprocess.run(command, check=True)
        report = ["marketreplay", "report", str(tree), "--interval", options.interval]
        judged = subprocess.run([*report, "--json"], capture_output=True, text=True)
        if options.json:
            print(json.dumps(json.loads(judged.stdout)))
        else:
            subprocess.run(report)
        return judged.returncode


if __name__ == "__main__":
    sys.exit(main())
