"""Merged intensities and French-Wilson amplitudes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from braggscale.data.index_order import sort_order
from braggscale.data.symmetry import Symmetry
from braggscale.statistics.french_wilson import amplitudes, french_wilson, posterior, wilson_prior
from braggscale.statistics.merging import hash_indices, merge
from braggscale.statistics.merging_statistics import Unmerged, merging_statistics

CELL = (31.0, 43.0, 57.0, 90.0, 90.0, 90.0)
P222, P212121, P1BAR = (Symmetry.from_hall(h) for h in (" P 2 2", " P 2ac 2ab", "-P 1"))


def observations(seed=0, n=4000, largest=7):
    rng = np.random.default_rng(seed)
    hkl = rng.integers(-largest, largest + 1, (n, 3)).astype(np.int32)
    hkl = hkl[hkl.any(axis=1)]
    sigma = rng.uniform(1, 9, len(hkl))
    return hkl, 30 + rng.normal(size=len(hkl)) * sigma, sigma


def slow_merge(hkl, x, sigma, symmetry):
    """One reflection at a time, in a dictionary."""
    asu, minus = symmetry.asu(hkl)
    groups = {}
    for h, m, value, s in zip(map(tuple, asu.tolist()), minus.tolist(), x, sigma, strict=True):
        groups.setdefault(h, []).append((m, value, 1 / s**2))
    result = {}
    for h, members in groups.items():
        entry = []
        for kind in ((False, True), (False,), (True,)):
            chosen = [(v, w) for m, v, w in members if m in kind]
            total = sum(w for _, w in chosen)
            mean = sum(v * w for v, w in chosen) / total if chosen else np.nan
            entry += [len(chosen), mean, total**-0.5 if chosen else np.nan]
        result[h] = entry
    return result


def slow_posterior(t, centric):
    """The two moments by adaptive quadrature over J, the variable of the paper."""
    top = max(t, 0.0)

    def density(j):
        return np.exp(-0.5 * (j - top) ** 2 + j * min(t, 0.0))

    low, high = max(t - 10, 0.0), (t + 10 if t > 0 else 100 / (np.hypot(t, 10) - t))
    kwargs = {"epsabs": 0, "epsrel": 1e-12, "limit": 300}
    if centric:
        # the substitution J = u^2 removes 1/sqrt(J)
        def moment(f):
            return quad(lambda u: 2 * f(u * u) * density(u * u), low**0.5, high**0.5, **kwargs)[0]
    else:

        def moment(f):
            return quad(lambda j: f(j) * density(j), low, high, **kwargs)[0]

    total = moment(lambda j: 1.0)
    mean = moment(np.sqrt) / total
    return mean, np.sqrt(moment(lambda j: (np.sqrt(j) - mean) ** 2) / total)


@pytest.mark.parametrize("symmetry", [P222, P212121, P1BAR], ids=str)
def test_agrees_with_one_reflection_at_a_time(symmetry):
    hkl, x, sigma = observations()
    m = merge(hkl, x, sigma, symmetry)
    slow = slow_merge(hkl, x, sigma, symmetry)
    assert len(m) == len(slow)
    fast = np.column_stack((m.n, m.mean, m.sigma, m.n_plus, m.plus, m.sigma_plus, m.n_minus, m.minus, m.sigma_minus))
    np.testing.assert_allclose(fast, [slow[tuple(h)] for h in m.hkl.tolist()], rtol=1e-12)
    assert (m.n_minus[m.centric] == 0).all()


def test_sorted_and_in_the_unit():
    m = merge(*observations(), P212121)
    assert (np.lexsort(m.hkl.T[::-1]) == np.arange(len(m))).all()
    assert np.array_equal(P212121.asu(m.hkl)[0], m.hkl)
    assert m.absent.sum() == P212121.is_absent(m.hkl).sum() > 0


@pytest.mark.parametrize("internal", [False, True])
def test_agrees_with_the_statistics(internal):
    hkl, x, sigma = observations()
    asu, minus = P222.asu(hkl)
    o = sort_order(asu, minus)
    s = merging_statistics(
        Unmerged(asu[o], minus[o], x[o], sigma[o], CELL, P222), use_internal_variance=internal
    ).overall
    m = merge(hkl, x, sigma, P222, internal_variance=internal)
    assert (s.n_obs, s.n_unique) == (m.n.sum(), len(m))
    assert s.mean_intensity == pytest.approx(m.mean.mean(), rel=1e-12)
    assert s.mean_i_over_sigma == pytest.approx((m.mean / m.sigma).mean(), rel=1e-12)


def test_useless_rows_do_not_count():
    hkl, x, sigma = observations(n=500)
    more = np.concatenate((hkl, hkl[:4]))
    bad = merge(more, np.append(x, [np.nan, 1, 1, np.inf]), np.append(sigma, [1, 0, -1, 1]), P222)
    good = merge(hkl, x, sigma, P222)
    for name in ("hkl", "n", "mean", "sigma", "half1"):
        np.testing.assert_array_equal(getattr(bad, name), getattr(good, name))


def test_nothing_at_all():
    m = merge(np.zeros((0, 3), np.int32), np.zeros(0), np.zeros(0), P222)
    assert len(m) == 0
    assert len(amplitudes(m, np.zeros(0)).f) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_order_of_rows_does_not_matter(seed):
    hkl, x, sigma = observations(seed, 400, 4)
    o = np.random.default_rng(seed).permutation(len(x))
    a, b = merge(hkl, x, sigma, P222), merge(hkl[o], x[o], sigma[o], P222)
    np.testing.assert_array_equal(a.hkl, b.hkl)
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-12)
    np.testing.assert_allclose(a.sigma_plus, b.sigma_plus, rtol=1e-12)


def test_halves_are_halves():
    m = merge(*observations(n=20000), P222)
    several = m.n > 1
    assert (np.abs(m.n_half1 - m.n_half2)[several] == m.n[several] % 2).all()
    assert (m.n_half1 + m.n_half2 == np.where(several, m.n, 0)).all()
    whole = (m.half1 / m.sigma_half1**2 + m.half2 / m.sigma_half2**2) * m.sigma**2
    np.testing.assert_allclose(whole[several], m.mean[several], rtol=1e-10)
    assert np.isnan(m.half1[~several]).all()
    odd = several & (m.n % 2 == 1)
    assert 0.4 < (m.n_half1 > m.n_half2)[odd].mean() < 0.6


def test_halves_scatter_as_they_should():
    m = merge(*observations(3, 60000, 9), P222)
    z = (m.half1 - m.half2)[m.n > 1] / np.hypot(m.sigma_half1, m.sigma_half2)[m.n > 1]
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert z.std() == pytest.approx(1, abs=0.05)


def test_halves_of_one_reflection_do_not_depend_on_others():
    hkl, x, sigma = observations()
    some = P222.asu(hkl)[0][:, 0] < 3
    a, b = merge(hkl, x, sigma, P222), merge(hkl[some], x[some], sigma[some], P222)
    np.testing.assert_array_equal(a.half1[a.hkl[:, 0] < 3], b.half1)


def test_hash_is_the_same_for_ever():
    h = np.array([[0, 0, 1], [1, 2, 3], [-5, 0, 7]])
    assert hash_indices(h).tolist() == [int(v) for v in hash_indices(h[::-1])[::-1]]
    # free flags that people have refined against depend on these
    assert (hash_indices(h) % np.uint64(20)).tolist() == [3, 10, 3]


@pytest.mark.parametrize("centric", [False, True])
@pytest.mark.parametrize("t", [-4000.0, -40.0, -4.0, -1.3, 0.0, 0.4, 2.0, 8.69, 8.71, 30.0, 3000.0])
def test_posterior_agrees_with_quadrature(t, centric):
    mean, deviation = posterior(np.array([t]), centric)
    slow = slow_posterior(t, centric)
    assert mean[0] == pytest.approx(slow[0], rel=1e-10)
    assert deviation[0] == pytest.approx(slow[1], rel=1e-8)


def test_posterior_agrees_with_parabolic_cylinder_functions():
    from scipy.special import gamma, pbdv

    for t in np.linspace(-4, 6, 21):
        for p, centric in ((1.0, False), (0.5, True)):
            expected = gamma(p + 0.5) / gamma(p) * pbdv(-p - 0.5, -t)[0] / pbdv(-p, -t)[0]
            assert posterior(np.array([t]), centric)[0][0] == pytest.approx(expected, rel=1e-7)


def test_limits_of_the_posterior():
    i, s = np.array([1e6, 1e8]), np.array([10.0, 10.0])
    for centric in (False, True):
        f, sf = french_wilson(i, s, np.full(2, 1e6), np.full(2, centric))
        np.testing.assert_allclose(f, np.sqrt(i), rtol=1e-8)
        np.testing.assert_allclose(sf, s / (2 * np.sqrt(i)), rtol=1e-4)
    # a measurement without information gives the prior: <F> = sqrt(pi S)/2, sqrt(2 S/pi)
    f, _ = french_wilson(np.zeros(2), np.full(2, 1000.0), np.full(2, 1.0), np.array([False, True]))
    np.testing.assert_allclose(f, [np.sqrt(np.pi) / 2, np.sqrt(2 / np.pi)], rtol=1e-5)


def test_too_negative_has_no_amplitude():
    ratio, prior = np.array([-3.6, -3.8, -3.7, np.nan, 1.0]), np.array([9.0, 9.0, 0.01, 9.0, 9.0])
    f, sf = french_wilson(ratio, np.ones(5), prior, np.zeros(5, bool))
    assert np.isnan(f).tolist() == [False, True, False, True, False]
    assert (np.isnan(f) == np.isnan(sf)).all()


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 100), st.floats(1e-3, 1e5), st.booleans())
def test_amplitude_grows_with_intensity(sigma, prior, centric):
    i = np.linspace(-3 * sigma, 60 * sigma, 200)
    n = len(i)
    f, _ = french_wilson(i, np.full(n, sigma), np.full(n, prior), np.full(n, centric))
    f = f[np.isfinite(f)]
    assert (f > 0).all()
    assert (np.diff(f) > 0).all()


@settings(max_examples=50, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-3, 30))
def test_amplitudes_scale_with_the_root(k, ratio):
    one = french_wilson(np.array([ratio]), np.ones(1), np.array([5.0]), np.zeros(1, bool))
    other = french_wilson(np.array([ratio * k]), np.array([k]), np.array([5.0 * k]), np.zeros(1, bool))
    np.testing.assert_allclose(np.array(other) / np.sqrt(k), one, rtol=1e-9)


def wilson_crystal(seed, symmetry, sigma_of):
    """True intensities that follow Wilson's statistics with a fall-off, and measurements of them."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(-15, 16),) * 3, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[grid.any(axis=1)].astype(np.int32)
    hkl = np.unique(symmetry.asu(grid)[0], axis=0)
    hkl = hkl[~symmetry.is_absent(hkl)]
    d = 1 / np.sqrt((hkl**2 / np.array(CELL[:3]) ** 2).sum(axis=1))
    mean = symmetry.epsilon(hkl) * 1000 * np.exp(-15 / (2 * d * d))
    centric = symmetry.is_centric(hkl)
    n = len(hkl)
    true = mean * np.where(centric, rng.normal(size=n) ** 2, rng.exponential(size=n))
    sigma = sigma_of(mean)
    return hkl, d, mean, true, true + rng.normal(size=n) * sigma, sigma


