"""Flags, configuration files, labels and what the commands refuse; what a terminal shows."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from doubles import FolderRemote, Wall, snapshots

from pytest_marketreplay.archive import backup as backups
from pytest_marketreplay.archive.backup import Backup, default_label
from pytest_marketreplay.cli import backup_live, cli
from pytest_marketreplay.cli.backup_settings import Given, read_file
from pytest_marketreplay.documents import Document
from pytest_marketreplay.errors import DocumentError, MissingExtra, RemoteError, UsageMistake


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["backup", *map(str, arguments)])
    said = result.output + (str(result.exception) if result.exception is not None else "")
    return (2 if isinstance(result.exception, UsageMistake) else result.exit_code), said


def test_a_file_gives_settings_and_flags_win(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.marketreplay.backup]\nto = "far"\nkeep = 3\n"state_dir" = "s"\n')
    assert read_file(None, tmp_path) == {"to": "far", "keep": 3, "state-dir": "s"}
    (tmp_path / "marketreplay.toml").write_text('[collect]\nvenue = "kraken"\n')
    assert Given.of(None, keep=4, to=None).values == {"to": "far", "keep": 4, "state-dir": "s"}
    (tmp_path / "marketreplay.toml").write_text('[backup]\nto = "near"\n')
    given = Given.of(None)
    assert given.remote().name == str(tmp_path / "near")
    assert given.tree() == Path("captures")
    assert given.label() == default_label(Path("captures"))
    assert (given.backup().keep, given.backup().keep_min) == (7, 2)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[backup]\nkep = 3\n", "unknown key 'kep'; there are every"),
        ('[backup]\nkeep = "3"\n', "keep is a whole number"),
        ("[backup]\nkeep = true\n", "keep is a whole number"),
        ("[backup]\nto = 3\n", "to is a text"),
        ("backup = 3\n", "backup is not a table"),
        ("[collect]\n", r"has no table \[backup\]"),
        ("[", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_what_was_meant_is_refused(text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(text)
    with pytest.raises(UsageMistake, match=match):
        read_file(tmp_path / "my.toml", tmp_path)


def test_a_file_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageMistake, match="there is no such file"):
        read_file(tmp_path / "none.toml", tmp_path)
    assert read_file(None, tmp_path) == {}


@pytest.mark.parametrize(
    ("host", "folder", "label"),
    [
        ("vm.example.org", "captures", "vm-captures"),
        ("vm", "märkte 2026!", "vm-m-rkte-2026"),
        ("vm", "x" * 90, "vm-" + "x" * 61),
        ("", "---", "tree"),
    ],
)
def test_the_default_label_is_host_and_folder(
    host: str, folder: str, label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert default_label(tmp_path / folder) == label


def test_mistakes_are_told_in_one_line_with_exit_code_2(tmp_path: Path, tree: Path) -> None:
    for arguments, said in (
        (("run", tree), "no remote is given: --to"),
        (("run", tmp_path / "none", "--to", "far"), "there is no folder"),
        (("run", tree, "--to", "far", "--keep", 0), "at least one snapshot is always kept"),
        (("run", tree, "--to", "far", "--label", "a/b"), "the label is 'a/b'"),
        (("run", tree, "--to", "far", "--timeout", "5"), "a number without a unit"),
        (("verify", "none", "--to", "far"), "0 snapshots there are named 'none'"),
    ):
        assert call(*arguments)[0] == 2, arguments
        assert said in call(*arguments)[1]
    assert not (tmp_path / "far").exists()


def test_nothing_to_show_is_said(tmp_path: Path) -> None:
    assert call("list", "--to", "far") == (0, "no snapshots\n")
    assert call("status")[0] == 1
    assert "no backups" in call("status")[1]
    code, said = call("verify", "--to", "far")
    assert (code, "no snapshots" in said) == (1, True)


def test_what_is_done_is_told_in_lines(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Wall(monkeypatch)
    (tree / "link").symlink_to("nowhere")
    code, said = call("run", tree, "--to", "far", "--label", "host")
    assert (code, "left out  link" in said, "kept      1" in said) == (0, True, True)
    clock.go(60)
    call("run", tree, "--to", "far", "--label", "host")
    newest, oldest = snapshots(tmp_path / "far")[::-1]
    code, said = call("list", "--to", "far")
    assert [line.split()[-1] for line in said.splitlines()] == [newest, oldest]
    short = said.splitlines()[1].split()[0]
    assert call("verify", short, oldest, "--to", "far") == (0, f"verified  {oldest}\n")
    code, said = call("prune", "--to", "far", "--label", "host", "--keep", 1, "--keep-min", 1, "--dry-run")
    assert (code, f"would go  {oldest}" in said) == (0, True)
    code, said = call("prune", "--to", "far", "--label", "host", "--keep", 1, "--keep-min", 1)
    assert (code, f"deleted   {oldest}" in said) == (0, True)
    clock.go(3600)
    code, said = call("status")
    assert code == 0
    assert "host: ok" in said
    assert "1h01m ago" in said or "1h00m ago" in said


def test_status_tells_what_fails_what_was_never_and_what_cannot_be_read(tmp_path: Path, tree: Path) -> None:
    made = Backup(FolderRemote(tmp_path / "far"), "host", tree)
    made.run()
    state = made.known()
    assert state is not None
    made.document.save(
        msgspec.structs.replace(
            state, last_error="backup: down", failures=3, last_backup_ms=None, last_file="", verified={}, tree=""
        )
    )
    (made.path.parent / "bad.json").write_bytes(b"{")
    code, said = call("status")
    assert code == 1
    for line in ("host: fails", "never", "not known", "3 times in a row; backup: down", "bad.json cannot be read"):
        assert line in said
    code, said = call("status", "--json", "--label", "other")
    assert code == 1
    assert json.loads(said[said.index("[\n") if "[\n" in said else said.index("[]") :].partition("1")[0]) == []


def test_a_state_folder_that_cannot_be_written_is_told(tmp_path: Path, tree: Path) -> None:
    (tmp_path / "file").write_text("")
    made = Backup(FolderRemote(tmp_path / "far"), "host", tree, state_dir=tmp_path / "file")
    with pytest.raises(DocumentError, match="--state-dir"):
        made.run()
    other = Backup(FolderRemote(tmp_path / "far"), "host", tree, state_dir=tmp_path / "state")
    (tmp_path / "state" / "backups").mkdir(parents=True)
    other.path.with_name(other.path.name + ".work").write_text("")
    with pytest.raises(DocumentError, match="cannot be made"):
        other.run()


def test_an_error_that_cannot_be_kept_leaves_the_first_error_the_one_that_is_told(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    remote = FolderRemote(tmp_path / "far")
    made = Backup(remote, "host", tree)
    made.run()

    def down(operation: str, file: str) -> None:
        if operation == "list":
            monkeypatch.setattr(Document, "save", full)
            raise RemoteError("far", "list", "down", "refused", "Try")

    def full(document: object, value: object) -> None:
        raise DocumentError("no space")

    remote.before = down
    with pytest.raises(RemoteError, match="refused"):
        made.prune()
    assert "the error could not be kept: no space" in caplog.text


def test_a_verify_that_the_remote_cannot_answer_is_an_error_and_no_damage(tmp_path: Path, tree: Path) -> None:
    remote = FolderRemote(tmp_path / "far")
    made = Backup(remote, "host", tree)
    name = made.run().name

    def down(operation: str, file: str) -> None:
        raise RemoteError("far", operation, "down", "refused", "Try")

    remote.before = down
    with pytest.raises(RemoteError, match="refused"):
        made.verify([name])
    state = made.known()
    assert state is not None
    assert (list(state.verified), state.last_error[:7], state.failures) == ([name.file], "verify:", 1)
    remote.before = lambda operation, file: None
    assert made.verify([name]) == {name.file: ""}
    assert made.known().last_error == ""  # type: ignore[union-attr]


def test_an_upload_whose_part_cannot_be_deleted_fails_by_its_first_error(
    tmp_path: Path, tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remote = FolderRemote(tmp_path / "far")

    def down(operation: str, file: str) -> None:
        if operation in ("upload", "delete"):
            raise RemoteError("far", operation, "down", f"{operation} refused", "Try")

    remote.before = down
    with pytest.raises(RemoteError, match="upload refused"):
        Backup(remote, "host", tree).run()
    assert "stays until it is a day old" in caplog.text


def test_the_same_tree_in_the_same_second_is_the_same_snapshot_and_is_not_written_over(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Wall(monkeypatch)
    made = Backup(FolderRemote(tmp_path / "far"), "host", tree)
    first = made.run()
    (path,) = (tmp_path / "far").iterdir()
    before = path.stat()
    assert made.run().name == first.name
    assert [*(tmp_path / "far").iterdir()] == [path]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    path.write_bytes(b"rotten")
    with pytest.raises(RemoteError) as error:
        made.run()
    assert error.value.kind == "lost"
    assert path.read_bytes() == b"rotten"
    assert [*(tmp_path / "far").iterdir()] == [path]


def test_an_upload_that_is_gone_after_all_went_well_is_lost(tmp_path: Path, tree: Path) -> None:
    remote = FolderRemote(tmp_path / "far")
    remote.after = lambda operation, file: (remote.folder / file).unlink() if operation == "upload" else None
    with pytest.raises(RemoteError, match="it is not there, though the remote said that all went well"):
        Backup(remote, "host", tree).run()


def test_a_terminal_shows_a_bar_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with backup_live.Bars() as bars:
        for done in (1_000_000, 2_000_000):
            bars.watch("upload", done, 2_000_000)
        bars.watch("read back", 0, 0)
    assert "upload" in terminal.getvalue()
    assert "2.0/2.0 MB" in terminal.getvalue()
    assert "read back" in terminal.getvalue()


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 KB"), (2.5e9, "2.5 GB"), (3e16, "30000.0 TB")]
)
def test_sizes_are_said_as_people_say_them(count: float, text: str) -> None:
    assert backup_live.size(count) == text


def test_metrics_without_their_package_are_a_mistake(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    result = CliRunner().invoke(cli, ["backup", "schedule", str(tree), "--to", "far", "--metrics-port", "0"])
    assert isinstance(result.exception, MissingExtra)
    assert backups.__name__
    assert not os.path.exists("far")
