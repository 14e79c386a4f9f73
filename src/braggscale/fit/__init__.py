"""One fit of the scales: the least-squares problem, its solvers and the strengths of restraints."""
