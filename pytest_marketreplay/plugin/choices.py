"""What a run's ini file, options and hooks say, read once; and what they mean for one test."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_marketreplay.cassette import names
from pytest_marketreplay.config import Settings, parse_hosts
from pytest_marketreplay.errors import UsageMistake
from pytest_marketreplay.replay.run import Run
from pytest_marketreplay.venues.registry import Registry

if TYPE_CHECKING:
    from pytest_marketreplay.venues.profile import Venue

PLAYING = ("clock", "order", "pace", "end_of_tape", "patience", "max_frames", "max_seconds", "max_bytes")
"""Arguments of the marker that go to `Settings` as they are."""
ARGUMENTS = ("mode", "exhausted", "unplayed", "ignore_params", "hosts", "allow_hosts", *PLAYING)


class Choices:
    """One run's choices. Reading them for each test again would cost as much as replaying a request."""

    def __init__(self, config: pytest.Config) -> None:
        """Read options and ini. Raises UsageMistake where they are wrong."""
        self._config = config
        self.directory = config.rootpath / str(config.getini("marketreplay_dir"))
        self._over = config.getoption("market_record_mode", default=None)
        self._shared = config.getoption("--record-mode", default=None)
        self._hosts = parse_hosts(config.getini("marketreplay_hosts"))
        self._allow_hosts = tuple(config.getini("marketreplay_allow_hosts"))
        self._unplayed = str(config.getini("marketreplay_unplayed"))
        reference = config.getini("marketreplay_reference")
        self._reference = self.folder(reference) if reference else None
        shared = getattr(config, "workerinput", {}).get("marketreplay_run")
        self.run = Run(Path(shared) if shared else None)
        found: list[Iterable[Venue]] = config.hook.pytest_marketreplay_venues()
        self._venues: list[Venue] = [venue for group in reversed(found) for venue in group]
        self._registries: dict[tuple[tuple[str, str], ...], Registry] = {}
        self._modules: dict[str, Path] = {}

    def settings(self, item: pytest.Item, arguments: Mapping[str, Any]) -> Settings:
        """Return what is in force for a test whose markers say these arguments. Raises UsageMistake."""
        own = arguments.get("mode")
        # --market-record-mode always wins; a marker's mode is a decision about this one test; then what plugins share
        mode = self._over or own or self._shared or "none"
        option = "--market-record-mode=" if own or self._over else "--record-mode="
        playing = {name: arguments[name] for name in PLAYING if name in arguments}
        if "market_clock" in getattr(item, "fixturenames", ()):
            playing.setdefault("clock", "recording")
        return Settings.of(
            mode=mode,
            exhausted=arguments.get("exhausted", "error"),
            unplayed=arguments.get("unplayed", self._unplayed),
            ignore_params=arguments.get("ignore_params", ()),
            hosts={**self._hosts, **arguments.get("hosts", {})},
            allow_hosts=(*self._allow_hosts, *arguments.get("allow_hosts", ())),
            reference=self._reference,
            command=partial(_command, item, option),
            **playing,
        )

    def registry(self, settings: Settings) -> Registry:
        """Know the packaged venues, those of plugins and `conftest.py` files, and the hosts that the user named."""
        hosts = tuple(settings.hosts.items())
        registry = self._registries.get(hosts)
        if registry is None:
            hook = self._config.hook
            registry = self._registries[hosts] = Registry(
                self._venues,
                settings.hosts,
                ignore_params=_names(hook.pytest_marketreplay_ignore_params),
                secret_params=_names(hook.pytest_marketreplay_secret_params),
            )
        return registry

    def folder(self, name: str) -> Path:
        """Return the folder of a named cassette: inside `marketreplay_dir`, or where an absolute path says.

        Raises UsageMistake.
        """
        if not isinstance(name, str) or not name:
            raise UsageMistake(f"marketreplay({name!r}): a cassette is named by a text")
        path = Path(name)
        if ".." in path.parts:
            raise UsageMistake(
                f"the cassette {name!r} is outside of {self._config.getini('marketreplay_dir')}; give a whole path"
            )
        folder = self.directory / path
        if folder.is_file():
            raise UsageMistake(f"the cassette {name!r} is a file; a cassette is a folder")
        return folder

    def own_cassette(self, item: pytest.Item) -> Path:
        """Return the folder of a test's own cassette: `<marketreplay_dir>/<module path>/<class and test name>`."""
        file, *rest = item.nodeid.split("::", 1)
        test, bracket, parameters = (rest[0] if rest else item.name).partition("[")
        test = test.replace("::", ".") + bracket + parameters  # a parameter `a::b` is not the parameter `a.b`
        return self.module_folder(file) / names.cassette_folder(test)

    def module_folder(self, file: str) -> Path:
        """Return the folder for a module, or for a folder with a `conftest.py` (the root's is empty)."""
        known = self._modules.get(file)
        if known is None:
            parts = [part for part in file.removesuffix(".py").split("/") if part]
            known = self._modules[file] = self.directory.joinpath(*map(names.cassette_folder, parts))
        return known


def names_of(item: pytest.Item) -> tuple[str, ...]:
    """Return the names that the nearest marker with names gives."""
    return next((marker.args for marker in item.iter_markers("marketreplay") if marker.args), ())


def marker_arguments(item: pytest.Item) -> dict[str, Any]:
    """Return the arguments of all markers; the nearest to the test wins, name by name."""
    out: dict[str, Any] = {}
    for marker in reversed(list(item.iter_markers("marketreplay"))):
        check_arguments(marker.kwargs, "the marker marketreplay")
        out.update(marker.kwargs)
    return out


def check_arguments(arguments: Mapping[str, Any], what: str) -> None:
    """Refuse what a text or number in the wrong place would silently turn into something else. Raises UsageMistake."""
    unknown = [name for name in arguments if name not in ARGUMENTS]
    if unknown:
        raise UsageMistake(f"{what} has no argument {unknown[0]!r}; it has {', '.join(ARGUMENTS)}")
    for name in ("ignore_params", "allow_hosts"):
        value = arguments.get(name, ())
        if isinstance(value, str):
            raise UsageMistake(f"{name} is the text {value!r}; give a tuple: ({value!r},)")
        if not isinstance(value, Iterable) or not all(isinstance(item, str) for item in value):
            raise UsageMistake(f"{name} is {value!r}; give a tuple of texts")
    hosts = arguments.get("hosts", {})
    if not isinstance(hosts, Mapping) or not all(isinstance(text, str) for pair in hosts.items() for text in pair):
        raise UsageMistake(f"hosts is {hosts!r}; give a dict, as in {{'127.0.0.1:8080': 'binance'}}")


def _command(item: pytest.Item, option: str) -> str:
    """Return what runs this test again, from the folder where pytest was started, up to the mode."""
    file, colons, rest = item.nodeid.partition("::")
    path = os.path.relpath(item.config.rootpath / file, item.config.invocation_params.dir)
    return f"pytest {shlex.quote(path + colons + rest)} {option}"


def _names(hook: Any) -> Callable[..., frozenset[str]] | None:
    """Return what asks all implementations of a hook for names; None where there is none."""
    if not hook.get_hookimpls():
        return None
    return lambda **arguments: frozenset(name.lower() for group in hook(**arguments) for name in group)
