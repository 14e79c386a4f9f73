"""From a table to usable reflections, on made-up tables and on real data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.experiment import Beam, Crystal, Experiment, Goniometer, Scan
from braggscale.data.flags import SCALING_VERDICTS, Fate, Flag
from braggscale.data.geometry import d_spacings
from braggscale.data.observations import Observations
from braggscale.data.partial_sums import find_pieces
from braggscale.data.preparation import count_fates, flags_with_fates, prepare
from braggscale.data.row_fates import Cuts
from braggscale.data.table import Column, Table
from braggscale.errors import InputError
from braggscale.io import open_inputs

CELL = (10.0, 11.0, 12.0, 90.0, 90.0, 90.0)
CRYSTAL = Crystal(np.diag([10.0, 11.0, 12.0]), "P 2 2", CELL)
BEAM = Beam(np.array([0.0, 0.0, 1.0]), 1.0)
GONIOMETER = Goniometer(np.array([1.0, 0.0, 0.0]), np.eye(3), np.eye(3))
SWEEP = Experiment("7", BEAM, CRYSTAL, GONIOMETER, Scan((1, 100), (0.0, 0.1)))
STILL = Experiment("8", BEAM, CRYSTAL)
BOTH = int(Flag.INTEGRATED_SUM | Flag.INTEGRATED_PRF)
ALL = Cuts(partiality_cutoff=0.0, min_isigi=None)


def beams(hkl, seed=1):
    """Diffracted beams that belong to the indices, at any azimuth, of any length."""
    rng = np.random.default_rng(seed)
    theta = np.arcsin(BEAM.wavelength / 2 / d_spacings(CELL, hkl))
    around = rng.uniform(0, 2 * np.pi, len(hkl))
    off = np.sin(2 * theta)
    unit = np.column_stack([off * np.cos(around), off * np.sin(around), -np.cos(2 * theta)])
    return unit * rng.uniform(0.5, 2.0, (len(hkl), 1))


def columns(n, seed=1):
    """n good rows of a rotation sweep."""
    rng = np.random.default_rng(seed)
    hkl = rng.integers(1, 8, (n, 3)).astype(np.int32)
    return {
        "miller_index": hkl,
        "flags": np.full(n, BOTH, np.uint64),
        "d": d_spacings(CELL, hkl),
        "xyzobs.px.value": np.column_stack([rng.uniform(0, 900, (n, 2)), np.linspace(0.5, 99.5, n)]),
        "s1": beams(hkl),
        "lp": rng.uniform(0.3, 1.2, n),
        "qe": rng.uniform(0.4, 0.9, n),
        "partiality": rng.uniform(0.991, 1.0, n),
        "partial_id": np.arange(n, dtype=np.uint64),
        "intensity.sum.value": rng.uniform(50, 500, n),
        "intensity.sum.variance": rng.uniform(50, 500, n),
        "intensity.prf.value": rng.uniform(50, 500, n),
        "intensity.prf.variance": rng.uniform(50, 500, n),
    }


def table(data, rows=None, read=None):
    """A table over the arrays; names of columns that are read go to ``read``."""

    def load(name, values):
        def loaded():
            if read is not None:
                read.append(name)
            view = values.view()
            view.flags.writeable = False
            return view

        return loaded

    n = len(next(iter(data.values())))
    held = {name: Column("double", load(name, values)) for name, values in data.items()}
    return Table("made-up.refl", n, held, None if rows is None else np.asarray(rows, np.int64))


def prepared(data, experiment=SWEEP, cuts=ALL, **more):
    return prepare(table(data), experiment, 0, cuts=cuts, **more)


def fates(data, **more):
    return [Fate(k) for k in prepared(data, **more).fate]


# Corrections


def test_intensities_are_corrected():
    data = columns(20)
    obs = prepared(data).observations
    c = data["lp"] / data["qe"]
    np.testing.assert_allclose(obs.correction, c)
    np.testing.assert_allclose(obs.i_sum, c * data["intensity.sum.value"] / data["partiality"])
    np.testing.assert_allclose(obs.v_sum, c**2 * data["intensity.sum.variance"] / data["partiality"] ** 2)
    np.testing.assert_allclose(obs.i_prf, c * data["intensity.prf.value"])
    np.testing.assert_allclose(obs.v_prf, c**2 * data["intensity.prf.variance"])
    assert obs.has_sum.all() and obs.has_prf.all()
    assert obs.hkl.dtype == np.int32 and obs.data_set.dtype == np.int32
    np.testing.assert_allclose(np.linalg.norm(obs.s0c, axis=1), 1.0)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_a_known_factor_is_taken_out_of_intensities(seed):
    rng = np.random.default_rng(seed)
    plain = columns(40)
    factor = rng.uniform(0.2, 3.0, 40)
    through = {**plain, "analytical_correction": factor}
    for name in ("intensity.sum", "intensity.prf"):
        through[f"{name}.value"] = plain[f"{name}.value"] * factor
        through[f"{name}.variance"] = plain[f"{name}.variance"] * factor**2
    expected = prepare(table(plain), SWEEP, 0, cuts=ALL).observations
    found = prepare(table(through), SWEEP, 0, cuts=ALL, known_factor="analytical_correction").observations
    for name in ("i_sum", "v_sum", "i_prf", "v_prf"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-12)
    np.testing.assert_allclose(found.correction * factor, expected.correction, rtol=1e-12)


def test_a_known_factor_must_be_there_and_above_0():
    with pytest.raises(InputError, match="no column analytical_correction; scale without analytical_correction=True"):
        prepare(table(columns(10)), SWEEP, 0, cuts=ALL, known_factor="analytical_correction")
    factor = np.array([1.0, 0.0, -1.0, np.nan, np.inf, *np.ones(5)])
    made = prepare(
        table({**columns(10), "analytical_correction": factor}),
        SWEEP,
        0,
        cuts=ALL,
        known_factor="analytical_correction",
    )
    assert made.counts() == {Fate.SCALED: 6, Fate.BAD_VARIANCE: 4}


def test_old_name_of_efficiency_and_missing_columns():
    data = columns(5)
    data["dqe"] = data.pop("qe")
    np.testing.assert_allclose(prepared(data).observations.correction, data["lp"] / data["dqe"])
    for name in ("lp", "dqe", "partiality", "partial_id", "d", "s1"):
        del data[name]
    obs = prepared(data).observations
    assert (obs.correction == 1).all() and (obs.partiality == 1).all()
    assert (obs.s0c == 0).all() and (obs.s1c == 0).all()
    np.testing.assert_allclose(obs.d, d_spacings(CELL, data["miller_index"]))
    np.testing.assert_array_equal(obs.i_sum, data["intensity.sum.value"])


def test_still_with_uncertain_partiality_and_no_profiles():
    data = columns(6)
    for name in ("intensity.prf.value", "intensity.prf.variance", "partial_id"):
        del data[name]
    data["flags"] = np.full(6, int(Flag.INTEGRATED_SUM), np.uint64)
    data["partiality"] = np.array([0.5, 0.9, 0.3, 0.99, 0.45, 1.0])
    data["partiality.inv.variance"] = np.full(6, 0.1)
    result = prepared(data, STILL, Cuts())
    kept = data["partiality"] >= 0.4
    assert result.intensity == "sum"
    assert (result.fate == Fate.LOW_PARTIALITY).tolist() == (~kept).tolist()
    obs = result.observations
    c = (data["lp"] / data["qe"])[kept]
    i, v, p = (data[k][kept] for k in ("intensity.sum.value", "intensity.sum.variance", "partiality"))
    np.testing.assert_allclose(obs.v_sum, (c / p) ** 2 * v + (c * i) ** 2 * 0.1)
    np.testing.assert_allclose(obs.relative, 0.1 * p**2)
    np.testing.assert_array_equal(obs.take(np.array([2, 0])).relative, obs.relative[[2, 0]])
    plain = prepared(columns(3)).observations
    assert plain.relative is None and plain.take(np.array([1])).relative is None
    both = Observations.concatenate([plain, obs])
    np.testing.assert_array_equal(both.relative, np.concatenate((np.zeros(len(plain)), obs.relative)))
    assert Observations.concatenate([plain, plain]).relative is None
    assert not obs.has_prf.any()
    np.testing.assert_array_equal(obs.i_prf, obs.i_sum)
    assert (obs.s0c == 0).all() and (obs.s1c == 0).all()


def test_rows_with_one_kind_of_intensity():
    data = columns(3)
    data["flags"][:] = [BOTH, int(Flag.INTEGRATED_SUM), int(Flag.INTEGRATED_PRF)]
    data["intensity.prf.variance"][1] = -1.0
    data["intensity.sum.variance"][2] = 0.0
    obs = prepared(data).observations
    assert obs.has_sum.tolist() == [True, True, False]
    assert obs.has_prf.tolist() == [True, False, True]
    assert obs.i_prf[1] == obs.i_sum[1] and obs.v_sum[2] == obs.v_prf[2] > 0
    assert prepared(data, intensity="sum").observations.row.tolist() == [0, 1]
    assert prepared(data, intensity="profile").observations.row.tolist() == [0, 2]


def test_profile_columns_without_profiles(caplog):
    data = columns(4)
    data["flags"][:] = int(Flag.INTEGRATED_SUM)
    data["intensity.prf.value"][:] = 0.0
    data["intensity.prf.variance"][:] = 0.0
    result = prepared(data)
    assert len(result.observations) == 4 and result.intensity == "sum" and not caplog.records
    assert prepared(data, intensity="profile").intensity == "sum"
    assert "no profile intensities, using sum instead" in caplog.text
    data["flags"][:] = BOTH
    assert len(prepared(data).observations) == 4


# Fates


def test_first_reason_that_applies():
    data = columns(15)
    data["flags"][1] = int(Flag.INDEXED)
    data["miller_index"][2] = 0
    data["d"][3] = 0.0
    data["qe"][4] = 0.0
    data["intensity.sum.variance"][5] = 0.0
    data["intensity.prf.value"][6] = np.nan
    data["lp"][7] = 0.0
    data["d"][8] = d_spacings(CELL, data["miller_index"][8:9])[0]
    data["miller_index"][8] = [40, 40, 40]
    data["partiality"][9] = 0.39
    data["partiality"][10] = 0.0
    data["partiality"][11] = np.nan
    data["intensity.sum.value"][12] = -5.1 * np.sqrt(data["intensity.sum.variance"][12])
    data["xyzobs.px.value"][13, 2] = np.nan
    data["intensity.prf.variance"][14] = np.inf
    # Not integrated, although everything else is wrong too.
    data["partiality"][1] = data["d"][1] = data["qe"][1] = 0.0
    expected = [
        Fate.SCALED,
        Fate.NOT_INTEGRATED,
        Fate.NO_GEOMETRY,
        Fate.NO_GEOMETRY,
        Fate.BAD_EFFICIENCY,
        Fate.BAD_VARIANCE,
        Fate.BAD_VARIANCE,
        Fate.NOT_PLAUSIBLE,
        Fate.RESOLUTION_CUT,
        Fate.LOW_PARTIALITY,
        Fate.LOW_PARTIALITY,
        Fate.LOW_PARTIALITY,
        Fate.LOW_I_OVER_SIGMA,
        Fate.NO_GEOMETRY,
        Fate.BAD_VARIANCE,
    ]
    result = prepared(data, cuts=Cuts(d_min=0.5))
    assert [Fate(k) for k in result.fate] == expected
    assert result.observations.row.tolist() == [0]
    assert sum(result.counts().values()) == 15
    assert result.counts()[Fate.BAD_VARIANCE] == 3


def test_resolution_limits_use_the_best_cell():
    data = columns(50)
    best = (10.5, 11.0, 12.0, 90.0, 90.0, 90.0)
    d = d_spacings(best, data["miller_index"])
    result = prepared(data, cuts=replace(ALL, d_min=1.5, d_max=3.0), best_cell=best)
    assert (result.fate == Fate.RESOLUTION_CUT).tolist() == ((d < 1.5) | (d > 3.0)).tolist()


def test_min_isigi_tests_only_what_was_measured():
    data = columns(3)
    data["intensity.sum.value"][:] = [-100.0, -100.0, 100.0]
    data["intensity.sum.variance"][:] = 100.0
    data["flags"][1] = int(Flag.INTEGRATED_PRF)
    data["intensity.prf.value"][2] = -1e4
    low, fine = Fate.LOW_I_OVER_SIGMA, Fate.SCALED
    assert fates(data, cuts=Cuts()) == [low, fine, low]
    assert fates(data, cuts=Cuts(min_isigi=0)) == [fine, fine, fine]
    assert fates(data, cuts=Cuts(), intensity="sum")[2] == fine


def test_images_come_first():
    data = columns(100)
    data["flags"][5] = 0
    result = prepared(data, in_use=((11, 50), (61, 100)))
    image = np.floor(data["xyzobs.px.value"][:, 2]) + 1
    assert (result.fate == Fate.IMAGE_EXCLUDED).tolist() == ((image < 11) | ((image > 50) & (image < 61))).tolist()
    assert len(prepared(data, in_use=((1, 100),)).observations) == 99


def test_earlier_verdicts_are_cleared():
    data = columns(4)
    data["flags"] |= np.uint64(SCALING_VERDICTS)
    result = prepared(data)
    assert len(result.observations) == 4
    fate = np.array([Fate.SCALED, Fate.OUTLIER, Fate.IMAGE_EXCLUDED, Fate.BAD_VARIANCE], np.uint8)
    flags = flags_with_fates(data["flags"] | np.uint64(1 << 40), fate)
    assert flags.dtype == np.uint64
    assert (flags & ~np.uint64(SCALING_VERDICTS) == np.uint64(BOTH | (1 << 40))).all()
    assert [Flag(int(f) & int(SCALING_VERDICTS)) for f in flags] == [
        Flag.SCALED,
        Flag.OUTLIER_IN_SCALING,
        Flag.USER_EXCLUDED_IN_SCALING,
        Flag.EXCLUDED_FOR_SCALING,
    ]


def test_rejections_of_the_file():
    """Those of an earlier program can be accepted; a row without a number cannot."""
    data = columns(4)
    data["rejection"] = np.array([0, Fate.MISFIT, Fate.NO_SIGMA, Fate.NO_INTENSITY], np.int32)
    assert prepared(data).fate.tolist() == data["rejection"].tolist()
    accepting = prepared(data, cuts=replace(ALL, accept=frozenset({Fate.MISFIT})))
    assert accepting.fate.tolist() == [0, 0, Fate.NO_SIGMA, Fate.NO_INTENSITY]


def test_nothing_usable():
    data = columns(5)
    data["flags"][:] = 0
    data["partiality"][:] = 0.0
    result = prepared(data)
    assert len(result.observations) == 0
    assert result.reason == "none of 5 rows is usable: 5 not integrated"
    assert prepared(columns(0)).reason == "the table has no rows of this data set"
    assert prepared(columns(3)).reason == ""


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["flags"], "no column flags"),
        (["miller_index"], "no column miller_index"),
        (["xyzobs.px.value"], "neither xyzobs.px.value nor xyzcal.px"),
        (["intensity.sum.value", "intensity.prf.variance"], "neither intensity.sum nor intensity.prf"),
    ],
)
def test_columns_that_nothing_replaces(missing, message):
    data = columns(3)
    for name in missing:
        del data[name]
    with pytest.raises(InputError, match=message):
        prepared(data)


def test_only_needed_columns_are_read():
    data = columns(10)
    data |= {"shoebox": np.zeros(10), "bbox": np.zeros((10, 6)), "zeta": np.zeros(10)}
    read = []
    prepare(table(data, read=read), SWEEP, 0, cuts=ALL)
    assert not {"shoebox", "bbox", "zeta"} & set(read)


# Partials


def split_in_two():
    """Rows 1 and 4 are pieces of one reflection, rows 2, 3 and 5 of another."""
    data = columns(7)
    for rows in ([1, 4], [2, 3, 5]):
        for name in ("partial_id", "miller_index", "d"):
            data[name][rows] = data[name][rows[0]]
    data["partiality"][[1, 4]] = [0.2, 0.79]
    data["partiality"][[2, 3, 5]] = [0.1, 0.6, 0.25]
    return data


def test_partials_are_summed_before_they_are_judged():
    data = split_in_two()
    result = prepared(data, cuts=Cuts())
    assert result.kept.tolist() == [0, 1, 2, 6]
    summed = Fate.SUMMED_INTO_ANOTHER
    assert fates(data, cuts=Cuts()) == [0, 0, 0, summed, summed, summed, 0]
    assert len(result.table) == 4
    np.testing.assert_array_equal(result.table["partial_id"], data["partial_id"][[0, 1, 2, 6]])
    changed = result.changed
    assert set(changed) == {
        "partiality",
        "intensity.sum.value",
        "intensity.sum.variance",
        "intensity.prf.value",
        "intensity.prf.variance",
    }
    assert all(len(values) == 4 for values in changed.values())
    np.testing.assert_allclose(changed["partiality"][1:3], [0.99, 0.95])
    for name in ("intensity.sum.value", "intensity.sum.variance"):
        np.testing.assert_allclose(changed[name][1:3], [data[name][[1, 4]].sum(), data[name][[2, 3, 5]].sum()])
        np.testing.assert_array_equal(changed[name][[0, 3]], data[name][[0, 6]])
    for k, rows in ((1, [1, 4]), (2, [2, 3, 5])):
        i, v = data["intensity.prf.value"][rows], data["intensity.prf.variance"][rows]
        u = i**2 / v
        assert changed["intensity.prf.value"][k] == pytest.approx((u * i).sum() / u.sum())
        assert changed["intensity.prf.variance"][k] == pytest.approx((u * v).sum() / u.sum())
    obs = result.observations
    assert obs.row.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(obs.partiality[1:3], [0.99, 0.95])
    expected = data["lp"][1] / data["qe"][1] * changed["intensity.sum.value"][1] / 0.99
    assert obs.i_sum[1] == pytest.approx(expected)
    assert (result.partials.n_sums, result.partials.n_pieces) == (2, 5)
    assert sum(result.partials.rows) == sum(result.partials.usable) == 4


def test_profiles_that_are_all_zero_sum_to_zero():
    data = split_in_two()
    data["intensity.prf.value"][[1, 4]] = 0.0
    changed = prepared(data).changed
    assert changed["intensity.prf.value"][1] == 0.0
    assert changed["intensity.prf.variance"][1] == pytest.approx(data["intensity.prf.variance"][[1, 4]].sum())


def test_scaled_intensities_of_pieces_are_averaged():
    data = split_in_two()
    data["intensity.scale.value"] = np.arange(1.0, 8.0)
    data["intensity.scale.variance"] = np.array([1.0, 1.0, 1.0, 1.0, 3.0, 1.0, 1.0])
    changed = prepared(data).changed
    assert changed["intensity.scale.value"][1] == pytest.approx((2 / 1 + 5 / 3) / (1 + 1 / 3))
    assert changed["intensity.scale.variance"][1] == pytest.approx(0.75)


def test_what_is_not_a_piece():
    data = split_in_two()
    data["partiality"][4] = 0.99
    data["intensity.prf.variance"][3] = -1.0
    rows, starts = find_pieces(table(data), ("sum", "profile"))
    assert rows.tolist() == [2, 5] and starts.tolist() == [0]
    # Numbers that occur twice for different reflections.
    data["miller_index"][5] = [9, 9, 9]
    assert len(find_pieces(table(data), ("sum", "profile"))[0]) == 0
    # Profile intensities that were not measured have no effect.
    assert find_pieces(table(split_in_two()), ("sum",))[0].tolist() == [1, 4, 2, 3, 5]


def test_image_of_the_first_piece_decides():
    data = split_in_two()
    image = (np.floor(data["xyzobs.px.value"][:, 2]) + 1).astype(int)
    gone = int(image[1])
    result = prepared(data, in_use=((1, gone - 1), (gone + 1, 100)))
    assert Fate(result.fate[1]) == Fate.IMAGE_EXCLUDED
    assert Fate(result.fate[4]) == Fate.SUMMED_INTO_ANOTHER
    # A second run, on the table that remains, finds the same.
    again = {name: result.changed.get(name, values[result.kept]) for name, values in data.items()}
    second = prepared(again, in_use=((1, gone - 1), (gone + 1, 100)))
    assert second.fate.tolist() == result.fate[result.kept].tolist()
    np.testing.assert_array_equal(second.observations.i_sum, result.observations.i_sum)


def naive_pieces(data, rows):
    """Pieces by the definition, one row at a time."""
    seen = {}
    for r in rows:
        whole = data["partiality"][r] >= 0.99
        bad = data["intensity.sum.variance"][r] <= 0 or data["intensity.prf.variance"][r] <= 0
        if not (whole or bad):
            seen.setdefault((int(data["partial_id"][r]), *data["miller_index"][r].tolist()), []).append(r)
    return sorted(tuple(group) for group in seen.values() if len(group) > 1)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 2), st.sampled_from([0.3, 0.995])), min_size=1, max_size=30),
    st.sampled_from([0, 2**63]),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_pieces_and_the_ledger(rows, far, seed):
    data = columns(len(rows), seed)
    data["partial_id"] = np.array([r[0] + far for r in rows], np.uint64)
    data["miller_index"][:] = np.array([[r[1], 1, 1] for r in rows])
    data["d"], data["s1"] = d_spacings(CELL, data["miller_index"]), beams(data["miller_index"])
    data["partiality"] = np.array([r[2] for r in rows])
    data["intensity.prf.variance"][::7] = -1.0
    data["flags"][::5] = 0
    held = np.random.default_rng(seed).permutation(len(rows))[: max(1, len(rows) // 2)]
    for chosen in (None, np.sort(held)):
        subject = table(data, chosen)
        own = {k: v if chosen is None else v[chosen] for k, v in data.items()}
        pieces, starts = find_pieces(subject, ("sum", "profile"))
        found = sorted(tuple(g.tolist()) for g in np.split(pieces, starts[1:]) if len(g))
        assert found == naive_pieces(own, range(len(subject)))
        result = prepare(subject, SWEEP, 3, cuts=Cuts())
        assert sum(count_fates(result.fate).values()) == len(subject)
        assert (result.fate == Fate.SCALED).sum() == len(result.observations)
        assert (result.fate[result.kept] != Fate.SUMMED_INTO_ANOTHER).all()
        assert (result.fate == Fate.SUMMED_INTO_ANOTHER).sum() == len(subject) - len(result.kept)
        assert (np.diff(result.kept) > 0).all()
        assert (result.observations.data_set == 3).all()
        scaled = np.flatnonzero(result.fate[result.kept] == Fate.SCALED)
        assert result.observations.row.tolist() == scaled.tolist()


# Real data


def used_by_dials(shared_data, sweep):
    file = shared_data / "golden" / "l_cysteine_dials_3.12.1_used_rows.npz"
    return np.load(file, allow_pickle=False)[f"used_{sweep}"]


@pytest.mark.parametrize(
    ("sweep", "merged", "groups", "usable"),
    # Usable: scaled rows and outliers of DIALS 3.12.1 (2365, 3270, 3212, 3234) and the reflections that it loses
    # because it judges pieces by themselves (4, 2, 1, 6).
    [(20, 4, 4, 2369), (25, 6, 4, 3272), (30, 5, 4, 3213), (35, 11, 8, 3240)],
)
def test_l_cysteine(shared_data, sweep, merged, groups, usable):
    folder = shared_data / "l_cysteine"
    paths = [folder / f"{sweep}_integrated_experiments.json", folder / f"{sweep}_integrated.pickle"]
    (data_set,) = open_inputs([str(p) for p in paths]).data_sets
    result = prepare(data_set.table, data_set.experiment, 0, cuts=Cuts())
    assert result.counts()[Fate.SUMMED_INTO_ANOTHER] == merged
    assert (result.partials.n_sums, result.partials.n_pieces) == (groups, groups + merged)
    assert len(result.observations) == usable
    assert result.table.rows is not None
    rows = result.table.rows[result.observations.row]
    assert np.isin(used_by_dials(shared_data, sweep), rows).all()
    assert result.intensity == "combine"


def test_quartz_and_stills(shared_data):
    folder = shared_data / "quartz_ed"
    (quartz,) = open_inputs([str(folder / "integrated.expt"), str(folder / "integrated.refl")]).data_sets
    result = prepare(quartz.table, quartz.experiment, 0, cuts=Cuts())
    # DIALS 3.12.1: 1620 rows after summing, 1406 scaled and 106 outliers.
    assert len(result.kept) == 1620
    assert len(result.observations) >= 1512
    folder = shared_data / "ssx_cunir"
    stills = open_inputs([str(folder / "integrated.expt"), str(folder / "integrated.refl")]).data_sets
    assert len(stills) == 5
    results = [prepare(s.table, s.experiment, k, cuts=Cuts()) for k, s in enumerate(stills)]
    assert all(r.intensity == "sum" and (r.observations.s1c == 0).all() for r in results)
    # The statistics of DIALS 3.12.1, after scaling, count 1940 rows.
    assert sum(len(r.observations) for r in results) == 1942
