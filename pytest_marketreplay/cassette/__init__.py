"""The cassette format: a tree of JSONL files; see docs/reference/format.md for the specification."""
