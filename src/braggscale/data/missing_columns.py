"""Calculates columns that a table lacks from the geometry: diffracted beams, and the Lorentz-polarisation factor.

The Lorentz factor of a reflection that passes the sphere of reflection by rotation about e (Kabsch, Acta Cryst. D66
(2010) 125, eq. 13) and the polarisation factor of a beam with fraction p in the plane of normal n are

    1/L = |e . (s1 x s0)| / (|s1| |s0|)
    P   = (1 - 2p) (1 - (n . s1)^2 / |s1|^2) + p (1 + (s0 . s1)^2 / (|s0|^2 |s1|^2))

and the factor that brings an intensity to the square of its structure factor is lp = 1/(L P); for stills 1/P.
"""

from __future__ import annotations

import numpy as np

from braggscale.data.experiment import Experiment
from braggscale.data.geometry import unit
from braggscale.numerics.array_types import Array, Float

# If a polarisation or Lorentz factor is below this, the reflection is on the rotation axis, or the geometry is wrong.
_LEAST = 1e-6


def diffracted_beams(experiment: Experiment, xyz: Float, panel: Array | None) -> Float | None:
    """s1 from positions on the detector, of length 1/wavelength, (n, 3); None where the detector is not known.

    ``xyz``: pixels, pixels, image, (n, 3).  ``panel``: (n,), None for a detector of one panel.  The depth at which
    photons are absorbed in the sensor is neglected.
    """
    panels = experiment.panels
    if not panels or (panel is None and len(panels) > 1):
        return None
    number = np.zeros(len(xyz), np.int64) if panel is None else np.clip(panel.astype(np.int64), 0, len(panels) - 1)
    origin = np.array([p.origin for p in panels])[number]
    fast = np.array([p.fast * p.pixel_size[0] for p in panels])[number]
    slow = np.array([p.slow * p.pixel_size[1] for p in panels])[number]
    place = origin + xyz[:, :1] * fast + xyz[:, 1:2] * slow
    length = np.linalg.norm(place, axis=1, keepdims=True)
    beams: Float = np.divide(place, length, out=np.zeros_like(place), where=length > 0)
    return beams / experiment.beam.wavelength


def lorentz_polarisation(experiment: Experiment, s1: Array) -> Float:
    """lp of each reflection, (n,); 0 where s1 is zero.  ``s1``: of any length, (n, 3)."""
    beam = np.asarray(s1, np.float64)
    length = np.linalg.norm(beam, axis=1, keepdims=True)
    known = np.isfinite(length[:, 0]) & (length[:, 0] > 0)
    out = np.divide(beam, length, out=np.zeros_like(beam), where=known[:, None])
    into = -experiment.beam.direction
    share = experiment.beam.polarisation_fraction
    across = out @ np.array(experiment.beam.polarisation_normal)
    cosine = out @ into
    polarisation = (1.0 - 2.0 * share) * (1.0 - across**2) + share * (1.0 + cosine**2)
    inverse_lorentz = np.ones(len(out))
    goniometer = experiment.goniometer
    if not experiment.is_still and goniometer is not None:
        axis = goniometer.setting @ unit(goniometer.axis)
        inverse_lorentz = np.abs(np.cross(out, into) @ axis)
    factor: Float = np.where(known & (polarisation > _LEAST), inverse_lorentz / np.maximum(polarisation, _LEAST), 0.0)
    return factor
