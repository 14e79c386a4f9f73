"""Merging, and the statistics that judge merged intensities."""
