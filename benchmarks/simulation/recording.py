"""From the expected number of photons to what an integration program writes.

With J the expected counts of the full reflection, p its recorded share, N the background under the peak and
r = foreground/background pixels (the background level is estimated from r^-1 times as many pixels):

    summation   I = S + N' - N^,          S ~ Poisson(J p), N' ~ Poisson(N), N^ ~ r Poisson(N / r)
                observed variance |I| + |N^| (1 + r)                     (Leslie, Acta Cryst. D55 (1999) 1696)
    profile     I = (S + rho (N' - N^)) / p: weighting by the profile lets less background in, rho < 1
                observed variance (max(I p, 0) + rho^2 |N^| (1 + r)) / p^2;
                where it is asked for, of the recorded part alone: not divided by p

J itself scatters by the instability: J (1 + b x), x a unit normal. The variances written are those that a program
can compute, from the observed counts; the true ones go to the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from braggscale.numerics.array_types import Bool, Float

FOREGROUND = 24  # pixels per image
BOX = 13  # pixels along each edge of the box on the detector
PROFILE_GAIN = 0.75  # rho


@dataclass(frozen=True, slots=True)
class Noise:
    """``instability``: b.  ``outliers``: share of gross outliers.  ``failed``: share that integration gave up on.

    ``background``: counts per pixel and degree.  ``amplitudes``: smallest and largest outlier, in true sigmas of the
    observation; the logarithm is uniform between them, a quarter is negative where the intensity allows.
    ``recorded_profiles``: profile intensities are made, of stills, too, and are of the recorded part.
    """

    instability: float = 0.02
    outliers: float = 0.01
    failed: float = 0.002
    background: float = 2.0
    amplitudes: tuple[float, float] = (5.0, 60.0)
    recorded_profiles: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """All (n,). Values and variances as an integration program writes them, counts and counts^2.

    ``sigma_sum``, ``sigma_prf``: true standard deviations of the two values.  ``outlier``: its signed amplitude in
    true sigmas, 0 for a good row.  ``integrated``, ``profiled``: whether the values exist.
    """

    sum_value: Float
    sum_variance: Float
    prf_value: Float
    prf_variance: Float
    background: Float
    background_variance: Float
    pixels: Float
    sigma_sum: Float
    sigma_prf: Float
    outlier: Float
    integrated: Bool
    profiled: Bool


def with_loss(seen: Recorded, most: float, outward: Float, across: Float, partiality: Float) -> Recorded:
    """Profile intensities that lose up to ``most`` at high resolution, to one side of the detector and at scan ends.

    ``outward``: (d_min/d)^2, ``across``: place on the detector, 0 to 1, ``partiality``: recorded share, (n,).
    """
    left = 1.0 - most * (0.5 * outward + 0.3 * across + 0.2 * np.minimum(2.0 * (1.0 - partiality), 1.0))
    variance = np.where(seen.profiled, seen.prf_variance * left, seen.prf_variance)
    return replace(seen, prf_value=seen.prf_value * left, prf_variance=variance)


def with_larger_errors(seen: Recorded, summed: Float, profile: Float, factor: float, where: Bool) -> Recorded:
    """Intensities whose deviations from the truth are ``factor`` times as large, unknown to their variances.

    ``summed``, ``profile``: expected values of both intensities, (n,).  ``where``: the rows that are meant, (n,).
    """
    more = np.where(where, factor, 1.0)
    summed, profile = np.where(seen.integrated, summed, 0.0), np.where(seen.profiled, profile, 0.0)
    return replace(
        seen,
        sum_value=summed + more * (seen.sum_value - summed),
        prf_value=profile + more * (seen.prf_value - profile),
    )


def expected_photons(
    rng: np.random.Generator, noise: Noise, full: Float, partiality: Float, disturbed: Float, sigma: Float
) -> tuple[Float, Float]:
    """J with instability, disturbance and gross outliers, and the signed size of these in true sigmas, (n,).

    ``full``: J, ``sigma``: true standard deviation of an observation of J, (n,); the others as in ``record``.
    """
    n = len(full)
    low, high = np.log(noise.amplitudes)
    amplitude = np.exp(rng.uniform(low, high, n))
    negative = (rng.random(n) < 0.25) & (amplitude * sigma < full)
    chosen = (rng.random(n) < noise.outliers) & (partiality > 0.1)
    outlier = np.where(chosen, np.where(negative, -amplitude, amplitude), 0.0)
    scatter = 1 + noise.instability * np.clip(rng.standard_normal(n), -8, 8)
    return np.maximum(full * disturbed * scatter + outlier * sigma, 0), outlier


def record(
    rng: np.random.Generator,
    noise: Noise,
    full: Float,
    partiality: Float,
    degrees: Float,
    falloff: Float,
    disturbed: Float,
    on_module: Bool,
    profile: bool,
) -> Recorded:
    """One block of reflections.

    ``full``: J, (n,).  ``partiality``: recorded share, (n,).  ``degrees``: rotation covered by the box, (n,).
    ``falloff``: background relative to its level at zero angle, (n,).  ``disturbed``: factor on J that is not part of
    the truth (images that went wrong), (n,).  ``on_module``: what is not is not integrated, (n,).
    ``profile``: whether profile intensities are made.
    """
    n = len(full)
    images = np.maximum(degrees, 1e-3)
    level = noise.background * images * falloff * FOREGROUND
    ratio = FOREGROUND / (BOX * BOX - FOREGROUND * 1.6)
    b = noise.instability
    floor = level * (1 + ratio)
    sigma_sum = np.sqrt(full * partiality + floor + (b * full * partiality) ** 2)
    sigma_prf = np.sqrt((full * partiality + PROFILE_GAIN**2 * floor) / partiality**2 + (b * full) ** 2)
    sigma = sigma_prf if profile else sigma_sum / partiality
    expected, outlier = expected_photons(rng, noise, full, partiality, disturbed, sigma)
    signal = rng.poisson(expected * partiality).astype(np.float64)
    under = rng.poisson(level)
    estimate: Float = rng.poisson(level / ratio).astype(np.float64) * ratio
    excess = under - estimate
    sum_value = signal + excess
    sum_variance = np.abs(sum_value) + estimate * (1 + ratio)
    prf_value = (signal + PROFILE_GAIN * excess) / partiality
    prf_variance = np.abs(prf_value * partiality) + PROFILE_GAIN**2 * estimate * (1 + ratio)
    prf_variance = np.maximum(prf_variance, 0.5) / partiality**2
    integrated = (rng.random(n) >= noise.failed) & on_module
    profiled = integrated & (partiality > 0.1) & (profile or noise.recorded_profiles)
    if noise.recorded_profiles:
        prf_value, prf_variance = prf_value * partiality, prf_variance * partiality**2
    return Recorded(
        np.where(integrated, sum_value, 0.0),
        np.where(integrated, np.maximum(sum_variance, 0.5), 0.0),
        np.where(profiled, prf_value, 0.0),
        np.where(profiled, prf_variance, -1.0),
        estimate,
        estimate * ratio,
        np.full(n, float(FOREGROUND)),
        sigma_sum,
        sigma_prf,
        np.where(integrated, outlier, 0.0),
        integrated,
        profiled,
    )
