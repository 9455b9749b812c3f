"""A whole strategy: polls, streams, sleeps and timeouts on one clock, the same in every run."""
