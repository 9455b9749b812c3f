"""Replay: which recorded answer a request gets, and what a recording keeps of a live one."""
