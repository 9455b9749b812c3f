"""The quality of a capture: completeness, gaps, latency, spread and size; for a terminal, as JSON and as a page."""
