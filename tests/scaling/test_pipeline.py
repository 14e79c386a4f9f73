"""The steps of the guide with four sweeps of l-cysteine: scale, leave out, scale again, take back; by the command.

Most of it has restraints=fixed, which later runs keep, because this takes a quarter of the time.
"""

import json
import re
import shutil
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from braggscale.cli import main
from braggscale.data.flags import FATE_TEXT, Fate, Flag
from braggscale.data.symmetry import Symmetry
from braggscale.io import open_inputs
from braggscale.options.assignments import settle
from braggscale.options.phil import read_argument
from braggscale.scaling import pipeline
from braggscale.scaling.plan import ZMAX, make_plan

SWEEPS = ("20", "25", "30", "35")
PAIR = ("scaled.expt", "scaled.refl")
FIXED = "restraints=fixed"
LEAN = ("output.html=None", "output.json=None")  # where nothing but the scaled data is looked at
TABLE = [
    "Experiment identifier: 0, image_range: (1, 1800), batch_range: (1, 1800)",
    "Experiment identifier: 1, image_range: (1, 1700), batch_range: (1901, 3600)",
    "Experiment identifier: 2, image_range: (1, 1700), batch_range: (3701, 5400)",
    "Experiment identifier: 3, image_range: (1, 1700), batch_range: (5501, 7200)",
]
EXCLUDED = [
    *TABLE[:2],
    f"{TABLE[2]} (range in use: (3701, 5200))",
    f"{TABLE[3]} (range in use: (5501, 7000))",
]


class Run:
    """A finished command in a folder of its own, with what it wrote and said."""

    def __init__(self, folder, *words):
        self.folder = folder
        out, err = StringIO(), StringIO()
        with chdir(folder), redirect_stdout(out), redirect_stderr(err):
            self.status = main([str(word) for word in words])
        self.out, self.err = out.getvalue(), err.getvalue()

    @property
    def log(self):
        return (self.folder / "scale.log").read_text()

    @property
    def summary(self):
        return json.loads((self.folder / "scale.json").read_text())

    def data_sets(self):
        return open_inputs([str(self.folder / name) for name in PAIR]).data_sets

    def batches(self):
        """The table of batch numbers at the start, and that after exclusions, which is not repeated if it is equal."""
        parts = self.log.split("Batch numbers in use after the exclusions:")
        found = [[row for row in part.splitlines() if row.startswith("Experiment identifier:")] for part in parts]
        assert len(found) == 1 or found[0] != found[1]
        return [found[0], found[-1]]

    def fates(self):
        return {d.identifier: np.asarray(d.table["scaling_fate"]) for d in self.data_sets()}

    def merged(self):
        """Unique reflection -> merged intensity, its sigma, d."""
        parts = []
        for data_set in self.data_sets():
            table = data_set.table
            good = (np.asarray(table["flags"], np.uint64) & np.uint64(Flag.SCALED)) != 0
            g = table["inverse_scale_factor"][good]
            asu = Symmetry.from_hall(data_set.experiment.crystal.hall).asu(table["miller_index"][good])[0]
            value, variance = table["intensity.scale.value"][good], table["intensity.scale.variance"][good]
            parts.append((asu, value / g, variance / g**2, table["d"][good]))
        asu, value, variance, d = (np.concatenate(p) for p in zip(*parts, strict=True))
        unique, index = np.unique(asu, axis=0, return_inverse=True)
        index = index.ravel()
        weight = np.bincount(index, 1 / variance)
        mean = np.bincount(index, value / variance) / weight
        spacing = np.bincount(index, d) / np.bincount(index)
        rows = zip(mean.tolist(), (1 / np.sqrt(weight)).tolist(), spacing.tolist(), strict=True)
        return dict(zip(map(tuple, unique.tolist()), rows, strict=True))

    def steps(self):
        """Steps of the minimisers, round by round."""
        return [sum(len(m["cost"]) - 1 for m in r["minimisers"]) for r in self.summary["rounds"]]


def largest_move(one, two, with_b=False):
    """Largest difference of merged intensities in sigmas, up to one scale (and one B where ``with_b``)."""
    return moves(one, two, with_b).max()


