"""What was measured and which of it is used: experiments, tables, symmetry, unique reflections, exclusions."""
