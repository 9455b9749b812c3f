"""Pages of the documentation as data: their code blocks, headings and links.

How a block is used is said by its info string, the text after the three backticks:

- a block of any language with `title="name"`, and a `python` block whose first line is `# name.py`, is written to that file
  in the page's folder;
- any other `python` block is executed, in a namespace of its own, with the page's folder as the working directory;
- `console` blocks hold commands, each in a line that begins with `$ `, and under it what it prints. `pytest` and
  `marketreplay` are run in the page's folder and must exit 0, or N where the block says `exit=N`. Each line under a command
  must be found in its output, in this order, where runs of white space count as one space and `...` stands for any text
  within a line. `pip`, `git` and other tools (`NOT_RUN`) are for the reader only, as is a block that says `no-run`;
- blocks of other languages without a title are for the reader only.

The blocks of one page are run from top to bottom and share one folder, which is empty at the start.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
NOT_RUN = frozenset(("pip", "uv", "uvx", "pipx", "git", "jq", "tox", "python", "cd", "docker", "zstd", "gzip"))

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=indent)(?P=fence) *$", re.M | re.S
)
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.M)
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """One fenced block."""

    page: Path
    line: int
    """Of its first line of text, from 1."""
    language: str
    title: str | None
    exit_code: int
    runs: bool
    text: str

    @property
    def where(self) -> str:
        """Return page and line for people."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


class Command(NamedTuple):
    """One command of a console block and the output that the page shows."""

    line: str
    output: list[str]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    source = page.read_text(encoding="utf-8")
    out = []
    for match in _FENCE.finditer(source):
        language, _, info = match["info"].strip().partition(" ")
        text = textwrap.dedent(match["text"])
        title = re.search(r'title="([^"]+)"', info) or (
            re.match(r"# (\S+\.py)\n", text) if language == "python" else None
        )
        code = re.search(r"\bexit=(\d+)", info)
        out.append(
            Block(
                page,
                source.count("\n", 0, match.start("text")) + 1,
                language,
                title[1] if title else None,
                int(code[1]) if code else 0,
                "no-run" not in info,
                text,
            )
        )
    return out


def commands(block: Block) -> Iterator[Command]:
    """Take a console block apart."""
    lines = block.text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    assert starts[:1] == [0], f"{block.where}: a console block begins with a command: `$ ...`"
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield Command(lines[start][2:].strip(), [line.strip() for line in lines[start + 1 : end] if line.strip()])


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    out: set[str] = set()
    for heading in _HEADING.findall(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        number = 0
        while (name := f"{anchor}-{number}" if number else anchor) in out:
            number += 1
        out.add(name)
    return out


def links(page: Path) -> list[str]:
    """Return the targets of a page's links, without those in code."""
    return _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))


def tables(page: Path, *header: str) -> list[list[str]]:
    """Return the rows of every table of a page that begins with this header; backticks around a cell are taken off.

    Raises AssertionError where there is none.
    """
    wanted = [cell.lower() for cell in header]
    rows: list[list[str]] = []
    inside = False
    for line in prose(page).splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip("|"))]
        if [cell.lower() for cell in cells[: len(wanted)]] == wanted:
            inside = True
        elif inside and not set(line) <= set("|-: "):
            rows.append([plain(cell) for cell in cells])
    assert rows, f"{page.name} has no table {header}"
    return rows


def plain(cell: str) -> str:
    """Return a cell without the backticks around it."""
    return cell[1:-1] if re.fullmatch(r"`[^`]*`", cell) else cell
