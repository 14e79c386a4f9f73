"""Estimated restraints against the slow version of naive_estimation.py: strengths, parameters, effective numbers."""

from dataclasses import replace

import numpy as np
import pytest
import synthetic
from naive_estimation import Estimation, basis_of, bends, laplacian, penalty, scatter, trend, uneven
from scipy.optimize import minimize

from braggscale.fit.fit_scales import fit
from braggscale.fit.matrix_free import MatrixFree
from braggscale.fit.problem import Problem
from braggscale.fit.solver import FitSettings
from braggscale.models.data_set_model import DataSetModel
from braggscale.models.harmonics import Harmonics
from braggscale.models.image_effects import Images
from braggscale.models.joint_model import JointModel
from braggscale.models.restraints import bending, level, ridge, smoothness, unevenness
from braggscale.models.smooth import Smooth, axis_over

SETTINGS = FitSettings(True, True, None, None, 1e-6)
SPACING = 12.9  # degrees, of the parameters of a scale
N_SCALE, N_IMAGES, LMAX = 9, 12, 2


def sweep(parts):
    """A sweep of 90 degrees whose restraints are all estimated."""
    axis = axis_over("image", 7 / 900, 0.0, 900.0, N_SCALE)
    image = replace(ridge(N_IMAGES, 1e3), kind="image", rank=N_IMAGES)
    known = {
        "scale": Smooth("scale", (axis,), restraints=tuple(smoothness("scale", N_SCALE, SPACING, 1e3, 100.0, True))),
        "absorption": Harmonics("absorption", LMAX, (bending("absorption", LMAX, 100.0),)),
        "image": Images("image", N_IMAGES, 0.0, 900 / N_IMAGES, 1.0, (0.0, 0.0, 1.0), (image,)),
    }
    return DataSetModel("physical", tuple(known[name] for name in parts), {})


def crystal():
    """K and B of one crystal among others."""
    pulls = (level("scale", 1, 4.0, relative=True),), (level("decay", 1, 0.04),)
    return DataSetModel("KB", (Smooth("scale", (), restraints=pulls[0]), Smooth("decay", (), True, pulls[1])), {})


def penalties_of(model):
    """The same penalties as in the model, in the form of the slow version; scales are near 1."""
    n, found = model.n_parameters, []
    places = {}
    for _, component, where in model.parts():
        mine = np.arange(where.start, where.stop)
        places.setdefault(component.name, []).append(mine)
        if component.name == "absorption":
            found.append(penalty("absorption", laplacian, mine, n))
        if component.name == "image":
            found.append(penalty("image", lambda x: x @ x, mine, n))
        if component.name == "scale" and component.axes:
            found.append(penalty("scale curvature", lambda x: bends(x, SPACING), mine, n))
            found.append(penalty("scale trend", trend, mine, n))
    if model.data_sets[0].kind == "KB":
        found += [penalty(f"{name} level", scatter, np.concatenate(where), n) for name, where in places.items()]
    return found


def problem(models, sizes, seed, n_groups=80, sigma=0.02, drift=0.0):
    """The fast problem and the slow one, with the intensities that corrections of the sizes ``sizes`` make.

    ``drift``: change of the scale from end to end.
    """
    rng = np.random.default_rng(seed)
    rows, groups = synthetic.observations(rng, n_groups=n_groups, n_data_sets=len(models), size=(4, 8))
    model = JointModel.of(models)
    theta = model.null()
    for _, component, where in model.parts():
        theta[where] += sizes[component.name] * rng.normal(size=component.n_parameters)
        if component.name == "scale":
            theta[where] += np.linspace(0.0, drift, component.n_parameters)
    mu = model.evaluate(rows, theta)[0] * groups.spread(rng.exponential(100.0, len(groups)) + 20.0)
    intensity, weight = mu * rng.normal(1.0, sigma, len(mu)), 1.0 / (sigma * mu) ** 2
    fast = Problem.of(model, rows, groups, np.zeros(model.n_parameters, bool))
    null, gauge = model.null(), []
    for choice in fast.choices:
        whole = np.zeros(len(null))
        whole[choice.where] = choice.row
        gauge.append((whole, float(whole @ null)))
    slow = Estimation(
        basis_of(model, rows), rows.data_set, groups.offsets, intensity, weight, penalties_of(model), gauge
    )
    return fast, slow


PROBLEMS = {
    # a sweep whose scale is curved and has no real trend; all corrections, with a real trend; eight crystals
    "sweep": lambda: problem([sweep(["scale"])], {"scale": 0.1}, 1),
    "all": lambda: problem(
        [sweep(["scale", "absorption", "image"])], {"scale": 0.1, "absorption": 0.05, "image": 0.03}, 2, drift=0.8
    ),
    "crystals": lambda: problem([crystal() for _ in range(8)], {"scale": 0.2, "decay": 0.5}, 3),
}
ENDLESS = 1e6  # with this strength and above, a correction vanishes


@pytest.fixture(scope="module", params=PROBLEMS)
def both(request):
    """A problem, and the solution of the slow version."""
    fast, slow = PROBLEMS[request.param]()
    return fast, slow, slow.estimate(fast.model.null(), {p.kind: 10.0 for p in slow.penalties})


