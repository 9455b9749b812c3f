"""The table in the documentation says what the probes say."""

from __future__ import annotations

import os

import aiohttp
import pytest

from .fidelity import DOCUMENT, END, REASONS, START, reason, table
from .probes import PROBES
from .stage import CLIENTS, performed


@pytest.mark.skipif(aiohttp.__version__ < "3.14", reason="the table is that of the newest clients")
def test_the_fidelity_table_in_the_documentation_is_true() -> None:
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(START)
    stated, _, after = rest.partition(END)
    measured = table()
    if os.environ.get("MARKETREPLAY_WRITE_FIDELITY"):
        DOCUMENT.write_text(f"{before}{START}\n{measured}\n{END}{after}")
        return
    assert stated.strip() == measured


def test_every_reason_explains_a_difference_that_is_there() -> None:
    used = {
        reason(client.name, name, aspect, which)
        for client in CLIENTS
        for name, seen in performed(client.name).items()
        for which in ("replay", "recording")
        for aspect in seen.differences(which)
    }
    assert used == set(range(1, len(REASONS) + 1))


def test_there_are_enough_probes_and_no_two_of_one_name() -> None:
    assert len({probe.name for probe in PROBES}) == len(PROBES) >= 40