def moves(one, two, with_b=False):
    """Differences of merged intensities in sigmas."""
    assert one.keys() == two.keys()
    a, b = (np.array([m[k] for k in sorted(m)]) for m in (one, two))
    weight = 1 / (a[:, 1] ** 2 + (0.01 * a[:, 0]) ** 2)
    scale, shift = 1.0, 0.0
    for _ in range(10):
        model = b[:, 0] * scale * np.exp(shift / (2 * b[:, 2] ** 2))
        columns = [model / scale] + ([model / (2 * b[:, 2] ** 2)] if with_b else [])
        design = np.column_stack(columns) * np.sqrt(weight)[:, None]
        step = np.linalg.lstsq(design, (a[:, 0] - model) * np.sqrt(weight), rcond=None)[0]
        scale, shift = scale + step[0], shift + (step[1] if with_b else 0.0)
    model = b[:, 0] * scale * np.exp(shift / (2 * b[:, 2] ** 2))
    return np.abs((a[:, 0] - model) / a[:, 1])


def inputs(shared_data, sweeps=SWEEPS):
    folder = shared_data / "l_cysteine"
    return [folder / f"{s}_{name}" for s in sweeps for name in ("integrated.pickle", "integrated_experiments.json")]


@pytest.fixture(scope="module")
def first(shared_data, tmp_path_factory):
    """The four sweeps scaled together for the first time."""
    run = Run(tmp_path_factory.mktemp("first"), *inputs(shared_data), FIXED)
    assert run.status == 0, run.err
    return run


@pytest.fixture
def again(first, tmp_path):
    """A function that scales the first result again, in a folder of its own."""

    def scale(*words, source=first, folder=None):
        folder = folder or tmp_path / f"again{len(list(tmp_path.iterdir()))}"
        folder.mkdir(exist_ok=True)
        if source.folder != folder:
            for name in PAIR:
                shutil.copy(source.folder / name, folder / name)
        return Run(folder, *PAIR, *words)

    return scale


@pytest.fixture(scope="module")
def excluded(first, tmp_path_factory):
    """The end of two sweeps left out."""
    folder = tmp_path_factory.mktemp("excluded")
    for name in PAIR:
        shutil.copy(first.folder / name, folder / name)
    return Run(folder, *PAIR, "exclude_batches=7001,7200", "exclude_batches=5201,5400")


def test_first_run_names_and_numbers_the_sweeps(first):
    lines = first.log.splitlines()
    assert "Dataset unique identifiers are ['0', '1', '2', '3']" in lines
    assert first.batches() == [TABLE, TABLE]
    assert lines[lines.index("Batch numbers assigned to datasets:") + 1] == TABLE[0]


def test_excluding_batches(excluded, first):
    assert excluded.status == 0, excluded.err
    assert excluded.batches() == [TABLE, EXCLUDED]
    assert "exclude_batches=7001,7200: images 1501-1700 of data set 3 excluded." in excluded.log
    for data_set in excluded.data_sets():
        table = data_set.table
        flagged = (np.asarray(table["flags"], np.uint64) & np.uint64(Flag.USER_EXCLUDED_IN_SCALING)) != 0
        out = table["xyzobs.px.value"][:, 2] >= 1500
        if data_set.identifier in "23":
            assert flagged[out].all()
            assert np.array_equal(table["scaling_fate"] == Fate.IMAGE_EXCLUDED, out)
            assert data_set.experiment.scan.valid_image_ranges == ((1, 1500),)
            configuration = data_set.experiment.scaling_model["configuration_parameters"]
            assert configuration["valid_image_range"] == [1, 1500]
    sizes = [
        {d["identifier"]: d["model"]["scale"]["n_parameters"] for d in r.summary["data_sets"]}
        for r in (first, excluded)
    ]
    assert all(sizes[1][k] < sizes[0][k] for k in "23")
    assert all(sizes[1][k] == sizes[0][k] for k in "01")


def test_images_and_batches_agree(excluded, again):
    run = again("exclude_images=2:1501:1700,3:1501:1700")
    assert run.batches() == [TABLE, EXCLUDED]
    assert all(np.array_equal(f, excluded.fates()[k]) for k, f in run.fates().items())
    assert largest_move(excluded.merged(), run.merged()) < 0.1


