"""How much an observation counts: intensities, variances, the error model and outliers."""
