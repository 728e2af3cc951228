"""Towers; the file name is the name in a config."""