def test_one_after_the_other_equals_both_at_once(excluded, again):
    run = again("exclude_images=3:1501:1700")
    run = again("exclude_images=2:1601:1700", source=run)
    run = again("exclude_batches=5201,5300", source=run, folder=run.folder)
    assert run.batches()[1] == EXCLUDED
    told = [(run.fates()[k], excluded.fates()[k]) for k in "0123"]
    assert all(np.array_equal(a == Fate.IMAGE_EXCLUDED, b == Fate.IMAGE_EXCLUDED) for a, b in told)
    # an observation whose z is zmax to three digits may end on either side of it
    flips = sum(np.count_nonzero(a != b) for a, b in told)
    assert flips <= 1
    assert np.count_nonzero(moves(excluded.merged(), run.merged()) > 0.1) <= flips


def test_third_run_keeps_numbers_and_ranges(excluded, again):
    run = again(source=excluded)
    assert run.batches() == [TABLE, EXCLUDED]
    assert "Data set 2: images 1501-1700 stay excluded, as in the input." in run.log
    assert largest_move(excluded.merged(), run.merged()) < 0.1


@pytest.mark.parametrize("option", ["reset_exclusions=True", "include_images=2:1501:1700,3:1501:1700"])
def test_taking_back_gives_the_first_result(first, excluded, again, option):
    run = again(option, source=again(source=excluded))
    assert run.batches() == [TABLE, TABLE]
    # an observation whose z is the limit to three digits may end on either side
    flips = sum(np.count_nonzero(f != first.fates()[k]) for k, f in run.fates().items())
    assert flips <= 1
    assert np.count_nonzero(moves(first.merged(), run.merged()) > 0.1) <= flips
    sizes = [[d["model"]["scale"]["n_parameters"] for d in r.summary["data_sets"]] for r in (first, run)]
    assert sizes[0] == sizes[1]


def test_removing_data_sets_keeps_the_old_pair_ids_and_numbers(first, again):
    run = again("exclude_datasets=0 2")
    assert run.status == 0, run.err
    for name, previous in zip(PAIR, ("scaled.previous.expt", "scaled.previous.refl"), strict=True):
        assert (run.folder / previous).read_bytes() == (first.folder / name).read_bytes()
    assert "is kept as scaled.previous.expt" in " ".join(run.log.split())
    assert [(d.id, d.identifier) for d in run.data_sets()] == [(1, "1"), (3, "3")]
    assert run.batches() == [[TABLE[1], TABLE[3]]] * 2
    use = again("use_datasets=1,3")
    assert largest_move(run.merged(), use.merged()) < 1e-6
    third = again(source=run)
    assert third.batches() == run.batches()
    assert largest_move(run.merged(), third.merged()) < 0.1
    assert not list(third.folder.glob("*previous*"))
    ledger = run.summary["ledger"]
    assert ledger["data_sets"]["0"] == {"data_set_excluded": 3300}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["exclude_datasets=0", "use_datasets=1"], "use_datasets and exclude_datasets are both given.*0, 1, 2, 3"),
        (["exclude_datasets=0 9"], "no data set '9'; there are 0, 1, 2, 3"),
        (["use_datasets=#7"], "no data set '#7'; there are 0, 1, 2, 3"),
        (["exclude_datasets=0,1 2 3"], "exclude_datasets=.* leaves no data set"),
        (["exclude_batches=8000,9000"], "exclude_batches=8000,9000: .*there are 0: 1-1800, 1: 1901-3600"),
        (["exclude_batches=1810,1890"], "exclude_batches=1810,1890: no sweep has these batch numbers"),
        (["exclude_batches=7200,7001"], "exclude_batches=7200,7001: the first batch number is larger"),
        (["exclude_images=2:20:1"], "exclude_images=2:20:1: the first image number is larger"),
        (["exclude_images=2:1701:1800"], "exclude_images=2:1701:1800: .*there are 2: 1-1700"),
        (["exclude_images=9:1:20"], "exclude_images=9:1:20: there is no data set '9'"),
        (["exclude_images=1:20"], "exclude_images=1:20: there are 4 sweeps, name one of them"),
        (["exclude_images=2:1-20"], "exclude_images=2:1-20: expected ID:first:last"),
        (["exclude_batches=1,7200"], "exclude_batches=1,7200: every image of every data set is excluded"),
        (["exclude_images=*:1:1800"], r"exclude_images=\*:1:1800: every image"),
        (["split_at=2:1"], "split_at=2:1: the second part begins at this image, so it must be one of 2-1700"),
    ],
)
def test_wrong_choices_are_told_and_change_nothing(first, again, words, message):
    run = again(*words)
    assert run.status == 2
    assert len(run.err.splitlines()) == 1
    assert re.search(message, run.err), run.err
    for name in PAIR:
        assert (run.folder / name).read_bytes() == (first.folder / name).read_bytes()


