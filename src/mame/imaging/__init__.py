"""Pixels only: NumPy in and out, no files, no torch."""
