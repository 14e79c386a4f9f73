"""Damaged inputs of every kind, and checks of the program's response."""
