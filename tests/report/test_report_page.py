"""The page: whole, small, safe against what exchanges say, and shown by a real browser."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import zlib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from capture_trees import START_MS, book, frame, gap, place, walk, write

from pytest_marketreplay.report import svg
from pytest_marketreplay.report.capture import read_capture
from pytest_marketreplay.report.page import render
from pytest_marketreplay.report.result import Cell

_VOID = {"meta", "link"}


class _Page(HTMLParser):
    """Checks that tags are closed as they were opened, and keeps what was seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _check(text: str) -> _Page:
    """Whatever a capture holds, this is true of its page."""
    page = _Page(text)
    assert not set(page.tags) & {"script", "iframe", "img", "object", "base", "form"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    links = [value for name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
    assert all(link.startswith("#pair-") or link == "data:," for link in links)
    assert "url(" not in text
    assert "@import" not in text
    assert page.tags["svg"] == len(re.findall(r'role="img"><title>[^<]+</title>', text))
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    return page


@pytest.fixture(scope="module")
def two_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    walk(root, "BTCUSDT", seconds=900)
    walk(root, "ETHUSDT", seconds=900, seed=2, missing=range(300, 340), declared=range(300, 320), slow=70)
    return root


def test_the_page_says_the_verdict_the_figures_and_the_holes(two_pairs: Path) -> None:
    page = _check(render(read_capture(two_pairs, interval_ms=1000)))
    assert "This capture misses 3 of 4 goals" in page.text
    for said in (
        "binance BTCUSDT",
        "binance ETHUSDT",
        "1,760 of 1,800 ticks",
        "20 declared",
        "Undeclared holes",
        "2025-10-02 10:05:20",
        "missed",
    ):
        assert said in page.text, said
    assert page.tags["details"] == 2
    assert [value for name, value in page.attributes if name == "open"] == ["", ""]
    assert page.tags["svg"] == 2 * (1 + 5)


def test_a_capture_that_meets_its_goals_says_so(tmp_path: Path) -> None:
    walk(tmp_path, "BTCUSDT", seconds=60)
    text = render(read_capture(tmp_path, interval_ms=1000))
    page = _check(text)
    assert "This capture meets its goals" in page.text
    assert "Remarks" not in page.text
    assert 'class="verdict met"' in text


def test_a_page_of_forty_pairs_is_folded_and_well_under_a_megabyte(tmp_path: Path) -> None:
    for number in range(40):
        walk(tmp_path, f"C{number:02}USDT", seconds=250, seed=number + 1, missing=range(3, 240, 4))
    text = render(read_capture(tmp_path, interval_ms=1000))
    page = _check(text)
    assert page.tags["details"] == 40
    assert "open" not in [name for name, _ in page.attributes]
    assert len(text.encode()) < 900_000
    assert "and 28 more" in page.text
    assert "The longest 10 of 60 undeclared holes" in page.text


def test_a_page_of_the_fullest_series_there_can_be_stays_under_a_megabyte(two_pairs: Path) -> None:
    report = read_capture(two_pairs, interval_ms=1000)
    points = tuple((START_MS + 1000 * number, 12345.678 * (1 + number % 2)) for number in range(600))
    cells = tuple(Cell(START_MS + 2500 * n, START_MS + 2500 * (n + 1), 1, n % 2, n % 3 // 2) for n in range(240))
    full = msgspec.structs.replace(
        report.series[1], latency_curve=points, spread_curve=points, depth_curve=points, timeline=cells
    )
    for count in (1, 12, 40):
        assert len(render(msgspec.structs.replace(report, series=(full,) * count)).encode()) < 1_000_000


_EVIL = '"><script>alert(1)</script><img src=x onerror=alert(2)>\x00\x1b[31m\u202e\ud800&amp;'


def test_what_exchanges_and_files_say_is_text_and_nothing_else(tmp_path: Path) -> None:
    write(
        place(tmp_path, _EVIL),
        [book(START_MS), gap(_EVIL.replace("\ud800", ""), START_MS, START_MS, 1, _EVIL.replace("\ud800", "")), "<b>\n"],
        "<i>.jsonl",
    )
    write(place(tmp_path, "BTCUSDT"), [book(START_MS)])
    evil = _EVIL.replace("\ud800", "")
    data = {"e": "depthUpdate", "s": evil, "U": 2, "u": 2, "b": [], "a": []}
    seed = {"e": "depthUpdate", "s": evil, "U": 3, "u": 3, "b": [], "a": []}
    write(
        place(tmp_path, None, endpoint="/stream", websocket=True),
        [frame(START_MS, {"stream": evil, "data": data}), frame(START_MS + 1, {"stream": evil, "data": seed})],
    )
    text = render(read_capture(tmp_path))
    page = _check(text)
    assert "<script" not in text
    assert "<b>\n" not in text
    assert "\x00" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "alert(1)" in page.text
    text.encode()


def test_a_capture_without_books_has_a_page_too(tmp_path: Path) -> None:
    write(place(tmp_path, None, endpoint="/api/v3/time"), ["x\n"])
    page = _check(render(read_capture(tmp_path)))
    assert "This capture misses its goals" in page.text
    assert "no order book was found" in page.text
    assert "Damage" in page.text


def test_a_pair_without_a_usable_book_has_empty_plots(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [book(START_MS, bids=[], latency=None)])
    assert "nothing to show" in _check(render(read_capture(tmp_path))).text
    assert "nothing to show" in svg.bars("x", ())


def test_more_damage_than_is_named_is_counted_on_the_page(tmp_path: Path) -> None:
    write(place(tmp_path, "BTCUSDT"), [book(START_MS), *["x\n"] * 30])
    assert "(the first; 10 more)" in _check(render(read_capture(tmp_path))).text


def test_a_curve_is_not_drawn_over_a_gap_and_a_lone_point_is_a_dot() -> None:
    points = [(1000 * tick, 1.0 + tick % 2) for tick in [*range(10), *range(60, 70), 200]]
    drawn = svg.curve("x", points, (0, 200_000), filled=True, goal=1.5)
    assert len(re.findall('class="line"', drawn)) == 3
    assert len(re.findall('class="area"', drawn)) == 2
    assert re.search(r'class="line" d="M1000 [\d.]+h0"', drawn)
    assert 'class="goal"' in drawn
    assert 'class="goal"' not in svg.curve("x", points, (0, 200_000), filled=False, goal=50)


def test_bars_above_the_goal_are_marked() -> None:
    from pytest_marketreplay.report.result import Bar

    drawn = svg.bars("x", (Bar(0, 50, 10), Bar(50, 100, 0), Bar(100, 150, 1)), goal=100)
    assert drawn.count('class="bar"') == 1
    assert drawn.count('class="bar over"') == 1


def test_a_strip_joins_what_is_alike_and_a_single_bad_tick_can_be_seen() -> None:
    def cell(number: int, declared: int = 0, undeclared: int = 0) -> Cell:
        return Cell(number, number + 1, 1, declared, undeclared)

    cells = [
        *(cell(n) for n in range(500)),
        cell(500, undeclared=1),
        *(cell(n) for n in range(501, 9_000)),
        cell(9_999, 1),
    ]
    drawn = svg.strip("x", cells, (0, 10_000))
    assert re.search(r'class="stored" d="M0 10h50(\.\d)?M50\.1 10h8\d\d(\.\d)?"', drawn), drawn
    assert 'class="undeclared" d="M50 10h5"' in drawn
    assert 'class="declared" d="M999.9 10h5"' in drawn


# A real browser ---------------------------------------------------------------------------------------------------

_CHROMIUM = shutil.which("chromium")
_FLAGS = [
    f"--{flag}"
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"),
        *("disable-component-update", "disable-sync", "hide-scrollbars", "enable-logging=stderr", "v=0"),
    )
]


def _browser() -> str:
    if _CHROMIUM is None:
        assert not os.environ.get("CI"), "CI has no chromium: install Debian's package"
        pytest.skip("no chromium here: the page is not looked at in a real browser")
    return _CHROMIUM


def pixels(png: bytes) -> tuple[int, int, Counter[bytes]]:
    """Return width, height and how often each colour is there, of a PNG with 8 bits a channel."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    width = height = channels = 0
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        data = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", data[:10])
            assert depth == 8
            channels = {2: 3, 6: 4}[colour]
        elif kind == b"IDAT":
            packed += data
        at += 12 + length
    raw, stride = zlib.decompress(packed), width * channels
    before = bytearray(stride)
    seen: Counter[bytes] = Counter()
    for row in range(height):
        start = row * (stride + 1)
        kind_of, line = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for index in range(stride):
            left = line[index - channels] if index >= channels else 0
            up = before[index]
            corner = before[index - channels] if index >= channels else 0
            if kind_of == 1:
                line[index] = (line[index] + left) & 255
            elif kind_of == 2:
                line[index] = (line[index] + up) & 255
            elif kind_of == 3:
                line[index] = (line[index] + (left + up) // 2) & 255
            elif kind_of == 4:
                guess = left + up - corner
                near = min((abs(guess - left), 0, left), (abs(guess - up), 1, up), (abs(guess - corner), 2, corner))[2]
                line[index] = (line[index] + near) & 255
        for index in range(0, stride, channels):
            seen[bytes(line[index : index + 3])] += 1
        before = line
    return width, height, seen


@pytest.mark.parametrize(
    "scheme, background, size", [("light", b"\xf4\xf6\xf9", (700, 1100)), ("dark", b"\x10\x14\x1b", (500, 1500))]
)
def test_a_real_browser_shows_the_page_without_a_complaint(
    two_pairs: Path, tmp_path: Path, scheme: str, background: bytes, size: tuple[int, int]
) -> None:
    browser = _browser()
    page, image = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(render(read_capture(two_pairs, interval_ms=1000)), encoding="utf-8")
    done = subprocess.run(
        [
            browser,
            *_FLAGS,
            f"--blink-settings=preferredColorScheme={int(scheme == 'light')}",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={image}",
            page.as_uri(),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    width, height, colours = pixels(image.read_bytes())
    assert (width, height) == size
    assert colours[background] > width * height / 10
    assert len(colours) > 100
    ink = {"light": (b"\xbe\x2b\x22", b"\x3f\x9d\x6d"), "dark": (b"\xff\x85\x79", b"\x3c\x9a\x6b")}[scheme]
    for colour in ink:  # the headline of a missed goal, and the strip of what is stored
        assert colours[colour] > 50, colour.hex()


def test_the_browsers_complaints_are_heard(tmp_path: Path) -> None:
    browser = _browser()
    page = tmp_path / "bad.html"
    text = render(read_capture(_tiny(tmp_path)))
    page.write_text(text.replace("</main>", "<script>alert(1)</script></main>"), encoding="utf-8")
    done = subprocess.run(
        [browser, *_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 'x.png'}", page.as_uri()],
        capture_output=True, encoding="utf-8", timeout=60, check=True,
    )  # fmt: skip
    assert "CONSOLE" in done.stderr, "the page's Content-Security-Policy did not refuse a script, or nobody heard it"


def _tiny(tmp_path: Path) -> Path:
    write(place(tmp_path / "tiny", "BTCUSDT"), [book(START_MS)])
    return tmp_path / "tiny"
