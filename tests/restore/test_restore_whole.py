"""A whole tree comes back as it was, from a folder and from real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import restore_lab
from restore_lab import EIGHT, PASSWORD, SECRET, make_tree, publish, state, without_record

from pytest_marketreplay.archive.packing import survey
from pytest_marketreplay.archive.restored import FILE, record_document


def test_a_tree_comes_back_byte_for_byte_from_a_folder(tree, remote, target, run):
    (tree / "kraken" / "empty").mkdir(mode=0o750)
    name = publish(tree, remote)
    code, out, err = run("--from", remote, "--to", target)
    assert (code, err) == (0, "")
    assert (
        out == f"restored {name.file} to {target}: 4 files, {restore_lab.manifest_of(tree).size_bytes / 1000:.1f} KB\n"
    )
    assert survey(target) == survey(tree)
    assert without_record(state(target)) == state(tree)
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("kind", ["webdav", "s3"])
def test_the_restore_drill_from_a_real_server(kind, tree, tmp_path, target, run, serve):
    """B8: the newest of two snapshots; the credentials show nowhere."""
    served = tmp_path / "served"
    publish(make_tree(tmp_path / "older", seed=3), served / "team", created_s=EIGHT - 60)
    name = publish(tree, served / "team")
    serve(kind, served)
    code, out, err = run("--verify-only", "--from", "bk:team")
    assert (code, err) == (0, "")
    assert out.startswith(f"{name.file} is whole: 4 files")
    seen: list[bytes] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.append(process.read_bytes())
                except OSError:  # it ended meanwhile
                    continue

    watch = threading.Thread(target=look)
    watch.start()
    try:
        code, out, err = run("--from", "bk:team", "--to", target, "--json")
    finally:
        done.set()
        watch.join()
    assert (code, err) == (0, "")
    assert json.loads(out)["snapshot"] == name.file
    assert survey(target) == survey(tree)
    written = (target / FILE).read_text()
    for secret in (PASSWORD, SECRET, os.environ.get("RCLONE_CONFIG_BK_PASS", SECRET)):
        assert secret not in out + err + written
        assert not any(secret.encode() in line for line in seen)
    assert any(b"lsjson" in line for line in seen), "no command line was seen at all"


def test_a_wrong_password_is_told_in_one_line_without_it(tree, tmp_path, target, run, serve, monkeypatch):
    publish(tree, tmp_path / "served")
    server = serve("webdav", tmp_path / "served")
    code, out, err = run("--from", f"http://team:wrong-canary@127.0.0.1:{server.port}/", "--to", target)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "401" in err
    assert "wrong-canary" not in err
    assert not target.exists()


@pytest.mark.parametrize("umask", [0o077, 0o000])
def test_permissions_are_those_of_the_house_whatever_the_umask_is(tree, remote, target, run, umask):
    os.chmod(tree / "kraken", 0o777)
    os.chmod(tree / "kraken" / "public_Depth" / "BTC-USD" / "2025-11-28T08-00-00.jsonl", 0o600)
    os.chmod(tree / "binance" / "ws_stream" / "BTCUSDT" / "2025-11-28T08-00-00.jsonl", 0o666)
    publish(tree, remote)
    before = os.umask(umask)
    try:
        assert run("--from", remote, "--to", target)[0] == 0
    finally:
        os.umask(before)
    modes = {path.relative_to(target).as_posix(): path.stat().st_mode & 0o7777 for path in target.rglob("*")}
    assert target.stat().st_mode & 0o7777 == 0o750
    assert modes.pop("kraken/public_Depth/BTC-USD/2025-11-28T08-00-00.jsonl") == 0o600
    assert {mode for path, mode in modes.items() if (target / path).is_dir()} == {0o750}
    assert {mode for path, mode in modes.items() if (target / path).is_file()} == {0o640}


def test_folders_above_the_target_are_made(tree, remote, tmp_path, run):
    publish(tree, remote)
    assert run("--from", remote, "--to", tmp_path / "a" / "b" / "tree")[0] == 0
    assert survey(tmp_path / "a" / "b" / "tree") == survey(tree)


def test_a_target_that_is_a_link_is_restored_where_it_leads(tree, remote, tmp_path, run):
    publish(tree, remote)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert run("--from", remote, "--to", tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert survey(tmp_path / "real") == survey(tree)


def test_a_restored_tree_says_which_snapshot_it_is(tree, remote, target, run):
    name = publish(tree, remote)
    assert run("--from", remote, "--to", target)[0] == 0
    record = record_document(target).load()
    assert record.name == name
    assert record.manifest == survey(tree).digest()
    assert record.contents == restore_lab.contents(tree)


def test_what_is_no_cassette_file_is_told(tree, remote, target, run):
    for number in range(7):
        (tree / f"notes{number}.txt").write_text("by hand")
    (tree / "kraken" / "public_Depth" / "BTC-USD" / "2025-11-28T08-00-00.jsonl.torn").write_text("x")
    publish(tree, remote)
    code, _, err = run("--from", remote, "--to", target)
    assert code == 0
    assert err == (
        "no cassette files: kraken/public_Depth/BTC-USD/2025-11-28T08-00-00.jsonl.torn, notes0.txt, notes1.txt, "
        "notes2.txt, notes3.txt and 3 more\n"
    )
    assert (target / "notes6.txt").read_text() == "by hand"


def test_it_stands_alone(tree, remote, target):
    """Nothing of the collector, the recorder or the clients is imported, in a process that restores."""
    publish(tree, remote)
    script = (
        "import sys\n"
        "from pytest_marketreplay.cli.restore import restore\n"
        f"restore(['--from', {str(remote)!r}, '--to', {str(target)!r}], standalone_mode=False)\n"
        "print('\\n'.join(name for name in sys.modules if name.startswith('pytest_marketreplay.')))\n"
        "print([name for name in ('aiohttp', 'requests', 'pytest', 'pyarrow', 'hypothesis') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    ours = {line.split(".")[1] for line in done.stdout.splitlines() if line.startswith("pytest_marketreplay.")}
    assert ours == {"archive", "cassette", "cli", "clock", "config", "documents", "errors", "logs"}
    assert done.stdout.splitlines()[-1] == "[]"
    assert survey(target) == survey(tree)
