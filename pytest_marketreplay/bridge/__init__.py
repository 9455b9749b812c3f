"""The bridge for those who come from vcrpy: import its cassettes, or keep its recordings in our tree; only here is vcr imported."""
