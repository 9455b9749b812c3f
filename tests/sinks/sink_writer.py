"""Writes numbered items until it is killed; says each batch's last number once it is acknowledged."""

from __future__ import annotations

import json
import os
import sys
from itertools import count
from typing import Any

sys.path.insert(0, os.path.dirname(__file__))  # PYTHONSAFEPATH leaves it out

from sink_parts import item

from pytest_marketreplay import clock
from pytest_marketreplay.sinks import registry

name, text, first, size = sys.argv[1:]
options: dict[str, Any] = json.loads(text)
sink = registry.make(name, options)
sink.open()
for start in count(int(first), int(size)):
    sink.write([item(number) for number in range(start, start + int(size))])
    os.write(1, b"%d\n" % (start + int(size) - 1))
    if start % 3 == 0:
        sink.rotate(clock.now_ns())
