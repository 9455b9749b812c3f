"""The cassette server."""
