"""A first run of scaling on made-up data."""

import numpy as np

from braggscale.fit.solver import FitSettings
from braggscale.scaling.state import RoundSettings, Start
from braggscale.weighting.error_model import ErrorModelOptions
from braggscale.weighting.outlier_test import OutlierOptions

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
    errors=ErrorModelOptions(min_photons=25.0),
    outliers=OutlierOptions("standard", 6.0),
    fit=FIT,
)


def first_run(work):
    return Start(work.model.null(), np.zeros(len(work.model.data_sets), bool))
