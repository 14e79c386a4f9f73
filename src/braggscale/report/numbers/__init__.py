"""Calculates the numbers of the summary from the result of a run, one module for each topic."""
