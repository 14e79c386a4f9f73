"""The measured data and the choice of what is used: experiments, tables, symmetry, unique reflections, exclusions."""
