"""Seals one tree in many processes, and ends each without a word right before or after its n-th step on files.

Prints, for each tree, the step at which its process ended, or `whole`.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from pytest_marketreplay.sinks import sealing

STEPS = ("open", "chmod", "fsync", "rename", "unlink")


def dying(name: str, at: int, after: bool) -> None:
    """Make the process end at the n-th step of all."""
    real = getattr(os, name)

    def step(*arguments: object, **options: object) -> object:
        counted[0] += 1
        if counted[0] == at and not after:
            os._exit(9)
        try:
            return real(*arguments, **options)
        finally:
            if counted[0] == at:
                os._exit(9)

    setattr(os, name, step)


root, kind = Path(sys.argv[1]), sys.argv[2]
counted = [0]
number = 0
ended = True
while ended:
    number += 1
    for after in (False, True):
        tree = root.with_name(f"{root.name}-{number}-{after}")
        shutil.copytree(root, tree)
        if (pid := os.fork()) == 0:
            for name in STEPS:
                dying(name, number, after)
            sealing.seal(next(tree.glob("*/*/*/*.jsonl")), kind)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
        print(tree.name, "killed" if ended else "whole", flush=True)
