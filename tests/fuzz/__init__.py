"""Damaged inputs of every kind, and what the program must do with them."""
