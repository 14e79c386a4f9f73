"""The weight of an observation: choice of intensities, variances, error model and outliers."""
