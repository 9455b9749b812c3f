"""What backups are told to do: flags, and a configuration file of the same names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_marketreplay.config import Table, find_table
from pytest_marketreplay.errors import UsageMistake

if TYPE_CHECKING:
    from pytest_marketreplay.archive.backup import Backup
    from pytest_marketreplay.archive.rclone import RcloneRemote
    from pytest_marketreplay.metrics.backups import BackupMeter

KEYS = {
    "tree": str,
    "to": str,
    "label": str,
    "keep": int,
    "keep-min": int,
    "every": str,
    "timeout": str,
    "state-dir": str,
    "metrics-port": int,
    "metrics-host": str,
}
"""Settings, and what a configuration file can give them."""


def read_file(path: Path | None, folder: Path) -> dict[str, Any]:
    """Return the settings of a configuration file, by the names of the flags; `{}` where there is none.

    Without a path, `marketreplay.toml` of the folder (its table `backup`), then its `pyproject.toml` (the table
    `tool.marketreplay.backup`). Raises UsageMistake.
    """
    found = find_table(path, folder, "backup")
    return {} if found is None else _checked(found)


def _checked(table: Table) -> dict[str, Any]:
    file = table.file
    out = {}
    for key, value in table.values.items():
        name = key.replace("_", "-")
        if name not in KEYS:
            raise UsageMistake(
                f"{file}: [{table.name}] has the unknown key {key!r}; there are {', '.join(sorted(KEYS))}"
            )
        if type(value) is not KEYS[name]:
            kind = "a whole number" if KEYS[name] is int else "a text"
            raise UsageMistake(f"{file}: {key} is {kind}, and is {value!r} there")
        out[name] = value
    return out


class Given(NamedTuple):
    """Settings of one command: those of the file, and the flags, which win."""

    values: dict[str, Any]

    @classmethod
    def of(cls, config: Path | None, **flags: Any) -> Given:
        """Join a configuration file and flags. Raises UsageMistake."""
        values = read_file(config, Path.cwd())
        return cls(values | {name.replace("_", "-"): value for name, value in flags.items() if value is not None})

    def remote(self) -> RcloneRemote:
        """Return where to. Raises UsageMistake."""
        from pytest_marketreplay.archive import rclone

        if not self.values.get("to"):
            raise UsageMistake("no remote is given: --to gdrive:backups, or `to` in the configuration file")
        return rclone.RcloneRemote(self.values["to"], timeout_s=self.seconds("timeout", rclone.TIMEOUT_S))

    def tree(self) -> Path:
        """Return what is backed up; by default the folder that `collect` writes."""
        return Path(self.values.get("tree") or "captures")

    def label(self) -> str:
        """Return whose snapshots: as given, or made from host and tree. Raises UsageMistake."""
        from pytest_marketreplay.archive import backup, naming

        given = self.values.get("label")
        return naming.check_label(given) if given else backup.default_label(self.tree())

    def state_dir(self) -> Path | None:
        """Return where states are kept; None for the usual place."""
        given = self.values.get("state-dir")
        return Path(given) if given else None

    def seconds(self, name: str, default: float) -> float:
        """Return a length of time. Raises UsageMistake."""
        from pytest_marketreplay.collect import durations

        given = self.values.get(name)
        return default if given is None else durations.seconds(str(given), f"--{name}")

    def backup(
        self,
        *,
        tree: bool = False,
        label: str | None = None,
        remote: RcloneRemote | None = None,
        meter: BackupMeter | None = None,
    ) -> Backup:
        """Return the backups of a label; with `tree`, they can be made. Raises UsageMistake."""
        from pytest_marketreplay.archive import backup, retention

        return backup.Backup(
            remote or self.remote(),
            label or self.label(),
            self.tree() if tree else None,
            keep=self.values.get("keep", retention.KEEP),
            keep_min=self.values.get("keep-min", retention.KEEP_MIN),
            state_dir=self.state_dir(),
            meter=meter,
        )
