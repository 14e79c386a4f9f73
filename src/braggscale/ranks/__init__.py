"""Scaling of very many crystals: rows stay on the rank that has read them, only sums per unique reflection travel."""
