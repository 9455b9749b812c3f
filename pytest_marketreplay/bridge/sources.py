"""Cassettes of vcrpy as files: which there are, and how they are read without trusting them."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pytest_marketreplay.errors import UsageMistake

SUFFIXES = (".yaml", ".yml", ".json")
_DEEPEST = 100
_TOO_OLD = (
    "it has the format of vcrpy before 1.0. Convert it (the file is overwritten, so keep a copy) with "
    "`python -m vcr.migration FILE`, then import it again; or record it anew"
)


class Unusable(ValueError):
    """A file or an interaction that cannot be imported; `str()` is the reason, without secrets."""


class Skipped(NamedTuple):
    """What was not imported."""

    path: Path
    interaction: int | None
    """From 1, in the order of the file; None: the whole file."""
    reason: str


def find(sources: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files to import, in order, and the other files that stand in the folders beside them.

    A file counts as it is named, a folder stands for all `.yaml`, `.yml` and `.json` files in it and below (hidden
    folders apart), sorted by path. Raises UsageMistake where a source does not exist.
    """
    found: dict[Path, None] = {}
    others = []
    for source in map(Path, sources):
        if source.is_dir():
            within = []
            for folder, inner, names in os.walk(source):
                inner[:] = [name for name in inner if not name.startswith(".")]
                within += [Path(folder, name) for name in names]
            for path in sorted(within):
                if path.suffix.lower() in SUFFIXES:
                    found[path] = None
                else:
                    others.append(path)
        elif source.is_file():
            found[source] = None
        else:
            raise UsageMistake(f"there is no cassette {str(source)!r} to import")
    return list(found), others


def read(path: Path) -> list[Any]:
    """Return the interactions of a cassette as they stand in the file. Raises Unusable, OSError."""
    data = path.read_bytes()
    if not data.strip():
        raise Unusable("the file is empty")
    content = _parse(data)
    if isinstance(content, list) and content and isinstance(content[0], dict) and "request" in content[0]:
        raise Unusable(_TOO_OLD)
    if not isinstance(content, dict):
        raise Unusable("it is not a cassette of vcrpy: there are no interactions in it")
    interactions = content.get("interactions", content.get("http_interactions"))
    if not isinstance(interactions, list):
        raise Unusable("it is not a cassette of vcrpy: there is no list of interactions in it")
    version = content.get("version", 1)
    if version != 1:
        raise Unusable(f"its format has version {str(version)[:20]!r}; version 1 is known")
    return interactions


def _parse(data: bytes) -> Any:
    # YAML is nearly a superset of JSON: not for the \\ud83d\\ude00 by which JSON writes an emoji
    if data.lstrip()[:1] in (b"{", b"["):
        try:
            return json.loads(data)
        except RecursionError as error:
            raise Unusable("it is nested too deeply") from error
        except ValueError as error:
            if data.lstrip()[:1] == b"{" and b'"' in data[:100]:
                raise Unusable(f"it is not JSON: {error}") from error
    return _parse_yaml(data)


def _parse_yaml(data: bytes) -> Any:
    import yaml

    try:
        # libyaml's composer recurses in C: 100,000 brackets end the process, no exception does. Its events do not
        # recurse, and cost a third of the load.
        depth = 0
        for event in yaml.parse(data, Loader=_loader()):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _DEEPEST:
                    raise Unusable("it is nested too deeply")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        return yaml.load(data, Loader=_loader())
    except yaml.constructor.ConstructorError as error:
        if "vcr.request.Request" in str(error):
            raise Unusable(_TOO_OLD) from error
        raise Unusable(f"it holds what is not plain data, and is not trusted: {error.problem}") from error
    except yaml.MarkedYAMLError as error:
        # a limit of libyaml 0.2.6, whose scanner looks ahead of its events
        if "nesting depth" in (error.problem or ""):
            raise Unusable("it is nested too deeply") from error
        where = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise Unusable(f"it is not YAML: {error.problem}{where}") from error
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        if isinstance(error, Unusable):
            raise
        # a ReaderError, a date such as 2020-13-45, a key that is a list
        raise Unusable(f"it is not YAML: {str(error).splitlines()[0]}") from error


@lru_cache(maxsize=1)
def _loader() -> Any:
    """Make a safe loader that also knows the harmless tags of vcrpy's own files: text, tuples, streams as bodies."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader: Any = type("CassetteLoader", (base,), {})

    def text(loader: Any, node: Any) -> Any:
        return loader.construct_scalar(node)

    def pairs(loader: Any, node: Any) -> Any:
        return tuple(loader.construct_sequence(node, deep=True))

    def stream(loader: Any, node: Any) -> Any:
        state = loader.construct_mapping(node, deep=True).get("state") or (b"",)
        content = state[0] if isinstance(state, list | tuple) and state else b""
        if not isinstance(content, str | bytes):
            raise yaml.constructor.ConstructorError(None, None, "a stream that holds no bytes", node.start_mark)
        return io.BytesIO(content.encode() if isinstance(content, str) else content)

    def chunks(loader: Any, node: Any) -> Any:
        arguments: Any = loader.construct_mapping(node, deep=True).get("args") or ([],)
        return arguments[0] if isinstance(arguments, list | tuple) else []

    prefix = "tag:yaml.org,2002:python/"
    loader.add_constructor(prefix + "str", text)
    loader.add_constructor(prefix + "unicode", text)
    loader.add_constructor(prefix + "tuple", pairs)
    loader.add_constructor(prefix + "object/new:_io.BytesIO", stream)
    loader.add_constructor(prefix + "object/apply:builtins.iter", chunks)
    return loader
