"""A run from chosen data to its result: plan, models, rounds."""
