"""Every example of the documentation runs; `doc_blocks` says how a page's blocks are used."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import shlex
import sys
from importlib.metadata import entry_points
from pathlib import Path

# imported once here, and not again by each example: a nested run forgets what it imported first
import aiohttp  # noqa: F401
import anyio  # noqa: F401
import doc_blocks
import httpx  # noqa: F401
import pytest
import requests  # noqa: F401
import time_machine  # noqa: F401
import websocket  # noqa: F401
import websockets.asyncio.client
import websockets.sync.client  # noqa: F401
from doc_blocks import Block, Command

import pytest_marketreplay.api
import pytest_marketreplay.exchange.listener
import pytest_marketreplay.plugin.play  # noqa: F401
from pytest_marketreplay.cli import main

for _name in ("hypothesis", "pandas", "pyarrow"):  # likewise, where they are installed
    with contextlib.suppress(ImportError):
        importlib.import_module(_name)

_OPTIONS = [f"-pno:{name}" for name in ("recording", "cassetter", "randomly", "cacheprovider")]
if not entry_points(group="pytest11", name="marketreplay"):  # run from a checkout that is merely on the path
    _OPTIONS.append("-ppytest_marketreplay.plugin")


def _pytest(arguments: list[str], pytester: pytest.Pytester) -> tuple[int, str]:
    result = pytester.runpytest_inprocess(*_OPTIONS, *arguments)
    return int(result.ret), f"{result.stdout}\n{result.stderr}"


def _marketreplay(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    capfd.readouterr()
    with monkeypatch.context() as patched, pytest.raises(SystemExit) as exited:
        patched.setattr(sys, "argv", ["marketreplay", *arguments])
        main()
    return int(exited.value.code or 0), "\n".join(capfd.readouterr())


def _run(
    block: Block,
    command: Command,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    program, *arguments = shlex.split(command.line, comments=True)
    if program in doc_blocks.NOT_RUN:
        return
    assert program in ("pytest", "marketreplay"), f"{block.where}: what is {program!r}? Add it to NOT_RUN, or run it"
    if program == "pytest":
        code, printed = _pytest(arguments, pytester)
    else:
        code, printed = _marketreplay(arguments, monkeypatch, capfd)
    shown = f"{block.where}: $ {command.line}\n{printed}"
    assert code == block.exit_code, f"exit code {code}, not {block.exit_code}\n{shown}"
    missing = first_missing(command.output, printed)
    assert missing is None, f"not printed, or not in this order: {missing!r}\n{shown}"


def first_missing(shown: list[str], printed: str) -> str | None:
    """Return the first line that a page shows and a program did not print, or None."""
    lines = iter([" ".join(line.split()) for line in printed.splitlines()])
    for wanted in shown:
        pattern = " ?.* ?".join(re.escape(" ".join(part.split())) for part in wanted.split("..."))
        if not any(re.search(pattern, line) for line in lines):
            return wanted
    return None


def _has_examples(page: Path) -> bool:
    return any(block.language in ("python", "console") for block in doc_blocks.blocks(page))


@pytest.mark.filterwarnings("ignore::EncodingWarning")  # vcrpy opens its cassettes without one; tox has them warned of
@pytest.mark.parametrize(
    "page",
    [page for page in doc_blocks.PAGES if _has_examples(page)],
    ids=lambda page: str(page.relative_to(doc_blocks.ROOT)),
)
def test_every_example_of_the_page_runs(
    page: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Run a page's blocks from top to bottom in one folder."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(str(pytester.path))
    monkeypatch.setenv("PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))  # marketreplay
    pytester.makeini("[pytest]\n")  # the root folder is this one, and not one above it
    for block in doc_blocks.blocks(page):
        if block.title is not None:
            if block.title.endswith(
                ".py"
            ):  # a module of this suite may have the same name, and would be found in its place
                monkeypatch.delitem(sys.modules, Path(block.title).stem, raising=False)
            target = pytester.path / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python" and block.runs:
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
            exec(code, {"__name__": "example"})
        elif block.language == "console" and block.runs:
            for command in doc_blocks.commands(block):
                _run(block, command, pytester, monkeypatch, capfd)


def test_a_line_that_is_not_printed_is_noticed() -> None:
    """The rule that compares output can fail."""
    assert first_missing(["1 passed"], "2 failed, 11 passed\n") is None  # a fragment of a line is enough
    assert first_missing(["1 failed"], "1 passed\n") == "1 failed"
    assert first_missing(["b", "a"], "a\nb\n") == "a"
    assert first_missing(["GET ...?x=1 ->   200"], "at  GET http://h/p?x=1 -> 200, 3 bytes\n") is None
    assert first_missing(["GET ...?x=1 -> 200"], "GET http://h/p?x=2 -> 200\n") is not None
