"""Every code that a finding can have, with its severities and what it says; docs/reference/doctor.md has the same."""

from __future__ import annotations

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)

CODES: dict[str, tuple[tuple[str, ...], str]] = {
    # of trees
    "tree-missing": ((ERROR,), "the folder is not there"),
    "tree-empty": ((WARNING,), "nothing is stored in it"),
    "unreadable": ((ERROR,), "a file or folder cannot be read"),
    "not-checked": ((WARNING,), "files were not looked into, since something that it takes is not there"),
    "damaged-line": ((ERROR,), "lines of a file are no entries"),
    "torn-tail": ((WARNING,), "the last line of a file was cut off by a kill"),
    "sealed-damaged": ((ERROR,), "a sealed file cannot be unpacked"),
    "sealing-unfinished": ((WARNING,), "a file and its sealed copy are both there"),
    "twins-differ": ((ERROR,), "a file and its sealed twin hold different things, and only the plain one is read"),
    "size-jump": ((WARNING,), "a file or a day is far from the median of its neighbours"),
    "tree-stale": ((WARNING,), "the newest entry is older than `--max-age`"),
    "future-entry": ((WARNING,), "an entry has a time that is still to come"),
    "disk-low": ((ERROR,), "less is free than `--min-free`"),
    "disk-filling": ((WARNING,), "at its growth the disk is full within `--min-days`"),
    "permission": ((WARNING, NOTE), "more people may read or write than should"),
    "secret": ((ERROR, WARNING), "what looks like a credential stands in a cassette"),
    "leftover": ((WARNING, NOTE), "what a killed process was just making"),
    "kept-aside": ((NOTE,), "bytes that a repair kept aside"),
    "symlink": ((NOTE,), "a symbolic link, which is not followed"),
    # of sinks
    "parquet-damaged": ((ERROR,), "a Parquet file cannot be read"),
    "wal-left": ((WARNING,), "a log that nobody writes was not made a Parquet file"),
    "wal-damaged": ((ERROR,), "lines of such a log cannot be read"),
    "retention": ((WARNING,), "files are older than `--retain`"),
    # of documents and sessions
    "document-damaged": ((WARNING,), "a document is damaged or gone, and its backup is whole"),
    "document-spare-damaged": ((WARNING,), "the backup of a document is damaged"),
    "document-unreadable": ((ERROR,), "neither a document nor its backup can be read"),
    "session-crashed": ((ERROR,), "the process of a session is gone, and did not end in order"),
    "session-silent": ((ERROR,), "a session gives no heartbeat"),
    "session-failed": ((ERROR,), "a session could not go on, or could not write everything"),
    "session-stale": ((NOTE,), "a session's folder that nobody needs any more"),
    "gap-undeclared": ((WARNING,), "since a crash nothing was captured, and no gap says so"),
    # of backups
    "backup-never": ((ERROR,), "there is no backup"),
    "backup-old": ((ERROR,), "the last backup is older than `--max-backup-age`"),
    "backup-unverified": ((ERROR,), "no backup was read back within `--max-verified-age`"),
    "backup-failing": ((WARNING, ERROR), "the last backups failed"),
    "remote-failed": ((ERROR,), "the remote cannot be listed"),
    "snapshot-missing": ((ERROR,), "the last snapshot is not on the remote"),
    "snapshot-size": ((ERROR,), "the last snapshot has another size on the remote"),
    "snapshot-future": ((WARNING,), "a snapshot's name tells a time that is still to come"),
    "snapshot-duplicate": ((WARNING,), "a name is on the remote more than once"),
    "part-orphaned": ((WARNING,), "an upload that never ended"),
    "foreign-file": ((NOTE,), "a file on the remote that is no snapshot"),
}
