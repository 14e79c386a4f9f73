"""A second way from the expected number of photons to intensities: counts of every pixel, integrated.

``recording.record`` draws an intensity from the distribution that an integration program should give.  Here the
photons of each pixel of the box are drawn, and two estimates of the intensity are computed from them:

    background  b, the mean of the m pixels outside of the spot
    summation   I = sum c - n b over the n pixels of the foreground, variance |I| + n b (1 + n/m)
    profile     I = sum P (c - b)/v / sum P^2/v with v = b + max(I, 0) P, repeated until it is the fit of greatest
                likelihood; variance 1 / sum P^2/v + (sum P/v / sum P^2/v)^2 b/m

c are the counts of a pixel and P is the profile that the program knows: narrower than the spots by ``NARROWER``, as
if it had been learned from strong reflections elsewhere.  So profile intensities of weak reflections are too low by
2 % and those of strong ones are not, sum and profile share the noise that they really share, and the variance of a
profile is neither a straight line in the intensity nor grows with the size of a negative one.
"""

from __future__ import annotations

import numpy as np

from braggscale.numerics.array_types import Bool, Float
from simulation.recording import BOX, Noise, Recorded, expected_photons

WIDTH = 1.2  # standard deviation of a spot, pixels
NARROWER = 0.02
FOREGROUND_RADIUS, BACKGROUND_RADIUS = 3.3, 4.8  # pixels
CHUNK = 20_000  # rows at a time
FITS = 4


def spots(offset: Float, width: float) -> Float:
    """Shares of the pixels of a box in Gaussian spots, (n, BOX * BOX).  ``offset``: of the centre, pixels, (n, 2)."""
    place = np.arange(BOX) - BOX // 2
    x, y = (np.exp(-0.5 * ((place - offset[:, i, None]) / width) ** 2) for i in (0, 1))
    shares = (y[:, :, None] * x[:, None, :]).reshape(len(offset), -1)
    result: Float = shares / shares.sum(axis=1, keepdims=True)
    return result


def fitted(counts: Float, profile: Float, background: Float, pixels: int) -> tuple[Float, Float]:
    """Profile intensities and their variances, (n,).

    ``counts``: of the foreground, ``profile``: shares of its pixels, (n, k).  ``background``: of a pixel, (n,), a mean
    over ``pixels`` pixels.
    """
    level = np.maximum(background, 0.02)[:, None]
    above = counts - background[:, None]
    intensity = above.sum(axis=1)
    for _ in range(FITS):
        variance = level + np.maximum(intensity, 0.0)[:, None] * profile
        information = (profile**2 / variance).sum(axis=1)
        intensity = (profile * above / variance).sum(axis=1) / information
    share = (profile / variance).sum(axis=1) / information
    return intensity, 1.0 / information + share**2 * level[:, 0] / pixels


def true_variance(full: Float, profile: Float, level: Float, pixels: int) -> Float:
    """Variance of a profile fit at the true intensity and background, (n,); arguments as in ``fitted``."""
    variance = level[:, None] + full[:, None] * profile
    information = (profile**2 / variance).sum(axis=1)
    result: Float = 1.0 / information + ((profile / variance).sum(axis=1) / information) ** 2 * level / pixels
    return result


def integrate(
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
    """One block of reflections; arguments as in ``recording.record``."""
    n = len(full)
    place = np.arange(BOX) - BOX // 2
    radius = np.hypot(place[:, None], place[None, :]).ravel()
    inside, outside = radius <= FOREGROUND_RADIUS, radius >= BACKGROUND_RADIUS
    n_in, n_out = int(inside.sum()), int(outside.sum())
    level = noise.background * np.maximum(degrees, 1e-3) * falloff
    b = noise.instability
    floor = n_in * level * (1 + n_in / n_out)
    sigma_sum = np.sqrt(full * partiality + floor + (b * full * partiality) ** 2)
    middle = spots(np.zeros((1, 2)), WIDTH)[:, inside]
    counting = true_variance(full * partiality, np.repeat(middle, n, axis=0), level, n_out)
    sigma_prf = np.sqrt(counting / partiality**2 + (b * full) ** 2)
    expected, outlier = expected_photons(
        rng, noise, full, partiality, disturbed, sigma_prf if profile else sigma_sum / partiality
    )
    total, estimate, prf, prf_variance = (np.empty(n) for _ in range(4))
    for start in range(0, n, CHUNK):
        part = slice(start, min(start + CHUNK, n))
        offset = rng.uniform(-0.5, 0.5, (len(full[part]), 2))
        counts = rng.poisson(level[part, None] + (expected * partiality)[part, None] * spots(offset, WIDTH))
        estimate[part] = counts[:, outside].mean(axis=1)
        total[part] = counts[:, inside].sum(axis=1)
        known = spots(offset, WIDTH * (1 - NARROWER))[:, inside]
        prf[part], prf_variance[part] = fitted(counts[:, inside].astype(np.float64), known, estimate[part], n_out)
    sum_value = total - n_in * estimate
    sum_variance = np.abs(sum_value) + n_in * estimate * (1 + n_in / n_out)
    integrated = (rng.random(n) >= noise.failed) & on_module
    profiled = integrated & (partiality > 0.1) & profile
    return Recorded(
        np.where(integrated, sum_value, 0.0),
        np.where(integrated, np.maximum(sum_variance, 0.5), 0.0),
        np.where(profiled, prf / partiality, 0.0),
        np.where(profiled, prf_variance / partiality**2, -1.0),
        n_in * estimate,
        n_in * estimate * n_in / n_out,
        np.full(n, float(n_in)),
        sigma_sum,
        sigma_prf,
        np.where(integrated, outlier, 0.0),
        integrated,
        profiled,
    )
