"""Parts of run.py: what is run, how it is measured, what the machine could do, and the table."""
