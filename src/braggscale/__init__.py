"""Puts the integrated intensities of a diffraction experiment on one common scale."""

__version__ = "0.1.0"
