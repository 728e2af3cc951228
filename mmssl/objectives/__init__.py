"""Losses with their heads; the file name is the name in a config."""