def test_a_sweep_without_images_is_dropped_with_a_warning(again):
    run = again("exclude_images=2:1:1700")
    assert run.status == 0
    assert "Warning: data set 2 is left out" in run.log
    assert [d.identifier for d in run.data_sets()] == ["0", "1", "3"]
    assert (run.folder / "scaled.previous.refl").exists()


def test_stills_have_neither_images_nor_batches(shared_data, tmp_path):
    files = [shared_data / "ssx_cunir" / name for name in ("integrated.expt", "integrated.refl")]
    assert "so there are no batch numbers" in Run(tmp_path, *files, "exclude_batches=1,2").err
    assert "is a still" in Run(tmp_path, *files, "exclude_images=#0:1:1").err


# Scaling again


def test_scaling_again_changes_nothing_and_says_what_it_took_over(first, again):
    run = again()
    assert largest_move(first.merged(), run.merged()) < 0.1
    assert all(np.array_equal(f, first.fates()[k]) for k, f in run.fates().items())
    assert sum(run.steps()) <= 3
    text = " ".join(run.log.split())
    assert "Taken over from the input as a start, all data sets: scale, decay, absorption" in text
    assert "Error model of the input as a start: a 1." in text
    assert "Imid" not in text  # the mixture by expected errors has no midpoint
    assert "outliers of the earlier run are kept" in text


def test_intervals_and_components_can_change(again):
    run = again("scale_interval=30", "physical.absorption_correction=False")
    model = run.summary["data_sets"][0]["model"]
    assert model["scale"]["n_parameters"] == 8
    assert "absorption" not in model
    assert "absorption is dropped, as asked for" in run.log
    run = again("physical.absorption_correction=True", source=run)
    model = run.summary["data_sets"][0]["model"]
    assert model["scale"]["n_parameters"] == 8
    assert model["absorption"]["n_parameters"] == 24
    assert "scale, decay; new: absorption" in " ".join(run.log.split())


def test_overwriting_models_is_a_first_run(first, again):
    run = again("overwrite_existing_models=True", FIXED)
    assert "Not taken over from the input, as asked for" in run.log
    assert largest_move(first.merged(), run.merged()) < 1e-6


def test_limits_are_not_kept_and_the_log_says_so(first, again):
    run = again("d_min=1.0")
    assert run.summary["ledger"]["total"]["resolution_cut"] > 7000
    run = again(source=run)
    assert "outside the resolution limits. Limits are not taken over" in " ".join(run.log.split())
    assert largest_move(first.merged(), run.merged()) < 0.1


def test_new_data_beside_scaled_data(first, again, shared_data, tmp_path):
    part = again("use_datasets=0,1")
    run = Run(part.folder, *PAIR, *inputs(shared_data, ["30", "35"]))
    assert run.status == 0, run.err
    assert [d.identifier for d in run.data_sets()] == ["0", "1", "2", "3"]
    assert run.batches() == [TABLE, TABLE]
    assert "data set 2, 3: scale, decay, absorption are new" in " ".join(run.log.split())
    assert "restraints fixed, as in the earlier run" in run.log  # the new ones, too
    # an observation whose z is the limit to three digits may end on either side
    flips = sum(np.count_nonzero(f != first.fates()[k]) for k, f in run.fates().items())
    assert flips <= 1
    assert np.count_nonzero(moves(first.merged(), run.merged()) > 0.1) <= flips


