"""`marketreplay backup ...`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pytest_marketreplay.errors import DocumentError, UsageMistake

if TYPE_CHECKING:
    from pytest_marketreplay.archive.naming import SnapshotName
    from pytest_marketreplay.archive.remote import Listed
    from pytest_marketreplay.cli.backup_settings import Given

F = TypeVar("F", bound=Callable[..., Any])

_to = click.option(
    "--to",
    metavar="REMOTE",
    help="Where to: a folder, gdrive:backups of rclone, :webdav,url=...:path, or the URL of a WebDAV folder.",
)
_label = click.option("--label", help="Whose snapshots; by default the host's name and that of the tree's folder.")
_keep = click.option("--keep", type=int, help="How many snapshots are kept; by default 7.")
_keep_min = click.option(
    "--keep-min", type=int, help="How many verified snapshots there must be at any time; by default 2."
)
_timeout = click.option("--timeout", help="How long the remote may be silent: 30s, 5m; by default 60s.")
_state_dir = click.option(
    "--state-dir",
    type=click.Path(),
    help="Folder of what is known of backups; by default $XDG_STATE_HOME/marketreplay, or ~/.local/state/marketreplay.",
)
_config = click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="File with these settings; by default marketreplay.toml [backup] or pyproject.toml [tool.marketreplay.backup].",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
_tree = click.argument("tree", required=False, type=click.Path())


def _all(*options: Callable[[F], F]) -> Callable[[F], F]:
    def put(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return put


@click.group()
def backup() -> None:
    """Keep whole, read-back snapshots of a tree on any remote that rclone reaches.

    Passwords belong into the environment (RCLONE_CONFIG_NAME_PASS, obscured) or into rclone's own configuration.
    """


@backup.command()
@_all(_tree, _to, _label, _keep, _keep_min, _timeout, _state_dir, _config, _as_json)
def run(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Pack TREE, upload it, read it back, publish it, and let old snapshots go; TREE is `captures` by default.

    Exit codes: 0 the snapshot is there and whole, 1 it is not, or old ones could not be deleted, 2 the command was wrong,
    3 another backup of this label is running.

    \b
    Example:
      marketreplay backup run captures --to gdrive:backups
    """
    from pytest_marketreplay.cli import backup_live

    given = _given(config, flags)
    _end_at_sigterm()
    with backup_live.Bars() as bars:
        made = given.backup(tree=True).run(bars.watch)
    if as_json:
        _print_json(backup_live.made_plain(made))
    else:
        click.echo("\n".join(backup_live.made_lines(made)))


@backup.command()
@_all(_tree, _to, _label, _keep, _keep_min, _timeout)
@click.option("--every", help="How often: 24h, 6h, 7d; by default 24h.")
@click.option(
    "--metrics-port", type=int, help="Serve Prometheus metrics and /healthz on this port; 0 takes a free one."
)
@click.option("--metrics-host", help="Address that the metrics are served at; by default 127.0.0.1.")
@_all(_state_dir, _config)
def schedule(config: Path | None, **flags: Any) -> None:
    """Make a backup of TREE every so often, until Ctrl-C or SIGTERM; what fails is said, and tried again.

    After a restart the rest of the interval is waited out.

    \b
    Example:
      marketreplay backup schedule captures --to gdrive:backups --every 24h
    """
    from pytest_marketreplay.cli import backup_schedule

    backup_schedule.run(_given(config, flags))


@backup.command(name="list")
@_all(_to, _label, _timeout, _config, _as_json)
def list_(config: Path | None, as_json: bool, **flags: Any) -> None:
    """List the snapshots on a remote, newest first; of one label, or of all.

    \b
    Example:
      marketreplay backup list --to gdrive:backups
    """
    from pytest_marketreplay.cli import backup_live

    given = _given(config, {**flags})
    found = _snapshots(given.remote().list(), flags["label"])
    if as_json:
        _print_json(
            [
                {"file": name.file, "short": name.short, "size_bytes": size_bytes, **name._asdict()}
                for name, size_bytes in found
            ]
        )
        return
    for name, size_bytes in found:
        click.echo(f"{name.short}  {backup_live.utc(name.created_s)}  {backup_live.size(size_bytes)}  {name.file}")
    if not found:
        click.echo("no snapshots")


