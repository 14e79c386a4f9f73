"""A run: plan, models, rounds and result."""
