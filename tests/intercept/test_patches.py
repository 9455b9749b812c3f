"""Patches: counted, rolled back whole, set on a client that is imported late, and good neighbours of others'."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest
import requests
from urllib3.connectionpool import HTTPConnectionPool

from pytest_marketreplay.intercept.install import PATCHERS, PATCHES
from pytest_marketreplay.intercept.patches import Patch, Patches, Unpatchable

from .conftest import Open
from .wire import Wire


class Client:
    def ask(self) -> str:
        return "live"

    def tell(self) -> str:
        return "live"


class Child(Client):
    """Inherits what is patched on it."""


def replay(original: Any) -> Any:
    return lambda self: "replayed"


def fake(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_patches_stay_until_the_last_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    fake("client_library", monkeypatch)
    original = Client.ask
    patches = Patches({"client_library": lambda: [Patch(Client, "ask", replay)]})
    patches.install()
    patches.install()
    patches.uninstall()
    assert (patches.count, Client().ask()) == (1, "replayed")
    patches.uninstall()
    assert (patches.count, Client().ask()) == (0, "live")
    assert Client.ask is original
    assert patches.names() == []


def test_an_inherited_method_is_removed_again_and_not_left_as_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    fake("client_library", monkeypatch)
    patches = Patches({"client_library": lambda: [Patch(Child, "ask", replay)]})
    patches.install()
    assert Child().ask() == "replayed"
    patches.uninstall()
    assert "ask" not in vars(Child)


def test_when_one_patch_fails_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    fake("good_library", monkeypatch)
    fake("changed_library", monkeypatch)
    patches = Patches(
        {
            "good_library": lambda: [Patch(Client, "ask", replay)],
            "changed_library": lambda: [Patch(Client, "tell", replay), Patch(Client, "renamed_in_4_0", replay)],
        }
    )
    finders = list(sys.meta_path)
    with pytest.raises(Unpatchable, match="renamed_in_4_0") as caught:
        patches.install()
    assert caught.value.name == "renamed_in_4_0"
    assert (Client().ask(), Client().tell(), patches.count) == ("live", "live", 0)
    assert sys.meta_path == finders


def test_a_client_that_lost_what_is_patched_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(HTTPConnectionPool, "_make_request")
    with pytest.raises(Unpatchable, match=r"HTTPConnectionPool has no '_make_request' \(version \d"):
        PATCHES.install()
    assert PATCHES.count == 0
    assert PATCHES.names() == []


def test_nothing_is_patched_before_a_session_and_after_it(wire: Wire, cassette: Open) -> None:
    before = PATCHES.count
    named = {patch: vars(patch.owner).get(patch.name) for module in PATCHERS if module in sys.modules
             for patch in PATCHERS[module]()}  # fmt: skip
    with cassette("rewrite"):
        assert PATCHES.count == before + 1
        assert all(vars(patch.owner).get(patch.name) is not value for patch, value in named.items())
        requests.get(wire.url + "/book", timeout=10)
    assert PATCHES.count == before
    assert all(vars(patch.owner).get(patch.name) is value for patch, value in named.items())


def test_somebody_elses_patch_on_top_survives_and_is_not_recorded_twice(
    wire: Wire, cassette: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = HTTPConnectionPool._make_request
    with cassette("rewrite"):
        ours: Any = HTTPConnectionPool._make_request

        def theirs(self: Any, *args: Any, **more: Any) -> Any:
            calls.append(args[2])
            return ours(self, *args, **more)

        HTTPConnectionPool._make_request = theirs  # type: ignore[method-assign]
        requests.get(wire.url + "/book", timeout=10)
    try:
        assert HTTPConnectionPool._make_request is theirs
        requests.get(wire.url + "/lines", timeout=10)
        with cassette("rewrite", "second") as session:
            requests.get(wire.url + "/book", timeout=10)
            assert session.recorded == 1
        assert HTTPConnectionPool._make_request is theirs
        HTTPConnectionPool._make_request = ours  # type: ignore[method-assign]  # as mock.patch does at its end
        with cassette("rewrite", "third") as session:
            requests.get(wire.url + "/book", timeout=10)
            assert session.recorded == 1
        assert HTTPConnectionPool._make_request is original
    finally:
        HTTPConnectionPool._make_request = original  # type: ignore[method-assign]
    assert calls == ["/book", "/lines", "/book"]


def test_a_mock_inside_a_session_works_and_ends(wire: Wire, cassette: Open) -> None:
    with cassette("none") as session:
        with mock.patch.object(requests.Session, "request", return_value="mocked"):
            assert requests.get(wire.url + "/never-recorded", timeout=10) == "mocked"
        with mock.patch("socket.getaddrinfo", return_value=[]) as resolve:
            import socket

            assert socket.getaddrinfo("api.exchange.example", 443) == []
            assert resolve.called
        assert session.refusals == []


LATE = """
import sys, tempfile
from pytest_marketreplay.api import use_cassette
from pytest_marketreplay.intercept.install import PATCHES
url, library = sys.argv[1], sys.argv[2]
assert library not in sys.modules
host = url.removeprefix("http://").partition("/")[0]

def ask():
    if library == "aiohttp":
        import aiohttp, asyncio
        async def main():
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                return await response.read()
        return asyncio.run(main())
    client = __import__(library)
    return client.get(url, timeout=10).content if library != "urllib3" else client.request("GET", url).data

with use_cassette(tempfile.mkdtemp(), mode="rewrite", hosts={host: "wire"}) as session:
    body = ask()
    assert session.recorded == 1, session.recorded
    with use_cassette(session.layers[0].with_name("none"), mode="none", hosts={host: "wire"}) as inner:
        try:
            ask()
        except Exception as error:
            assert "no recorded answer" in str(error), error
        else:
            raise AssertionError("it went to the network")
        inner.refusals.clear()
assert not PATCHES.names(), PATCHES.names()
assert ask() == body
print(body.decode())
"""


@pytest.mark.parametrize("library", ["requests", "urllib3", "aiohttp", "httpx"])
def test_a_client_that_is_imported_during_the_session_is_intercepted(library: str, wire: Wire) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE, wire.url + "/book", library], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "lastUpdateId" in done.stdout


def test_importing_the_package_imports_no_client_and_patches_nothing() -> None:
    code = (
        "import sys, socket; before = socket.socket.connect\n"
        "import pytest_marketreplay.api\n"
        "clients = {'requests', 'aiohttp', 'httpx', 'urllib3'} & set(sys.modules)\n"
        "assert not clients, clients\n"
        "assert socket.socket.connect is before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def _late(name: str) -> Patches:
    return Patches({name: lambda: [Patch(Client, "ask", replay)]})


def test_a_client_whose_import_ends_after_the_session_is_not_patched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_client.py").write_text("imported = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    patches = _late("late_client")
    patches.install()
    spec = importlib.util.find_spec("late_client")
    patches.uninstall()
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.imported
    assert (Client().ask(), patches.names()) == ("live", [])


def test_a_client_that_is_not_installed_is_missing_as_without_a_session() -> None:
    patches = _late("client_that_nobody_installed")
    patches.install()
    try:
        with pytest.raises(ModuleNotFoundError, match="client_that_nobody_installed"):
            importlib.import_module("client_that_nobody_installed")
    finally:
        patches.uninstall()