def agree(fast, slow, wanted, found, factor, effective, part):
    """Strengths to a ``factor``, effective parameters to ``effective``, scales to a ``part`` of their error."""
    theta, strengths, effective_dof = wanted
    assert found.strengths.keys() == strengths.keys()
    for kind, strength in strengths.items():
        if strength > ENDLESS:
            assert found.strengths[kind] > 0.1 * ENDLESS
        else:
            assert abs(np.log(found.strengths[kind] / strength)) < factor, kind
    for name in {component.name for _, component, _ in fast.model.parts()}:
        mine = [where for _, component, where in fast.model.parts() if component.name == name]
        numbers = [sum(x[where].sum() for where in mine) for x in (effective_dof, found.effective_dof)]
        assert numbers[1] == pytest.approx(numbers[0], abs=effective)
    off = np.log(fast.design.scales(found.theta)[0] / slow.scales(theta)[0])
    s, error = common(fast), np.sqrt(variances(fast, slow, wanted))
    off -= s @ np.linalg.lstsq(s, off, rcond=None)[0]
    assert np.abs(off).max() < part * np.median(error)


def common(fast):
    """Changes of ln g that no data determine: one factor and, with B factors, a multiple of 1/(2 d^2); (n, 1 or 2)."""
    columns = [np.ones(len(fast.rows))]
    if any(component.gauge_role == "b" for _, component, _ in fast.model.parts()):
        columns.append(0.5 / fast.rows.d**2)
    return np.column_stack(columns)


def variances(fast, slow, wanted):
    """var(ln g) of every row without the part that no data determine."""
    theta, strengths, _ = wanted
    g, slope = slow.scales(theta)
    covariance = np.linalg.inv(slow.minimise(theta, strengths)[2])
    s = common(fast)
    j = slope / g[:, None]
    j = j - s @ np.linalg.lstsq(s, j, rcond=None)[0]
    return np.einsum("ij,jk,ik->i", j, covariance, j)


def test_strengths_scales_and_effective_parameters_are_those_of_the_slow_version(both):
    fast, slow, wanted = both
    found = fit(fast, fast.model.null(), slow.intensity, slow.weight, SETTINGS)
    agree(fast, slow, wanted, found, 0.01, 0.01, 0.01)
    g, variance = fast.design.scales(found.theta, found.covariance)
    np.testing.assert_allclose(variance / g**2, variances(fast, slow, wanted), rtol=0.01)


def test_without_the_matrix_they_are_the_same_within_the_noise_of_probes(both):
    fast, slow, wanted = both
    found = fit(fast, fast.model.null(), slow.intensity, slow.weight, SETTINGS, solver=MatrixFree())
    assert found.fits[-1][0] == "conjugate gradients"
    agree(fast, slow, wanted, found, 0.2, 0.5, 0.2)


@pytest.mark.parametrize("share", [1e-4, 1e4])
def test_a_normal_matrix_of_another_point_does_not_decide(both, share):
    fast, slow, (_, wanted, _) = both
    rounds = replace(SETTINGS, full_matrix=False, estimate=True)
    null = fast.model.null()
    before = fit(fast, null, slow.intensity, slow.weight, rounds)
    stale = replace(before, memory=replace(before.memory, matrix=share * before.memory.matrix))
    found = fit(fast, before.theta, slow.intensity, slow.weight, rounds, before.strengths, stale)
    for kind, strength in wanted.items():
        assert strength > ENDLESS or abs(np.log(found.strengths[kind] / strength)) < 0.3, kind


def test_the_fixed_point_is_the_largest_restricted_likelihood(both):
    fast, slow, (theta, strengths, _) = both
    free = [kind for kind, strength in strengths.items() if strength < ENDLESS]

    def value(x):
        return slow.minus_two_log_likelihood(strengths | dict(zip(free, np.exp(x), strict=True)), theta)

    end = np.log([strengths[kind] for kind in free])
    best = minimize(value, end + 0.3, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-5})
    # the step neglects that J'J changes with the strengths
    assert best.x == pytest.approx(end, abs=0.01)
    assert value(end) - best.fun < 1e-3
    for kind in strengths.keys() - set(free):
        curve = [slow.minus_two_log_likelihood(strengths | {kind: at}, theta) for at in (1e2, 1e3, 1e4, 1e6)]
        assert (np.diff(curve) < 0).all()


def test_penalties_are_the_sums_that_they_stand_for():
    rng = np.random.default_rng(0)
    n, spacing = 7, 4.0
    pairs = [
        *zip(smoothness("scale", n, spacing, 1.0, 1.0, False), (lambda x: bends(x, spacing), trend), strict=True),
        (bending("absorption", 2, 1.0), laplacian),
        (unevenness("modulation", (4, 3), 1.0), lambda x: uneven(x, (4, 3))),
    ]
    for restraint, form in pairs:
        x = rng.normal(size=len(restraint.penalty))
        assert x @ restraint.dense() @ x == pytest.approx(form(x))
        assert restraint.rank == penalty("", form, np.arange(len(x)), len(x)).rank
    model = JointModel.of([crystal() for _ in range(5)])
    theta = model.null() + 0.1 * rng.normal(size=model.n_parameters)
    units = {"scale level": theta[::2].mean() ** 2, "decay level": 1.0}
    for where, restraint in model.restraints(theta):
        x = rng.normal(size=len(where))
        assert x @ (restraint.penalty @ x) == pytest.approx(scatter(x) / units[restraint.kind])
        assert restraint.rank == 4
