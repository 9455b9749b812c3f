"""Venues: one small profile for each exchange, found through pluggy; `generic` serves hosts that nobody named."""
