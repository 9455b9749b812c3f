"""S1: passwords, keys and the userinfo of URLs are in no state, log, command line, archive name or output."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from urllib.parse import quote

import places
import pytest
from click.testing import CliRunner
from places import Where, use

from pytest_marketreplay.archive.rclone import RcloneRemote
from pytest_marketreplay.archive.remote_spec import read_spec
from pytest_marketreplay.cli import cli
from pytest_marketreplay.errors import RemoteError, UsageMistake

CANARIES = (places.PASSWORD, quote(places.PASSWORD, safe=""), places.SECRET, "canary-7261", "wrong-canary-4410")

LOGGING = """#!/bin/sh
tr '\\0' '\\n' < /proc/$$/cmdline >> {log}
exec {rclone} "$@"
"""


def watched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write every command line of rclone down, as all see it in /proc; return where."""
    folder.mkdir()
    log = folder / "command-lines"
    program = folder / "rclone"
    program.write_text(LOGGING.format(log=log, rclone=places.PROGRAMS[places.NEWEST]))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return log


def everything_in(folder: Path) -> bytes:
    """Return the names and the bytes of all files under a folder."""
    return b"".join(
        str(path).encode() + (path.read_bytes() if path.is_file() else b"") for path in sorted(folder.rglob("*"))
    )


def backup(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["backup", *arguments])
    return result.exit_code, result.output + str(result.exception or "")


def test_no_canary_shows_anywhere(
    dav: Where,
    bucket: Where,
    webdav_server: places.Server,
    tmp_path: Path,
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    log = watched(tmp_path / "tools", monkeypatch)
    state = tmp_path / "state"
    folder = dav.spec.partition(":")[2]
    host = f"127.0.0.1:{webdav_server.port}"
    good, wrong = (f"{places.USER}:{quote(word, safe='')}" for word in (places.PASSWORD, "wrong-canary-4410"))
    specs = [
        (dav.spec, 0),
        (bucket.spec, 0),
        (f"http://{good}@{host}/{folder}", 0),
        (f":webdav,url='http://{good}@{host}/',vendor=other:{folder}", 0),
        (f"http://{wrong}@{host}/{folder}", 1),
        (f":webdav,url='http://{wrong}@{host}/',vendor=other:{folder}", 1),
        (f"http://{wrong}@127.0.0.1:1/{folder}", 1),
    ]
    said = ""
    for number, (spec, code) in enumerate(specs):
        found, told = backup(
            "run", str(tree), "--to", spec, "--label", f"host-{number}", "--state-dir", str(state), "--timeout", "5s"
        )
        assert found == code, told
        said += told
    said += backup("status", "--state-dir", str(state))[1] + caplog.text
    # not this test's own command line, in which the user wrote it, but those of all that is started
    lines = log.read_bytes()
    assert lines.count(b"copyto") == 4
    names = "".join(path.name for place in (dav, bucket) for path in place.folder.iterdir())
    for canary in CANARIES:
        for what, found in (
            ("output", said.encode()),
            ("command lines", lines),
            ("state", everything_in(state)),
            ("names", names.encode()),
        ):
            assert canary.encode() not in found, (canary, what)
    assert "REDACTED" in said


@pytest.mark.parametrize("version", sorted(places.PROGRAMS))
def test_a_password_in_a_url_opens_the_door_without_being_shown(
    version: str, dav: Where, webdav_server: places.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, tmp_path, places.PROGRAMS[version])
    folder = dav.spec.partition(":")[2]
    remote = RcloneRemote(
        f"http://{places.USER}:{quote(places.PASSWORD, safe='')}@127.0.0.1:{webdav_server.port}/{folder}/"
    )
    assert remote.name == f"http://127.0.0.1:{webdav_server.port}/{folder}"
    assert remote.list() == []


# ---------------------------------------------------------------- how a remote is written


def test_options_of_a_connection_string_become_variables() -> None:
    place = read_spec(""":s3,provider=Other,secret_access_key='it''s, "so"',env_auth,endpoint="http://h:1/":b/c""", {})
    assert place.base == ":s3:b/c"
    assert place.name == ":s3,provider=Other,secret_access_key=REDACTED,env_auth=REDACTED,endpoint=http://h:1/:b/c"
    assert place.environment == {
        "RCLONE_S3_PROVIDER": "Other",
        "RCLONE_S3_SECRET_ACCESS_KEY": """it's, "so\"""",
        "RCLONE_S3_ENV_AUTH": "true",
        "RCLONE_S3_ENDPOINT": "http://h:1/",
    }
    assert """it's, "so\"""" in place.secrets
    assert read_spec("my-drive,root_folder_id=x1:", {}).environment == {"RCLONE_CONFIG_MY_DRIVE_ROOT_FOLDER_ID": "x1"}


def test_a_folder_is_made_absolute_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert read_spec("share", {}).base == str(tmp_path / "share")
    assert read_spec("./gdrive:x", {}).base == str(tmp_path / "gdrive:x")
    assert read_spec("~/x", {}).base == str(tmp_path / "home" / "x")
    assert read_spec("/a:b", {}).name == "/a:b"
    assert read_spec("gdrive:backups", {}).base == "gdrive:backups"


def test_a_url_takes_what_the_environment_says_of_its_server() -> None:
    place = read_spec("https://host/dav/a%20b/", {"RCLONE_WEBDAV_VENDOR": "owncloud"})
    assert (place.base, place.name) == (":webdav:dav/a b", "https://host/dav/a%20b")
    assert place.environment == {"RCLONE_WEBDAV_URL": "https://host/", "RCLONE_WEBDAV_VENDOR": "owncloud"}
    user = read_spec("https://me@host/dav", {})
    assert user.environment["RCLONE_WEBDAV_USER"] == "me"
    assert user.obscure == {}
    assert read_spec(":webdav,url='https://token-canary@host/':x", {}).name == ":webdav,url=https://REDACTED@host/:x"


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "-x",
        "a\nb",
        "s3://bucket/x",
        "ftp://u:hidden-canary@h/x",
        "http://",
        "http://u:hidden-canary@h:port/x",
        "https://h/x?y=1",
        "http://[::1/x",
        "a b,pass='hidden-canary:x",
        ":webdav,pass=hidden-canary,url='y:z",
        ":webdav,url=https://u:hidden-canary@host/:x",
        "we!rd:x",
    ],
)
def test_what_is_no_remote_is_refused_without_its_secrets(spec: str) -> None:
    with pytest.raises(UsageMistake) as error:
        read_spec(spec, {})
    assert "hidden-canary" not in str(error.value)


def test_secrets_of_the_environment_are_masked_in_what_rclone_says() -> None:
    place = read_spec(
        "x:y", {"RCLONE_CONFIG_X_PASS": "hidden-canary", "RCLONE_X_TOKEN": "abc", "OTHER_PASS": "visible"}
    )
    assert place.secrets == ("hidden-canary",)  # what is shorter would mask words
    assert (
        place.masked("login hidden-canary at https://u:p-canary@h/ abc visible")
        == "login REDACTED at https://REDACTED@h/ abc visible"
    )


def test_a_password_that_cannot_be_obscured_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rclone").write_text("#!/bin/sh\necho 'unknown command \"obscure\"' >&2\nexit 1\n")
    (tmp_path / "rclone").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(RemoteError, match=r"rclone 1\.60 or later is needed"):
        RcloneRemote("http://me:secret@h/x")
