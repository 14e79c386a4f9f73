"""The log and its tables."""
