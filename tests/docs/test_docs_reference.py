"""The reference pages say what the code says: names, defaults, tables."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import warnings
from pathlib import Path
from typing import Any

import cli_reference
import click
import doc_blocks
import msgspec
import pytest
from click.testing import CliRunner
from doc_blocks import tables

import pytest_marketreplay
from pytest_marketreplay import api, errors, plugin, strategies
from pytest_marketreplay.cassette import entry, frame, names
from pytest_marketreplay.cli import cli
from pytest_marketreplay.config import CLOCKS, ENDS, EXHAUSTED, MODES, ORDERS, PACES, UNPLAYED, Settings
from pytest_marketreplay.data import MarketData
from pytest_marketreplay.errors import MarketReplayError
from pytest_marketreplay.exchange import SimulatedExchange
from pytest_marketreplay.intercept import failures
from pytest_marketreplay.intercept.install import PATCHERS
from pytest_marketreplay.market import structs
from pytest_marketreplay.plugin import choices, play
from pytest_marketreplay.plugin.liveclock import LiveClock
from pytest_marketreplay.replay.faults import KINDS, Fault, Faults
from pytest_marketreplay.replay.marketclock import MarketClock
from pytest_marketreplay.serve import CassetteServer
from pytest_marketreplay.venues import binance, bitstamp, bybit, coinbase, deribit, kraken, okx
from pytest_marketreplay.venues.registry import Hooks, _packaged

_DOCS = doc_blocks.ROOT / "docs"
_FORMAT = _DOCS / "reference" / "format.md"
_OPTIONS = _DOCS / "reference" / "options.md"
_PYTHON = _DOCS / "reference" / "python-api.md"
_INNER = {
    "Faults": {"acting", "answer", "frames", "held", "request", "taken", "upgrade"},
    "SimulatedExchange": {"answer", "answer_upgrade", "next_failure", "note"},
}
"""What the parts of this package ask of each other."""


def _first(rows: list[list[str]]) -> list[str]:
    return [row[0] for row in rows]


def _named(call: str) -> str:
    """Return the name in `name(argument)`."""
    return call.partition("(")[0]


# ---------------------------------------------------------------- the command line


def test_the_page_of_the_command_line_is_not_stale() -> None:
    """`python tests/docs/cli_reference.py` writes it anew."""
    assert cli_reference.PAGE.read_text(encoding="utf-8") == cli_reference.render()


@pytest.mark.parametrize(("path", "command"), list(cli_reference.commands()), ids=lambda value: str(value))
def test_every_command_has_help_an_example_and_a_line_in_the_page(path: str, command: Any) -> None:
    """The example is a call of the command with options that it has."""
    text, example = cli_reference.text_and_example(command)
    assert text.endswith(".")
    assert example.startswith(path)
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    arguments = path.split()[1:]
    printed = CliRunner().invoke(cli, [*arguments, "--help"])
    assert printed.exit_code == 0
    for option in re.findall(r"--?[a-z][\w-]*", example.removeprefix(path)):
        assert option in printed.output
    assert f"[`{path}`]" in cli_reference.PAGE.read_text(encoding="utf-8")


# ---------------------------------------------------------------- the plugin


def test_every_ini_key_is_in_the_page_with_its_default() -> None:
    """Types and defaults are those that pytest is told."""
    told: dict[str, tuple[str, str]] = {}

    class Told:
        def getgroup(self, *_: str) -> Told:
            return self

        def addoption(self, *_: str, **__: Any) -> None:
            """Options are looked at elsewhere."""

        def addini(self, name: str, help: str, type: str = "text", default: str = "") -> None:
            told[name] = ("lines" if type == "linelist" else type, default or "none")

    plugin.pytest_addoption(Told())  # type: ignore[arg-type]
    page = {row[0]: (row[1], row[2]) for row in tables(_OPTIONS, "key", "type", "default")}
    assert page == told


def test_every_argument_of_the_marker_is_in_the_page_with_its_default() -> None:
    """So are those of `use_cassette`, which have the same names."""
    rows = {row[0]: row[1] for row in tables(_OPTIONS, "argument", "default") if row[0] != "*cassettes"}
    assert tuple(rows) == choices.ARGUMENTS
    settings = Settings()
    for name in ("mode", "exhausted", *choices.PLAYING):
        assert rows[name] == str(getattr(settings, name))
    for value in (*EXHAUSTED, *UNPLAYED, *MODES, *CLOCKS, *ORDERS, *PACES, *ENDS):
        assert f"`{value}`" in _OPTIONS.read_text(encoding="utf-8")


def test_every_option_fixture_and_hook_is_in_the_page() -> None:
    """No more and no fewer."""
    source = inspect.getsource(plugin)
    assert set(_first(tables(_OPTIONS, "option", "values"))) == set(
        re.findall(r'"(--[\w-]*record-mode|--restore-[\w-]+)"', source)
    )
    fixtures = re.findall(r"@pytest\.fixture\ndef (\w+)", source)
    assert _first(tables(_OPTIONS, "fixture", "what it is")) == fixtures
    hooks = [name for name in vars(Hooks) if name.startswith("pytest_")]
    rows = _first(tables(_OPTIONS, "hook", "returns"))
    assert [_named(row) for row in rows] == hooks
    for row in rows:
        arguments = inspect.signature(getattr(Hooks, _named(row))).parameters
        assert row == f"{_named(row)}({', '.join(name for name in arguments if name != 'self')})"


def test_everything_public_of_the_fixture_is_in_the_page() -> None:
    """`market_replay` has what the page says, and the page says what it has."""
    rows = {_named(row) for row in _first(tables(_OPTIONS, "attribute or method", "what it is"))}
    assert rows == {name for name in vars(play.MarketReplay) if not name.startswith("_")}


def test_the_built_in_venues_are_in_the_page_with_their_hosts() -> None:
    """A host may be shortened to its first part where a range is meant."""
    modules = (binance, kraken, coinbase, bybit, okx, bitstamp, deribit)
    venues = [venue for module in modules for venue in module.pytest_marketreplay_venues()]
    assert {venue.name for venue in venues} == {venue.name for venue in _packaged()} - {"generic"}
    rows = {row[0]: row[1] for row in tables(_OPTIONS, "venue", "hosts")}
    assert rows.keys() == {venue.name for venue in venues}
    for venue in venues:
        assert set(re.findall(r"`([\w.-]+\.\w+)`", rows[venue.name])) <= set(venue.hosts)


# ---------------------------------------------------------------- Python


def test_the_arguments_of_use_cassette_are_in_the_page_with_their_defaults() -> None:
    """In their order."""
    rows = [row[:2] for row in tables(_DOCS / "reference" / "python-api.md", "argument", "default")]
    parameters = inspect.signature(api.use_cassette).parameters.values()
    expected = [
        [f"*{each.name}", ""]
        if each.kind is each.VAR_POSITIONAL
        else [each.name, each.default if isinstance(each.default, str) else repr(each.default)]
        for each in parameters
    ]
    assert rows == expected


def test_everything_that_the_pages_say_of_a_session_exists(tmp_path: Path) -> None:
    """Attributes and methods, as a session has them."""
    page = _DOCS / "reference" / "python-api.md"
    said = [row[0] for row in tables(page, "attribute or method", "what it is")]
    with pytest_marketreplay.use_cassette(tmp_path) as session:
        for name in said:
            assert hasattr(session, _named(name)), name


def _public(thing: type, *instance: str) -> set[str]:
    """Return the public names of a class and its bases, with attributes that only an instance has."""
    return {name for name in dir(thing) if not name.startswith("_")} | set(instance)


@pytest.mark.parametrize(
    ("thing", "own"),
    [
        (MarketData, ("cassettes",)),
        (CassetteServer, ()),
        (Faults, ("injected",)),
        (SimulatedExchange, ("requests",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_the_page_says_of_a_class_exists(thing: type, own: tuple[str, ...]) -> None:
    """And of the methods that a user calls none is left out."""
    rows = _first(tables(_PYTHON, f"of `{thing.__name__}`", "what it is"))
    said = {_named(name.strip().strip("`")) for row in rows for name in re.split(r", (?=`)", row)}
    inner = _INNER.get(thing.__name__, set())
    assert said <= _public(thing, *own)
    assert _public(thing, *own) - said == inner


def test_the_defaults_of_arguments_are_those_of_the_code() -> None:
    """Of a server and of a fault."""
    parameters = inspect.signature(CassetteServer.__init__).parameters
    expected = {name: each.default for name, each in parameters.items() if name not in ("self", "cassettes")}
    rows = {row[0]: row[1] for row in tables(_PYTHON, "argument of `CassetteServer`", "default")}
    assert rows == {name: value if isinstance(value, str) else repr(value) for name, value in expected.items()}
    fault = Fault("429")
    rows = {row[0]: row[1] for row in tables(_PYTHON, "field of `Fault`", "default")}
    assert list(rows) == [field.name for field in dataclasses.fields(Fault)]
    assert all(rows[name] == repr(getattr(fault, name)) for name in rows if name != "kind")


def test_every_kind_of_fault_struct_and_strategy_is_in_the_page() -> None:
    """No more and no fewer."""
    kind = next(row for row in tables(_PYTHON, "field of `Fault`", "default") if row[0] == "kind")[2]
    assert set(re.findall(r"`([^`]+)`", kind)) == set(KINDS)
    for name, fields in tables(_PYTHON, "struct", "fields"):
        assert re.findall(r"`([^`]+)`", fields) == list(getattr(structs, name).__struct_fields__)
    rows = _first(tables(_PYTHON, "strategy or function", "what it draws or does"))
    said = {_named(name.strip("`")) for row in rows for name in re.split(r", (?=`)", row)}
    assert said == set(strategies.__all__)
    clock = {_named(row) for row in _first(tables(_OPTIONS, "name", "what it is"))}
    assert clock == _public(LiveClock)
    assert clock <= _public(MarketClock)


def test_the_page_of_errors_draws_the_tree_of_the_code() -> None:
    """Every class that this package raises on purpose, below its parent."""
    modules = (
        "cli",
        "demo",
        "bridge.importing",
        "intercept.install",
        "plugin.choices",
        "plugin.play",
        "exchange.server",
    )
    for module in modules:
        __import__(f"pytest_marketreplay.{module}")
    page = (_DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    tree = next(block.text for block in doc_blocks.blocks(_DOCS / "reference" / "errors.md") if "──" in block.text)
    drawn: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in tree.splitlines():
        name = re.search(r"\w+", line)
        assert name is not None
        while above and above[-1][0] >= name.start():
            above.pop()
        drawn[name[0]] = above[-1][1] if above else None
        above.append((name.start(), name[0]))

    def classes(above: type[BaseException]) -> list[type[BaseException]]:
        ours = [
            each
            for each in above.__subclasses__()
            if each.__module__.startswith("pytest_marketreplay.") and ".exchange." not in each.__module__
        ]
        return [*ours, *(deeper for each in ours for deeper in classes(each))]

    assert drawn == {
        "MarketReplayError": None,
        **{each.__name__: each.__bases__[0].__name__ for each in classes(MarketReplayError)},
    }
    for name in ("TornTail", "UnplayedAnswers", "MissingFrames", "ClockFallback", "NotAnEntry"):
        assert f"`{name}`" in page
    assert all(name in page for name, each in vars(errors).items() if inspect.isclass(each) and name != "Path")


def test_every_patch_of_a_client_is_in_the_page_of_clients() -> None:
    """`Class.attribute`, as it is patched while a session is in play."""
    page = (_DOCS / "reference" / "clients.md").read_text(encoding="utf-8")
    infrastructure = {"socket", "ssl", "uvloop", "time", "asyncio.base_events", "threading"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # websockets.legacy
        for module in PATCHERS.keys() - infrastructure:
            importlib.import_module(module)
    for module in PATCHERS.keys() - infrastructure:
        for patch in PATCHERS[module]():
            assert f"{patch.owner.__name__}.{patch.name}`" in page


# ---------------------------------------------------------------- the format


def test_the_names_in_the_specification_are_those_of_the_code() -> None:
    """Each row of the tables of names, there and back."""
    for endpoint, folder in tables(_FORMAT, "endpoint", "folder"):
        assert names.endpoint_folder(endpoint) == folder
        assert names.endpoint_of(folder) == (endpoint, False)
    for endpoint, folder in tables(_FORMAT, "WebSocket endpoint", "folder"):
        assert names.endpoint_folder(endpoint, websocket=True) == folder
        assert names.endpoint_of(folder) == (endpoint, True)
    for symbol, folder in tables(_FORMAT, "symbol", "folder"):
        assert names.symbol_folder(symbol) == folder
        assert names.symbol_of(folder) == symbol
    for venue, folder in tables(_FORMAT, "venue", "folder"):
        assert names.venue_folder(venue) == folder


def test_long_names_are_cut_as_the_specification_says() -> None:
    """At most 160 characters, `%~`, and 32 hexadecimal digits."""
    folder = names.endpoint_folder("/" + "x" * 201)
    assert re.fullmatch(r"x{160}%~[0-9a-f]{32}", folder)
    assert "at most 160" in _FORMAT.read_text(encoding="utf-8")
    assert names.endpoint_folder("/" + "x" * 200) == "x" * 200


def test_the_keys_of_meta_in_the_specification_are_those_of_the_code() -> None:
    """With defaults where the code has them."""
    rows = {row[0]: row[2] for row in tables(_FORMAT, "key", "type", "default")}
    fields = {field.name: field for field in msgspec.structs.fields(entry.Meta)}
    assert list(rows) == list(fields)
    example = entry.Meta()
    for name in ("method", "status", "encoding"):
        assert rows[name] == str(getattr(example, name))
    assert set(_first(tables(_FORMAT, "key", "type", "what it is"))) == set(entry.Entry.__struct_fields__)
    names_of = [
        name for row in tables(_FORMAT, "key of `meta`", "type", "default") for name in re.findall(r"\w+", row[0])
    ]
    assert set(names_of) == set(frame.FrameMeta.__struct_fields__)


def test_the_failures_in_the_specification_are_those_of_the_code() -> None:
    """Every name under which a failure is stored."""
    constants = [value for name, value in vars(failures).items() if name.isupper() and not name.endswith("_TEXT")]
    assert _first(tables(_FORMAT, "`error`", "what happened")) == constants


@pytest.mark.parametrize("page", doc_blocks.PAGES, ids=lambda page: str(page.relative_to(doc_blocks.ROOT)))
def test_every_line_of_a_jsonl_example_is_an_entry(page: Path) -> None:
    """As a reader reads it."""
    for block in doc_blocks.blocks(page):
        if block.language == "jsonl":
            for line in block.text.encode().splitlines():
                if entry.read_head(line).meta.dir is None:
                    entry.read_entry(line)
                else:
                    frame.read_frame(line)


def test_the_reasons_of_damage_in_the_specification_are_those_of_the_code() -> None:
    """Lines that are damaged in each way, and what the reader says."""
    good = b'{"timestamp":1,"endpoint":"/a","params":{%s},"meta":{%s},"response":%s}'
    bad = [
        (good % (b"", b"", b"1"))[:-1],
        good % (b"", b"", b"NaN"),
        b'{"timestamp":1,"endpoint":"/a","params":{}}',
        good % (b"", b"", b'"\xff"'),
        good % (b"", b"", b"\0"),
        b" ",
        b"\xef\xbb\xbf{}",
        good % (b"", b"", b"[" * 100_000),
        good % (b'"a":1e99999999999999999999', b"", b"1"),
        good % (b"", b'"encoding":"zip"', b'""'),
        good % (b"", b'"encoding":"base64"', b'"!"'),
    ]
    said = [reason.removesuffix(" ...") for reason in _first(tables(_FORMAT, "reason", "when"))]
    assert len(said) == len(bad) + 1
    assert said[-1] == "cannot be unpacked:"
    for line, reason in zip(bad, said, strict=False):
        with pytest.raises(entry.NotAnEntry) as caught:
            entry.read_entry(line)
        assert caught.value.reason.startswith(reason), line[:80]
