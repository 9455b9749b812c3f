"""What goes wrong on purpose: rate limits, errors, timeouts, lost connections, gaps, by rule, by count or seeded."""

from pytest_marketreplay.replay.faults.injector import Faults
from pytest_marketreplay.replay.faults.plan import KINDS, Fault, Injected

__all__ = ["KINDS", "Fault", "Faults", "Injected"]