def test_a_sweep_scaled_by_dials_is_a_start(shared_data, tmp_path):
    folder = shared_data / "l_cysteine_scaled"
    run = Run(tmp_path, folder / "scaled_30.expt", folder / "scaled_30.refl", "exclude_images=1601:1700")
    assert run.status == 0, run.err
    assert "Taken over from the input as a start, all data sets: scale, decay, absorption" in run.log
    assert "Outliers are tested anew" in run.log
    (data_set,) = run.data_sets()
    assert data_set.experiment.scan.valid_image_ranges == ((1, 1600),)


# The same with estimated restraints


@pytest.fixture(scope="module")
def estimated(shared_data, tmp_path_factory):
    """One sweep with the default, estimated restraints."""
    run = Run(tmp_path_factory.mktemp("estimated"), *inputs(shared_data, SWEEPS[:1]))
    assert run.status == 0, run.err
    return run


def strengths(run):
    return run.summary["fit"]["strengths"]


def test_estimated_restraints_end_where_they_ended(estimated, again):
    run = again(source=estimated)
    assert largest_move(estimated.merged(), run.merged()) < 0.1
    assert all(np.array_equal(f, estimated.fates()[k]) for k, f in run.fates().items())
    assert sum(run.steps()) <= 3
    assert strengths(run).keys() == strengths(estimated).keys()
    for kind, value in strengths(estimated).items():
        ends = np.minimum([strengths(run)[kind], value], 1e7)  # beyond, nothing is left whatever the strength
        assert abs(np.log(ends[0] / ends[1])) < 0.05, kind
    text = " ".join(run.log.split())
    assert "restraints estimated, as in the earlier run" in text
    assert "outliers of the earlier run are kept" in text
    stored = [d.experiment.scaling_model for d in run.data_sets()]
    assert {model["braggscale"]["outliers"]["zmax"] for model in stored} == {ZMAX}


def test_estimated_restraints_leave_out_and_take_back(estimated, again):
    run = again("exclude_images=1601:1800", source=estimated)
    assert run.status == 0, run.err
    assert np.array_equal(
        run.fates()["0"] == Fate.IMAGE_EXCLUDED, run.data_sets()[0].table["xyzobs.px.value"][:, 2] >= 1600
    )
    back = again("reset_exclusions=True", source=run)
    assert strengths(back).keys() == strengths(estimated).keys()
    # an observation at the border of rejection may end on either side of it
    flips = sum(np.count_nonzero(f != estimated.fates()[k]) for k, f in back.fates().items())
    assert flips <= 2
    # each change of a verdict changes its reflection, and another may follow, because the mixture is determined anew
    assert np.count_nonzero(moves(estimated.merged(), back.merged()) > 0.1) <= 2 * flips


def rewritten(source, folder):
    """The pair as written by dials.scale 3.12.1: only components that it knows, with its own errors and scales."""
    folder.mkdir()
    shutil.copy(source.folder / PAIR[1], folder / PAIR[1])
    document = json.loads((source.folder / PAIR[0]).read_text())
    rng = np.random.default_rng(4)
    for model in document["scaling_model"]:
        known = model["configuration_parameters"]["corrections"]
        for name in set(model) - {"__id__", "configuration_parameters", *known}:
            del model[name]
        model["configuration_parameters"]["error_model_parameters"] = [0.9, 0.05]
        model["configuration_parameters"]["error_model_linear_term"] = 1e6
        model["scale"]["parameters"] = [x * rng.normal(1.0, 0.1) for x in model["scale"]["parameters"]]
        model["absorption"]["parameters"] = [0.0] * len(model["absorption"]["parameters"])
    (folder / PAIR[0]).write_text(json.dumps(document))
    return folder


def test_nothing_stale_is_taken_from_a_model_that_dials_has_rewritten(estimated, tmp_path):
    run = Run(rewritten(estimated, tmp_path / "rewritten"), *PAIR)
    assert run.status == 0, run.err
    text = " ".join(run.log.split())
    assert "as a start, all data sets: scale, decay, absorption; new: modulation" in text
    assert "intervals, lmax and weight of the stored model do not apply, as restraints are estimated" in text
    assert re.search(r"Error model of the input as a start: a 0\.9000 b 0\.05000 (?!c )", text)  # no linear term
    assert "Outliers are tested anew" in text
    # corrections that the data hardly support may vanish from this start
    flips = sum(np.count_nonzero(f != estimated.fates()[k]) for k, f in run.fates().items())
    assert flips <= 3
    assert np.sqrt(np.mean(moves(estimated.merged(), run.merged()) ** 2)) < 0.25


