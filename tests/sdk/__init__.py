"""Unmodified SDKs: recorded from the exchange in the box and from real data, replayed with the server gone."""
