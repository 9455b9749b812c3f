"""Backup and restore: one self-contained ZIP of a tree, on any remote that rclone reaches."""
