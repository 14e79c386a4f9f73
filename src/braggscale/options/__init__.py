"""The options of the program: their grammar, values and names."""
