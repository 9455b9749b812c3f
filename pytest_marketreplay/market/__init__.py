"""What a market is made of, whatever the venue: order books, depth diffs, trades and candles as typed structs."""
