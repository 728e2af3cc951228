"""The index, and what it answers."""
