"""What may be asked of the program: the options, their grammar, values and names."""
