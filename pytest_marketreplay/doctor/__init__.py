"""The health of trees, sessions, sinks and backups: each finding with its cure (docs/reference/doctor.md)."""

from pytest_marketreplay.doctor.codes import CODES as CODES
from pytest_marketreplay.doctor.examining import examine as examine
from pytest_marketreplay.doctor.health import Finding as Finding
from pytest_marketreplay.doctor.health import Fix as Fix
from pytest_marketreplay.doctor.health import Health as Health
from pytest_marketreplay.doctor.health import Limits as Limits
