"""Interception: the only place where clients are patched, at class level, under the real client objects."""