@backup.command()
@click.argument("snapshots", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All snapshots, not only the newest of each label.")
@_all(_to, _label, _timeout, _state_dir, _config, _as_json)
def verify(snapshots: tuple[str, ...], every: bool, config: Path | None, as_json: bool, **flags: Any) -> None:
    """Read SNAPSHOTS back, whole, and compare their SHA-256; without names, the newest of each label. Exit 1 for damage.

    \b
    Example:
      marketreplay backup verify --to gdrive:backups --all
    """
    from pytest_marketreplay.cli import backup_live

    given = _given(config, flags)
    remote = given.remote()
    chosen = _chosen([name for name, _ in _snapshots(remote.list(), flags["label"])], snapshots, every)
    found: dict[str, str] = {}
    with backup_live.Bars() as bars:
        for label in dict.fromkeys(name.label for name in chosen):
            of_label = [name for name in chosen if name.label == label]
            found |= given.backup(label=label, remote=remote).verify(of_label, bars.watch)
    if as_json:
        _print_json([{"file": file, "ok": not wrong, "error": wrong} for file, wrong in found.items()])
    else:
        for file, wrong in found.items():
            click.echo(f"damaged   {file}: {wrong}" if wrong else f"verified  {file}")
    if not found:
        click.echo("no snapshots", err=True)
    if not found or any(found.values()):
        sys.exit(1)


@backup.command()
@_all(_tree, _to, _label, _keep, _keep_min)
@click.option("--dry-run", is_flag=True, help="Delete nothing; tell what would go.")
@_all(_timeout, _state_dir, _config, _as_json)
def prune(config: Path | None, dry_run: bool, as_json: bool, **flags: Any) -> None:
    """Let old snapshots of a label go; the newest verified ones always stay. Where too few are verified, they are read back.

    \b
    Example:
      marketreplay backup prune captures --to gdrive:backups --dry-run
    """
    from pytest_marketreplay.cli import backup_live

    given = _given(config, flags)
    with backup_live.Bars() as bars:
        pruned = given.backup().prune(dry_run=dry_run, watch=bars.watch)
    if as_json:
        _print_json(backup_live.pruned_plain(pruned))
    else:
        click.echo("\n".join([f"{given.label()}:", *backup_live.pruned_lines(pruned, dry_run=dry_run)]))


@backup.command()
@_all(_label, _state_dir, _config, _as_json)
def status(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Tell what is known of backups, without the remote; exit 1 where the last try failed or there was none.

    \b
    Example:
      marketreplay backup status --json
    """
    from pytest_marketreplay.archive.state import state_document
    from pytest_marketreplay.cli import backup_live
    from pytest_marketreplay.documents import default_state_dir

    folder = (_given(config, flags).state_dir() or default_state_dir()) / "backups"
    states, unread = [], False
    for path in sorted({folder / each.name.removesuffix(".bak") for each in folder.glob("*.json*")}):
        if path.suffix != ".json":
            continue  # locks, and what is being worked at
        try:
            state = state_document(path).load()
        except DocumentError as error:
            click.echo(f"marketreplay: {error}", err=True)
            unread = True
            continue
        if state is not None and flags["label"] in (None, state.label):
            states.append(state)
    if as_json:
        import msgspec

        _print_json(msgspec.to_builtins(states))
    else:
        click.echo("\n".join(line for state in states for line in backup_live.state_lines(state)) or "no backups")
    if unread or not states or any(state.last_error or state.last_backup_ms is None for state in states):
        sys.exit(1)


def _given(config: Path | None, flags: dict[str, Any]) -> Given:
    from pytest_marketreplay.cli.backup_settings import Given

    return Given.of(config, **flags)


def _snapshots(listing: list[Listed], label: str | None) -> list[tuple[SnapshotName, int]]:
    from pytest_marketreplay.archive.naming import read_name

    found = [(name, each.size_bytes) for each in listing if (name := read_name(each.name)) is not None]
    return sorted((pair for pair in found if label in (None, pair[0].label)), reverse=True)


def _chosen(names: list[SnapshotName], wanted: tuple[str, ...], every: bool) -> list[SnapshotName]:
    """Return the snapshots that are meant, each once. Raises UsageMistake for one that is not there."""
    if not wanted:
        return names if every else [max(of for of in names if of.label == label) for label in {n.label for n in names}]
    out = []
    for text in wanted:
        found = [name for name in names if text in (name.file, name.short)]
        if len(set(found)) != 1:
            raise UsageMistake(
                f"{len(set(found))} snapshots there are named {text!r}; marketreplay backup list tells their names"
            )
        out.append(found[0])
    return list(dict.fromkeys(out))


def _end_at_sigterm() -> None:
    """Let SIGTERM end as Ctrl-C does, so that rclone is ended too."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _print_json(value: Any) -> None:
    import orjson

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