def test_fixed_restraints_after_estimated_ones(estimated, again, shared_data, tmp_path):
    fixed, run = Run(tmp_path, *inputs(shared_data, SWEEPS[:1]), FIXED), again(FIXED, source=estimated)
    assert not strengths(run)
    assert [d["model"].keys() for d in run.summary["data_sets"]] == [
        d["model"].keys() for d in fixed.summary["data_sets"]
    ]
    assert largest_move(fixed.merged(), run.merged()) < 0.1


# Gaps and cuts


def test_gap_inside_a_sweep(shared_data, tmp_path):
    run = Run(tmp_path, *inputs(shared_data, ["20"]), "exclude_images=800:1400", FIXED)
    assert run.status == 0, run.err
    assert "(ranges in use: (1, 799), (1401, 1800))" in run.log
    assert "no data determine scale" in " ".join(run.log.split())
    (data_set,) = run.data_sets()
    used = data_set.table["scaling_fate"] == Fate.SCALED
    for name in ("inverse_scale_factor", "inverse_scale_factor_variance", "intensity.scale.variance"):
        values = data_set.table[name][used]
        assert np.isfinite(values).all()
        assert (values > 0).all()
    for name in ("scale", "decay", "absorption"):
        esds = np.array(data_set.experiment.scaling_model[name]["est_standard_devs"])
        assert np.isfinite(esds).all()
        assert (esds > 0).all()
    # dials.scale reaches 0.0119 without the full matrix, which fails there
    assert run.summary["statistics"]["overall"]["r_pim"] <= 0.0125


def test_gap_in_scaled_data(again):
    run = again("exclude_images=0:800:1400")
    assert run.status == 0, run.err
    used = run.fates()["0"] == Fate.SCALED
    scale = run.data_sets()[0].table["inverse_scale_factor"][used]
    assert ((scale > 0.5) & (scale < 2)).all()


@pytest.mark.parametrize("fresh", [True, False])
def test_split(again, shared_data, tmp_path, first, fresh):
    run = Run(tmp_path, *inputs(shared_data), "split_at=2:900", FIXED) if fresh else again("split_at=2:900")
    assert run.status == 0, run.err
    assert "Data set 2 is cut into 2 (images 1-899), 4 (images 900-1700)" in run.log
    parts = {d.identifier: d for d in run.data_sets()}
    assert [d.id for d in parts.values()] == [0, 1, 2, 3, 4]
    scans = [parts[k].experiment.scan for k in "24"]
    assert [s.image_range for s in scans] == [(1, 899), (900, 1700)]
    assert scans[1].oscillation[0] == pytest.approx(scans[0].oscillation[0] + 899 * scans[0].oscillation[1])
    assert (parts["2"].table["xyzobs.px.value"][:, 2] < 899).all()
    assert (parts["4"].table["xyzobs.px.value"][:, 2] >= 899).all()
    assert sum(len(parts[k].table) for k in "24") == len(first.data_sets()[2].table)
    assert run.batches()[0][2].endswith("batch_range: (3701, 4599)")
    assert run.batches()[0][4].endswith("batch_range: (4600, 5400)")
    document = json.loads((run.folder / "scaled.expt").read_text())
    entry = document["experiment"][4]
    assert len(document["scan"][entry["scan"]]["epochs"]) == 801
    assert len(document["crystal"][entry["crystal"]]["A_at_scan_points"]) == 802
    third = again("exclude_images=4:1601:1700", source=run)
    assert third.batches()[1][4].endswith("(range in use: (4600, 5300))")


def test_identifiers_by_hand(shared_data, tmp_path):
    run = Run(tmp_path, "--assign-identifiers", "a b,c d", *inputs(shared_data))
    assert run.status == 0, run.err
    run = Run(tmp_path, "identified.expt", "identified.refl", "exclude_datasets=b", FIXED)
    assert [(d.id, d.identifier) for d in run.data_sets()] == [(0, "a"), (2, "c"), (3, "d")]
    for names, message in (("a b", "2 names for 4 data sets"), ("a b c a", "a is given more than once")):
        run = Run(tmp_path, "--assign-identifiers", names, *inputs(shared_data))
        assert run.status == 2
        assert message in run.err