def test_prior_follows_the_data():
    hkl, d, mean, _, measured, sigma = wilson_crystal(1, P222, lambda mean: np.full(len(mean), 50.0))
    prior = wilson_prior(measured, sigma, d, P222.epsilon(hkl).astype(float), np.ones(len(d), bool))
    assert np.abs(np.log(prior / mean))[mean > 30].mean() < 0.12


def test_prior_stays_positive_in_pure_noise():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=3000) - 0.5
    assert (wilson_prior(noise, np.ones(3000), rng.uniform(1, 5, 3000), np.ones(3000), np.ones(3000, bool)) > 0).all()


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_amplitudes_are_calibrated(noise):
    """Errors of F have mean 0 and the size that sigma_F says, however weak the data."""
    hkl, d, _, true, measured, sigma = wilson_crystal(4, P222, lambda mean: noise * mean)
    m = merge(hkl, measured, sigma, P222)
    a = amplitudes(m, d[np.lexsort(hkl.T[::-1])])
    order = np.lexsort(hkl.T[::-1])
    ok = np.isfinite(a.f)
    z = (a.f - np.sqrt(true[order]))[ok] / a.sigma_f[ok]
    for kind in (m.centric[ok], ~m.centric[ok]):
        assert abs(z[kind].mean()) < 0.06
        assert z[kind].std() == pytest.approx(1, abs=0.06)


