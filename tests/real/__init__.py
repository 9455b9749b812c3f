"""What real exchanges said, recorded from a loopback server and replayed by every client."""