# Where did each reflection go


def read_options(words):
    settings_, problems = settle([(read_argument(word), True) for word in words])
    assert not problems
    return settings_.options


def test_ledger_adds_up_and_travels(first, shared_data):
    n_rows = open_inputs([str(f) for f in inputs(shared_data)]).n_rows
    ledger = first.summary["ledger"]
    assert ledger["rows"] == sum(ledger["total"].values()) == n_rows
    assert ledger["data_sets"]["-"] == {"not_indexed": 3409}
    for identifier, fate in first.fates().items():
        told = {Fate[k.upper()]: n for k, n in ledger["data_sets"][identifier].items()}
        told.pop(Fate.SUMMED_INTO_ANOTHER)  # not rows of the output
        assert {Fate(k): n for k, n in zip(*np.unique(fate, return_counts=True), strict=True)} == told
    assert FATE_TEXT[Fate.NOT_INTEGRATED] in first.log


SPAN = st.tuples(st.sampled_from("0123*"), st.integers(1, 1700), st.integers(0, 700))
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "exclude_images": st.lists(SPAN, min_size=1, max_size=3),
        "d_min": st.floats(0.7, 1.5),
        "partiality_cutoff": st.floats(0.1, 0.99),
        "min_isigi": st.floats(-5, 2),
        "use_datasets": st.lists(st.sampled_from("0123"), min_size=1, max_size=3, unique=True),
        "outlier_rejection": st.sampled_from(["simple", "None"]),
    },
)


@pytest.fixture(scope="module")
def quarter(first):
    """Every fourth unique reflection of the scaled data, with all its rows: enough to count fates, and quick."""
    data = open_inputs([str(first.folder / name) for name in PAIR])
    data_sets = []
    for one in data.data_sets:
        size = (np.asarray(one.table["miller_index"], np.int64) ** 2) @ [1, 3, 5]  # the same for equivalents in P 2 2 2
        data_sets.append(replace(one, table=one.table.select(np.flatnonzero(size % 4 == 1))))
    return replace(data, data_sets=tuple(data_sets))


@given(options=OPTIONS)
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_always_add_up(quarter, options):
    data = quarter
    use = options.get("use_datasets", "0123")
    words = []
    for name, value in options.items():
        if name == "exclude_images":
            value = ",".join(f"{k}:{a}:{min(a + n, 1700)}" for k, a, n in value if k in use or k == "*")
            if not value:
                continue
        words.append(f"{name}={' '.join(value) if isinstance(value, list) else value}")
    # summation alone: the fit of profiles to sums would take most of the time
    chosen = read_options([*words, "full_matrix=False", "max_iterations=3", "intensity_choice=sum"])
    result = pipeline.run(data.data_sets, data.not_indexed, make_plan(chosen, data.data_sets))
    ledger = result.ledger()
    rows = sum(len(data_set.table) for data_set in data.data_sets) + data.not_indexed
    assert sum(sum(counts.values()) for counts in ledger.values()) == rows
    for data_set in data.data_sets:
        counts = ledger[data_set.identifier]
        assert sum(counts.values()) == len(data_set.table)
        if data_set.identifier not in use:
            assert counts == {Fate.DATA_SET_EXCLUDED: len(data_set.table)}


@pytest.mark.parametrize("order", [("35", "30", "25", "20"), ("25", "35", "20", "30")])
def test_order_of_data_sets_does_not_matter(first, shared_data, tmp_path, order):
    """No data set keeps its place in the second order, and none its neighbours."""
    run = Run(tmp_path, *inputs(shared_data, order), FIXED, *LEAN)
    # no difference in B is removed, because the condition on B does not depend on the order
    assert largest_move(first.merged(), run.merged()) < 0.02
    by_name = dict(zip(order, run.fates().values(), strict=True))
    for sweep, fate in zip(SWEEPS, first.fates().values(), strict=True):
        assert np.array_equal(fate, by_name[sweep])


def test_an_exclusion_rerun_needs_no_more_rounds(first, again):
    rerun = again("exclude_batches=7001,7200", "exclude_batches=5201,5400")
    assert len(rerun.summary["rounds"]) <= len(first.summary["rounds"])