def test_flat_prior_for_few_reflections(caplog):
    caplog.set_level("INFO")
    m = merge(*observations(n=300, largest=3), P222)
    a = amplitudes(m, np.full(len(m), 2.0))
    assert a.flat and "flat" in caplog.text
    f, _ = french_wilson(m.mean, m.sigma, np.full(len(m), np.inf), np.zeros(len(m), bool))
    np.testing.assert_array_equal(a.f, f)
    assert not amplitudes(m, np.full(len(m), 2.0), minimum=len(m)).flat


def test_anomalous_difference_and_absences():
    hkl, x, sigma = observations()
    m = merge(hkl, x, sigma, P212121)
    a = amplitudes(m, np.full(len(m), 2.0))
    assert np.isnan(a.f[m.absent]).all()
    both = np.isfinite(a.plus) & np.isfinite(a.minus)
    assert both.any()
    assert (np.isfinite(a.dano) == both).all()
    np.testing.assert_allclose(a.dano[both], (a.plus - a.minus)[both])
    np.testing.assert_allclose(a.sigma_dano[both] ** 2, (a.sigma_plus**2 + a.sigma_minus**2)[both])
    only = (m.n_minus == 0) & ~m.absent & np.isfinite(a.f)
    np.testing.assert_array_equal(a.f[only], a.plus[only])


def test_blocks_do_not_show(monkeypatch):
    t = np.random.default_rng(0).uniform(-4, 40, 3000)
    whole = posterior(t, False)
    monkeypatch.setattr("braggscale.statistics.french_wilson._BLOCK", 64)
    np.testing.assert_array_equal(posterior(t, False), whole)
