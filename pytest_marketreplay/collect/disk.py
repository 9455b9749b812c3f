"""What a capture takes on the disk, for the metrics."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_marketreplay.metrics import Meter

EACH_S = 60.0
"""Seconds between two looks: a walk over a large tree costs tens of milliseconds of its thread."""


def tell_sizes(roots: list[Path], meter: Meter) -> None:
    """Tell the bytes and files of each platform, the first folder of a tree; those of several trees are added.

    What cannot be looked at counts as nothing: files come and go meanwhile, and the next look is soon.
    """
    found: dict[str, tuple[int, int]] = {}
    for root in roots:
        for platform in _folders(root):
            size, count = found.get(platform.name, (0, 0))
            for folder, _, names in os.walk(platform):
                for name in names:
                    try:
                        size += os.stat(os.path.join(folder, name), follow_symlinks=False).st_size
                    except FileNotFoundError:  # sealed, or expired
                        continue
                    count += 1
            found[platform.name] = (size, count)
    for name, (size, count) in found.items():
        meter.size(name, size, count)


def _folders(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
