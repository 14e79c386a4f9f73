"""A first run of scaling on made-up data."""

import numpy as np

from braggscale.fit.fit_scales import FitSettings
from braggscale.scaling.state import RoundSettings, Start

FIT = FitSettings(
    first_order=True,
    full_matrix=True,
    max_iterations=None,
    full_matrix_max_iterations=None,
    tolerance=1e-4,
)


SETTINGS = RoundSettings(
    intensity_choice="combine",
    midpoints=None,
    error_model="basic",
    error_a=None,
    error_b=None,
    refine_errors=True,
    min_photons=25.0,
    n_bins=10,
    method="standard",
    zmax=6.0,
    emax=None,
    fit=FIT,
)


def first_run(work):
    return Start(work.model.null(), np.zeros(len(work.model.data_sets), bool))
