"""`marketreplay doctor`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytest_marketreplay.errors import UsageMistake

if TYPE_CHECKING:
    from pytest_marketreplay.doctor.health import Health

_DEFAULT = ("captures", "cassettes")
_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("paths", type=_PATH, nargs=-1)
@click.option("--remote", help="Remote of rclone whose snapshots are looked at too; with --label.")
@click.option("--label", help="Whose snapshots on the remote.")
@click.option(
    "--state-dir",
    type=_PATH,
    help="Folder of all sessions and backups; by default $XDG_STATE_HOME/marketreplay, or ~/.local/state/marketreplay.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
@click.option("--fix", is_flag=True, help="Mend what can be mended without the loss of a byte.")
@click.option("--max-age", help="How old the newest entry of a tree may be: 1h; by default it is only told.")
@click.option("--max-backup-age", default="48h", show_default=True, help="How old the last backup may be.")
@click.option(
    "--max-verified-age", default="14d", show_default=True, help="How old the last one that was read back may be."
)
@click.option("--min-free", default="10%", show_default=True, help="What of the disk must be free: a share, or 20GB.")
@click.option(
    "--min-days", type=float, default=7.0, show_default=True, help="For how many days of growth there must be room."
)
@click.option("--retain", help="How long the capture keeps files: 7d, 36h; older ones are told.")
@click.option(
    "--size-factor",
    type=float,
    default=10.0,
    show_default=True,
    help="How far from its neighbours a day or file may be.",
)
@click.option("--metrics-file", type=_PATH, help="Write metrics for the node exporter into this file, NAME.prom.")
def doctor(
    paths: tuple[Path, ...],
    remote: str | None,
    label: str | None,
    state_dir: Path | None,
    as_json: bool,
    fix: bool,
    max_age: str | None,
    max_backup_age: str,
    max_verified_age: str,
    min_free: str,
    min_days: float,
    retain: str | None,
    size_factor: float,
    metrics_file: Path | None,
) -> None:
    """Examine trees, sessions, sinks and backups: each finding with its cure; exit 1 where something is wrong.

    PATHS are trees or folders of cassettes; by default `captures` and `cassettes` here, where they are. Nothing is changed
    without --fix. Exit codes: 0 nothing but notes, 1 errors or warnings, 2 the command was wrong.

    \b
    Example:
      marketreplay doctor captures --max-age 1h --remote gdrive:backups --label prod
    """
    from pytest_marketreplay.cli.progress import progress
    from pytest_marketreplay.collect import durations
    from pytest_marketreplay.doctor import exposing
    from pytest_marketreplay.doctor.examining import examine
    from pytest_marketreplay.doctor.health import Limits

    share, at_least = _free(min_free)
    if not size_factor > 1:
        raise UsageMistake(f"--size-factor is {size_factor:g}; it is more than 1")
    limits = Limits(
        max_age_s=None if max_age is None else durations.seconds(max_age, "--max-age"),
        max_backup_age_s=durations.seconds(max_backup_age, "--max-backup-age"),
        max_verified_age_s=durations.seconds(max_verified_age, "--max-verified-age"),
        min_free_share=share,
        min_free_bytes=at_least,
        min_days=min_days,
        size_factor=size_factor,
        retain_s=None if retain is None else durations.seconds(retain, "--retain"),
    )
    trees = paths or tuple(path for path in map(Path, _DEFAULT) if path.is_dir())
    with progress("examining", 0, unit_bytes=True) as advance:
        health = examine(
            trees, state_dir=state_dir, remote=remote, label=label, limits=limits, fix=fix, advance=advance
        )
    if metrics_file is not None:
        exposing.write(health, metrics_file)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(health), indent=2).decode())
    else:
        _tell(health)
    if not health.is_good:
        sys.exit(1)


def _free(text: str) -> tuple[float, int]:
    """Read `10%` or `20GB`. Raises UsageMistake."""
    from pytest_marketreplay.collect import durations

    if not text.endswith("%"):
        return 0.0, durations.size_bytes(text, "--min-free")
    try:
        share = float(text[:-1]) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageMistake(f"--min-free is {text!r}; it can be 10% or 20GB")
    return share, 0


def _tell(health: Health) -> None:
    from pytest_marketreplay.cli.survey import when
    from pytest_marketreplay.doctor.codes import SEVERITIES

    for fix in health.fixes:
        click.echo(f"fixed {fix.code}: {fix.where}: {fix.what}")
    for severity in SEVERITIES:
        for finding in health.findings:
            if finding.severity == severity:
                click.echo(f"{severity} {finding.code}: {finding.where}: {finding.what}\n    {finding.cure}")
    if health.left_out:
        click.echo(f"and {health.left_out} more findings of the same codes")
    for tree in health.trees:
        room = f", full in {tree.days_until_full:.0f} days" if tree.days_until_full is not None else ""
        written = ", being written" if tree.is_written else ""
        click.echo(
            f"tree {tree.path}: {tree.files} files, {tree.entries} entries, {tree.size_bytes / 1e6:.1f} MB, "
            f"newest {when(tree.newest_ms)}, {tree.free_bytes / 1e9:.1f} GB free{room}{written}"
        )
    if health.sessions:
        click.echo("sessions: " + ", ".join(f"{count} {how}" for how, count in sorted(health.sessions.items())))
    for backup in health.backups:
        click.echo(
            f"backups {backup.label} on {backup.remote}: last {when(backup.last_backup_ms)}, "
            f"verified {when(backup.last_verified_ms)}"
        )
    counts = {severity: sum(each.get(severity, 0) for each in health.counts.values()) for severity in SEVERITIES}
    fixed = f", {sum(health.fixed.values())} fixed" if health.fixed else ""
    click.echo(", ".join(f"{count} {severity}s" for severity, count in counts.items()) + fixed)
