"""Loops over rows and unique reflections that numba compiles, and the folder that keeps them."""
