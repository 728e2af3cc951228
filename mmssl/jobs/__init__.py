"""Whole jobs over everything else."""
