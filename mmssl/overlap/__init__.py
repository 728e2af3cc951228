"""Whose and which images two stores or checkpoints have in common."""
