"""Parts of the simulator: each module is one piece of the experiment, from lattice to counts to files."""
