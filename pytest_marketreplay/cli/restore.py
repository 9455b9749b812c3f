"""`marketreplay restore`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_marketreplay.errors import UsageMistake

if TYPE_CHECKING:
    from pytest_marketreplay.archive.restore import Restored
    from pytest_marketreplay.archive.selecting import Snapshot

_SHOWN = 5


@click.command()
@click.argument("snapshot", required=False)
@click.option("--snapshot", "pinned", metavar="SNAPSHOT", help="The same as the argument.")
@click.option("--at", metavar="TIME", help="The newest snapshot that is not later: 2026-11-28T08:00:00Z.")
@click.option(
    "--from",
    "remote",
    required=True,
    metavar="REMOTE",
    help="Where the snapshots are: a folder, or as rclone writes it, gdrive:backups.",
)
@click.option("--to", "target", type=click.Path(path_type=Path), metavar="DIR", help="Folder to restore to.")
@click.option("--label", help="Whose snapshots, where there are several trees on the remote.")
@click.option("--venue", multiple=True, help="Restore this venue only; several times.")
@click.option(
    "--endpoint", multiple=True, help="Restore this endpoint only, /api/v3/depth or api_v3_depth; several times."
)
@click.option("--symbol", multiple=True, help="Restore this symbol only; several times.")
@click.option("--merge", is_flag=True, help="Keep what is in the folder, and add what is missing.")
@click.option("--overwrite", is_flag=True, help="Replace what is in the folder; with --merge, only files that differ.")
@click.option(
    "--if-changed",
    is_flag=True,
    help="Do nothing where the folder already holds the snapshot, and replace an older one.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be restored, and write nothing.")
@click.option("--verify-only", is_flag=True, help="Read the snapshot back and check all of it; --to is not needed.")
@click.option("--list", "as_list", is_flag=True, help="List the snapshots, the newest first; --to is not needed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def restore(
    snapshot: str | None,
    pinned: str | None,
    at: str | None,
    remote: str,
    target: Path | None,
    label: str | None,
    venue: tuple[str, ...],
    endpoint: tuple[str, ...],
    symbol: tuple[str, ...],
    merge: bool,
    overwrite: bool,
    if_changed: bool,
    dry_run: bool,
    verify_only: bool,
    as_list: bool,
    as_json: bool,
) -> None:
    """Restore a tree, or a part of it, from a snapshot: the latest, the newest up to a time, or the one that is named.

    A snapshot is named by its file, its short name, or six digits or more of one of its digests. All of it is checked before
    the folder is touched; then the tree takes its place in one step. Exit codes: 0 done, 1 it failed (a damaged snapshot, a
    remote that does not answer), 2 refused or wrong use, 3 a collector writes the folder. What stood there is as it was
    after each but 0.

    \b
    Example:
      marketreplay restore latest --from gdrive:backups --to captures --venue binance --symbol BTCUSDT
    """
    from pytest_marketreplay.archive import restore as work
    from pytest_marketreplay.archive.rclone import RcloneRemote
    from pytest_marketreplay.archive.selecting import LATEST, Parts
    from pytest_marketreplay.cli.backup_live import Bars
    from pytest_marketreplay.config import moment_ns

    if snapshot is not None and pinned is not None:
        raise UsageMistake(f"{snapshot!r} and --snapshot {pinned!r} are both given: leave one of them out")
    place = RcloneRemote(remote)
    if as_list:
        _show_list(work.listing(place, label), as_json)
        return
    wanted = work.Wanted(
        snapshot=snapshot or pinned or LATEST,
        at_ns=None if at is None else moment_ns(at, "--at"),
        label=label,
        parts=Parts(venue, endpoint, symbol),
        merge=merge,
        overwrite=overwrite,
        if_changed=if_changed,
        dry_run=dry_run,
    )
    with Bars() as bars:
        progress = partial(bars.watch, "restoring")
        if verify_only:
            done = work.verify(place, wanted, progress)
        elif target is None:
            raise UsageMistake("say where to restore to with --to DIR; --list and --verify-only need none")
        else:
            done = work.restore(place, target, wanted, progress)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(done), indent=2).decode())
    else:
        _show(done)


def _show_list(found: list[Snapshot], as_json: bool) -> None:
    if as_json:
        import msgspec

        rows = [
            {
                "file": each.name.file,
                "short": each.name.short,
                "label": each.name.label,
                "created_s": each.name.created_s,
                "size_bytes": each.size_bytes,
                "manifest": each.name.manifest,
                "archive": each.name.archive,
            }
            for each in reversed(found)
        ]
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return
    from pytest_marketreplay.cli.backup_live import size, utc

    for each in reversed(found):
        click.echo(f"{each.name.short}  {utc(each.name.created_s)}  {size(each.size_bytes)}")
    if not found:
        click.echo("no snapshots")


def _show(done: Restored) -> None:
    from pytest_marketreplay.cli.backup_live import size

    for short in done.from_the_future:
        click.echo(f"passed over, since it is from the future: {short}", err=True)
    what = (
        "its files are known only after a download"
        if done.files is None
        else f"{done.files} files, {size(done.size_bytes or 0)}"
    )
    click.echo(
        {
            "unchanged": f"{done.target} holds {done.snapshot} already",
            "planned": f"would restore {done.snapshot} to {done.target}: {what}",
            "verified": f"{done.snapshot} is whole: {what}",
            "restored": f"restored {done.snapshot} to {done.target}: {what}",
        }[done.action]
    )
    if done.kept or done.replaced:
        click.echo(f"{done.kept} files were there already, {done.replaced} with other bytes")
    if done.fetched_bytes is not None and done.action == "restored":
        click.echo(f"read {size(done.fetched_bytes)} of an archive of {size(done.archive_bytes)}")
    if done.foreign:
        more = f" and {len(done.foreign) - _SHOWN} more" if len(done.foreign) > _SHOWN else ""
        click.echo(f"no cassette files: {', '.join(done.foreign[:_SHOWN])}{more}", err=True)
    if done.left is not None:
        click.echo(f"could not be removed, remove it by hand: {done.left}", err=True)
