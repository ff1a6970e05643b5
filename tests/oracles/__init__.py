"""Slow and readable NumPy float64 versions of every loss, written from the definitions and from nothing else.

They share no code with the package: no tables, no tiles, no masks, one pixel at a time.
"""
