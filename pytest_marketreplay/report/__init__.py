"""The quality of a capture: figures of every pair, goals, and three ways to look at them."""
