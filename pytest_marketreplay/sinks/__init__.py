"""Where captures are stored: one protocol, one file each."""
