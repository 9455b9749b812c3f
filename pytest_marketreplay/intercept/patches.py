"""Patches that are counted, rolled back whole when one fails, and set on a library only once it is imported."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

from pytest_marketreplay.errors import MarketReplayError

_MISSING = object()


class Patch(NamedTuple):
    """One attribute of a class or module, and how its replacement is made from the original."""

    owner: Any
    name: str
    make: Callable[[Any], Any]


class Unpatchable(MarketReplayError):
    """A library has not what is patched in it; this version of it is not supported."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name
        module = sys.modules.get(getattr(owner, "__module__", "").partition(".")[0])
        version = getattr(module, "__version__", "unknown")
        super().__init__(
            f"{getattr(owner, '__qualname__', owner)} has no {name!r} (version {version}); "
            "docs/reference/clients.md lists the versions that work"
        )


class Patches:
    """All patches of this process. The first session sets them, the last one takes them back."""

    def __init__(self, patchers: dict[str, Callable[[], Iterable[Patch]]]) -> None:
        """`patchers` names, for each module, what to patch once that module is imported."""
        self._patchers = patchers
        self._set: list[tuple[Any, str, Any, Any]] = []
        self._wanted: dict[str, tuple[Patch, ...]] = {}
        self._made: dict[tuple[int, str], tuple[Any, Any]] = {}
        self._done: set[str] = set()
        self._beneath: dict[tuple[int, str], tuple[Any, Any, Any]] = {}
        """Ours that could not be taken back, because somebody patched over it: what was before, ours, theirs."""
        self._count = 0
        self._lock = threading.RLock()
        self._finder = _LateImports(self)

    @property
    def count(self) -> int:
        """How many sessions hold the patches."""
        return self._count

    def names(self) -> list[str]:
        """Return what is patched now, as `module.Class.attribute`."""
        return [
            f"{getattr(owner, '__module__', '')}.{getattr(owner, '__qualname__', owner)}.{name}"
            for owner, name, _, _ in self._set
        ]

    def install(self) -> None:
        """Count one session more; the first sets all patches. Raises Unpatchable, with nothing left patched."""
        with self._lock:
            if self._count == 0:
                try:
                    for module in self._patchers:
                        if module in sys.modules:
                            self._patch(module)
                except BaseException:
                    self._roll_back()
                    raise
                sys.meta_path.insert(0, self._finder)
            self._count += 1

    def uninstall(self) -> None:
        """Count one session less; the last takes all patches back."""
        with self._lock:
            self._count -= 1
            if self._count == 0:
                sys.meta_path.remove(self._finder)
                self._roll_back()

    def wants(self, module: str) -> bool:
        """Tell whether a module that is being imported is to be patched."""
        return self._count > 0 and module in self._patchers and module not in self._done

    def imported(self, module: str) -> None:
        """Patch a module that has just been imported."""
        with self._lock:
            if self.wants(module):
                self._patch(module)

    def _patch(self, module: str) -> None:
        self._done.add(module)
        wanted = self._wanted.get(module)
        if wanted is None:
            wanted = self._wanted[module] = tuple(self._patchers[module]())
        for owner, name, make in wanted:
            own = vars(owner).get(name, _MISSING)
            if self._beneath:
                before, ours, theirs = self._beneath.pop((id(owner), name), (None, _MISSING, _MISSING))
                if ours is not _MISSING and own in (ours, theirs):
                    # ours is still there, alone again or under theirs: a second on top would record everything twice
                    self._set.append((owner, name, before, ours))
                    continue
            original = getattr(owner, name, _MISSING)
            if original is _MISSING:
                raise Unpatchable(owner, name)
            # 500 tests set the same patches 500 times: a replacement is made once for each original
            made_of, replacement = self._made.get((id(owner), name), (_MISSING, None))
            if made_of is not original:
                replacement = make(original)
                self._made[id(owner), name] = original, replacement
            setattr(owner, name, replacement)
            self._set.append((owner, name, own, replacement))

    def _roll_back(self) -> None:
        while self._set:
            owner, name, own, replacement = self._set.pop()
            there = vars(owner).get(name)
            if there is not replacement:
                # somebody patched over ours; without a session in play ours only calls the original
                self._beneath[id(owner), name] = own, replacement, there
                continue
            if own is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
        self._done.clear()


class _LateImports:
    """A finder that finds nothing itself: it has a client patched right after its import."""

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._busy = threading.local()

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not self._patches.wants(name) or getattr(self._busy, "name", None) == name:
            return None
        self._busy.name = name
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._busy.name = None
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module
            patches = self._patches

            def exec_module(module: ModuleType) -> None:
                execute(module)
                patches.imported(name)

            loader.exec_module = exec_module
        return spec
