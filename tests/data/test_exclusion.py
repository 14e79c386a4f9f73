"""Data sets, batches and images in use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.data.batches import assign_batches, batch_lines, next_epoch
from braggscale.data.data_set_names import choose_data_sets
from braggscale.data.experiment import Beam, Crystal, Experiment, Goniometer, Scan
from braggscale.data.image_ranges import difference, intersection, rows_in_use, show_runs, stored_runs, union
from braggscale.data.image_selection import ImageRequest, choose_images
from braggscale.data.sweep_cuts import choose_splits, part_of_rows, split_scan
from braggscale.errors import CommandError

BEAM = Beam(np.array([0.0, 0.0, 1.0]), 1.0)
CRYSTAL = Crystal(np.diag([10.0, 11.0, 12.0]), "P 2 2", (10.0, 11.0, 12.0, 90.0, 90.0, 90.0))
GONIOMETER = Goniometer(np.array([1.0, 0.0, 0.0]), np.eye(3), np.eye(3))
LONG = ["2c2f20d9-7012-4f15", "c4fc52a7-327f-4475", "c4fc99e0-c0e0-438a", "5d21590a-a521-4f74"]


def sweep(identifier, first, last, offset=0, valid=(), scaled=False):
    scan = Scan((first, last), (0.0, 0.1), offset, tuple(valid))
    return Experiment(identifier, BEAM, CRYSTAL, GONIOMETER, scan, scaling_model={} if scaled else None)


def still(identifier):
    return Experiment(identifier, BEAM, CRYSTAL)


def guide_sweeps(**changes):
    """The four sweeps of the user guide."""
    lasts = (1800, 1700, 1700, 1700)
    return [sweep(str(k), 1, last, **changes) for k, last in enumerate(lasts)]


def images(experiments, **options):
    return choose_images(experiments, assign_batches(experiments), ImageRequest(**options))


# Sets of images

runs_of_images = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=6
)


def as_set(runs):
    return {k for a, b in runs for k in range(a, b + 1)}


def is_canonical(runs):
    return all(a <= b for a, b in runs) and all(
        b1 + 1 < a2 for (_, b1), (a2, _) in zip(runs[:-1], runs[1:], strict=True)
    )


@given(runs_of_images, runs_of_images)
@settings(max_examples=100, deadline=None)
def test_runs_are_sets(first, second):
    for result, expected in (
        (union(first), as_set(first)),
        (union([*first, *second]), as_set(first) | as_set(second)),
        (difference(first, second), as_set(first) - as_set(second)),
        (intersection(first, (10, 30)), as_set(first) & set(range(10, 31))),
    ):
        assert as_set(result) == expected
        assert is_canonical(result)


@given(runs_of_images, st.lists(st.floats(-5, 90), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_rows_in_use_follow_their_image(runs, z):
    limits = (3, 70)
    used = intersection(runs, limits)
    expected = [min(max(int(np.floor(v)) + 1, 3), 70) in as_set(used) for v in z]
    assert rows_in_use(np.array(z), limits, used).tolist() == expected


def test_all_images_means_all_rows_and_unknown_positions_are_out():
    z = np.array([0.0, 0.999, 1.0, 9.999, 10.0, np.nan])
    assert rows_in_use(z, (1, 10), ((1, 10),)).tolist() == [True] * 5 + [False]
    assert rows_in_use(z, (1, 10), ((2, 10),)).tolist() == [False, False, True, True, True, False]
    assert not rows_in_use(z, (1, 10), ()).any()


def test_show_runs():
    assert show_runs(((1, 1500), (1601, 1601))) == "1-1500, 1601"
    assert show_runs(()) == "none"


# Data sets


@pytest.mark.parametrize(
    ("use", "exclude", "kept"),
    [
        ((), (), (0, 1, 2, 3)),
        ((), ("0 2",), (1, 3)),
        (("1 3",), (), (1, 3)),
        (("3,1",), (), (1, 3)),
        (("3", "1"), (), (1, 3)),
        ((), ("#0, 2",), (1, 3)),
        ((), ("1 1 1",), (0, 2, 3)),
    ],
)
def test_data_sets_of_the_guide(use, exclude, kept):
    assert choose_data_sets(["0", "1", "2", "3"], use, exclude) == kept


def test_long_identifiers_by_prefix_and_number():
    assert choose_data_sets(LONG, exclude=["2c2f 5d21"]) == (1, 2)
    assert choose_data_sets(LONG, use=["c4fc5"]) == (1,)
    assert choose_data_sets(LONG, use=["#7"], numbers=[1, 3, 5, 7]) == (3,)
    with pytest.raises(CommandError, match=r"'c4fc' fits several data sets \(#1 c4fc52a7.*#2 c4fc99e0"):
        choose_data_sets(LONG, exclude=["c4fc"])
    with pytest.raises(CommandError, match="there is no data set '2c2'"):
        choose_data_sets(LONG, exclude=["2c2"])


def test_short_identifiers_have_no_prefixes():
    with pytest.raises(CommandError, match=r"there is no data set '1000'; there are #0 10000, #1 10001"):
        choose_data_sets(["10000", "10001"], use=["1000"])


def test_identifier_with_a_space():
    assert choose_data_sets(["my sweep", "my", "sweep"], use=["my sweep"]) == (0,)
    assert choose_data_sets(["a", "my", "sweep"], use=["my sweep"]) == (1, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use": ["0"], "exclude": ["1"]}, r"both given; give one of them \(data sets: 0, 1\)"),
        ({"exclude": ["0 5"]}, r"exclude_datasets=0 5: there is no data set '5'; there are 0, 1"),
        ({"use": ["#2"]}, r"use_datasets=#2: there is no data set '#2'"),
        ({"exclude": ["0", "1"]}, r"exclude_datasets=0 1 leaves no data set; there are 0, 1"),
    ],
)
def test_data_set_errors(options, message):
    with pytest.raises(CommandError, match=message):
        choose_data_sets(["0", "1"], **options)


def test_long_listings_are_cut():
    with pytest.raises(CommandError, match=r"0, 1, .*, 11 and 488 more$"):
        choose_data_sets([str(k) for k in range(500)], use=["x"])


# Batches


@pytest.mark.parametrize(
    ("last", "first"),
    [(1800, 1901), (3600, 3701), (5400, 5501), (99, 101), (100, 201), (105, 201), (1, 101)],
)
def test_next_epoch(last, first):
    assert next_epoch(last) == first


def test_batch_table_of_the_guide():
    sweeps = guide_sweeps()
    offsets = assign_batches(sweeps)
    assert offsets == (0, 1900, 3700, 5500)
    assert batch_lines(sweeps, offsets) == (
        "Experiment identifier: 0, image_range: (1, 1800), batch_range: (1, 1800)",
        "Experiment identifier: 1, image_range: (1, 1700), batch_range: (1901, 3600)",
        "Experiment identifier: 2, image_range: (1, 1700), batch_range: (3701, 5400)",
        "Experiment identifier: 3, image_range: (1, 1700), batch_range: (5501, 7200)",
    )


def test_batch_numbers_stay_when_stored():
    sweeps = guide_sweeps()
    stored = [
        sweep(e.identifier, *e.scan.image_range, offset=o, scaled=True)
        for e, o in zip(sweeps, assign_batches(sweeps), strict=True)
    ]
    assert assign_batches(stored) == (0, 1900, 3700, 5500)
    assert assign_batches(stored[1:]) == (1900, 3700, 5500)
    assert assign_batches([stored[3], stored[0]]) == (5500, 0)
    assert assign_batches(stored[:1]) == (0,)
    # New data beside them get free numbers, even if they are named first.
    assert assign_batches([sweep("new", 1, 500), *stored]) == (7300, 0, 1900, 3700, 5500)
    assert assign_batches([*stored, sweep("new", 8001, 8500)])[-1] == 0


def test_offsets_that_are_all_zero_are_assigned_afresh():
    # DIALS writes 0 for every sweep.
    assert assign_batches(guide_sweeps(scaled=True)) == (0, 1900, 3700, 5500)


def test_colliding_stored_batches_are_moved(caplog):
    twice = [sweep("0", 1, 90, 100, scaled=True), sweep("1", 1, 90, 150, scaled=True)]
    assert assign_batches(twice) == (100, 0)
    assert "stored batch numbers of data set 1 belong to another" in caplog.text


def test_stills_image_zero_and_neighbours():
    assert assign_batches([still("s"), sweep("0", 0, 99), still("t")]) == (None, 1, None)
    assert assign_batches([sweep("0", 1, 100), sweep("1", 101, 200)]) == (0, 0)
    assert assign_batches([sweep("0", 1, 99), sweep("1", 1, 99), sweep("2", 50, 60)]) == (0, 100, 151)
    assert batch_lines([still("s")], (None,)) == ()


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 400)), min_size=1, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_batch_numbers_are_unique_and_do_not_change(ranges, remains):
    sweeps = [sweep(str(k), a, a + n) for k, (a, n) in enumerate(ranges)]
    offsets = assign_batches(sweeps)
    numbers = [(e.scan.image_range[0] + o, e.scan.image_range[1] + o) for e, o in zip(sweeps, offsets, strict=True)]
    assert sum(last - first + 1 for first, last in union(numbers)) == sum(e.scan.n_images for e in sweeps)
    assert min(a for a, _ in numbers) > 0
    stored = [
        sweep(e.identifier, *e.scan.image_range, offset=o, scaled=True) for e, o in zip(sweeps, offsets, strict=True)
    ]
    left = [k for k in range(len(sweeps)) if remains[k]]
    assert assign_batches([stored[k] for k in left]) == tuple(offsets[k] for k in left)


# Images


def test_excluding_the_ends_of_two_sweeps_as_in_the_guide():
    sweeps = guide_sweeps()
    by_batch = images(sweeps, exclude_batches=[(7001, 7200), (5201, 5400)])
    by_image = images(sweeps, exclude_images=["3:1501:1700,2:1501:1700"])
    assert by_batch.in_use == by_image.in_use == (((1, 1800),), ((1, 1700),), ((1, 1500),), ((1, 1500),))
    assert by_batch.emptied == ()
    assert "exclude_batches=7001,7200: images 1501-1700 of data set 3 excluded." in by_batch.lines
    lines = batch_lines(sweeps, assign_batches(sweeps), by_batch.in_use)
    assert lines[1].endswith("batch_range: (1901, 3600)")
    assert lines[2].endswith("batch_range: (3701, 5400) (range in use: (3701, 5200))")
    assert lines[3].endswith("batch_range: (5501, 7200) (range in use: (5501, 7000))")


def test_gap_shows_both_ranges():
    sweeps = [sweep("0", 1, 1800)]
    choice = images(sweeps, exclude_images=["800:1400"])
    (line,) = batch_lines(sweeps, (0,), choice.in_use)
    assert line.endswith("(ranges in use: (1, 799), (1401, 1800))")


def test_batches_reach_into_every_sweep_that_they_touch():
    choice = images(guide_sweeps(), exclude_batches=[(1751, 2000)])
    assert choice.in_use[:2] == (((1, 1750),), ((101, 1700),))


def test_star_names_every_sweep_but_no_still():
    choice = images([sweep("0", 1, 100), still("1"), sweep("2", 1, 50)], exclude_images=["*:1:20 *:45:60"])
    assert choice.in_use == (((21, 44), (61, 100)), None, ((21, 44),))


def test_stored_exclusions_stay_until_taken_back():
    sweeps = [sweep("0", 1, 100, valid=[(1, 80)]), sweep("1", 1, 100)]
    kept = images(sweeps, exclude_images=["0:1:10"])
    assert kept.in_use == (((11, 80),), ((1, 100),))
    assert "Data set 0: images 81-100 stay excluded, as in the input." in kept.lines
    assert images(sweeps, include_images=["0:91:100"]).in_use[0] == ((1, 80), (91, 100))
    reset = images(sweeps, reset_exclusions=True)
    assert reset.in_use == (((1, 100),), ((1, 100),))
    assert "Data set 0: images 81-100 are in use again." in reset.lines


def test_a_long_list_is_one_line():
    sweeps = [sweep(str(k), 1, 10) for k in range(2000)]
    choice = images(sweeps, exclude_images=["*:1:2"])
    assert choice.lines == ("exclude_images=*:1:2: images of 2000 data sets excluded.",)
    assert choice.in_use == (((3, 10),),) * 2000


def test_identifiers_with_colons_prefixes_and_numbers():
    sweeps = [sweep("a:b:1", 1, 10), sweep(LONG[0], 1, 10), sweep(LONG[1], 1, 10)]
    choice = images(sweeps, exclude_images=["a:b:1:1:2", "2c2f:3:4", "#2:5:6"])
    assert choice.in_use == (((3, 10),), ((1, 2), (5, 10)), ((1, 4), (7, 10)))


def test_sweep_that_loses_all_images():
    choice = images(guide_sweeps(), exclude_batches=[(1801, 3650)])
    assert choice.emptied == (1,)
    assert choice.in_use[1] == ()


STORY = st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.integers(1, 30), st.integers(0, 12)), max_size=12)


@given(STORY)
@settings(max_examples=60, deadline=None)
def test_any_sequence_of_runs_equals_the_set_algebra_at_once(story):
    """One option per run of the program, images in use stored between runs."""
    lasts = (30, 25)
    stored = [((1, last),) for last in lasts]
    expected = [set(range(1, last + 1)) for last in lasts]
    removed = [[], []]
    for exclude, k, first, more in story:
        last = min(first + more, lasts[k])
        if first > last:
            continue
        named = set(range(first, last + 1))
        after = expected[k] - named if exclude else expected[k] | named
        if not after:
            continue
        expected[k] = after
        sweeps = [sweep(str(j), 1, lasts[j], valid=stored[j]) for j in (0, 1)]
        option = "exclude_images" if exclude else "include_images"
        stored = list(images(sweeps, **{option: [f"{k}:{first}:{last}"]}).in_use)
        if exclude:
            removed[k].append((first, last))
    assert [as_set(runs) for runs in stored] == expected
    if all(exclude for exclude, *_ in story):
        once = [f"{k}:{a}:{b}" for k in (0, 1) for a, b in removed[k]]
        assert images([sweep("0", 1, 30), sweep("1", 1, 25)], exclude_images=once).in_use == tuple(stored)


@given(st.lists(st.tuples(st.integers(1, 1800), st.integers(0, 900)), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_both_options_agree(spans):
    sweeps = guide_sweeps()
    offsets = assign_batches(sweeps)
    batches = [(a, a + n) for a, n in spans]
    named = [
        f"{e.identifier}:{a - o}:{b - o}"
        for first, last in batches
        for e, o in zip(sweeps, offsets, strict=True)
        for a, b in intersection([(first, last)], (1 + o, e.scan.image_range[1] + o))
    ]
    assert images(sweeps, exclude_batches=batches).in_use == images(sweeps, exclude_images=named).in_use


ONE = [sweep("0", 1, 100)]
TWO = [sweep("0", 1, 100), sweep("1", 1, 50)]


@pytest.mark.parametrize(
    ("experiments", "options", "message"),
    [
        (TWO, {"exclude_images": ["0:200:300"]}, r"=0:200:300: no sweep has these image numbers; there are 0: 1-100$"),
        (TWO, {"exclude_images": ["*:200:300"]}, r"there are 0: 1-100, 1: 1-50$"),
        (TWO, {"include_images": ["1:60:70"]}, r"include_images=1:60:70: no sweep has these .* 1: 1-50$"),
        (TWO, {"exclude_images": ["0:30:20"]}, r"first image number is larger than the last; write 20 before 30"),
        (TWO, {"exclude_images": ["30:40"]}, r"there are 2 sweeps, name one of them"),
        (TWO, {"exclude_images": ["7:3:4"]}, r"=7:3:4: there is no data set '7'; there are 0, 1"),
        (TWO, {"exclude_images": ["0:3-4"]}, r"expected ID:first:last"),
        (TWO, {"exclude_images": ["0:1:x"]}, r"expected ID:first:last"),
        (TWO, {"exclude_images": ["5"]}, r"expected ID:first:last"),
        (TWO, {"exclude_images": ["*:1:100"]}, r"^exclude_images=\*:1:100: every image of every data set is excl"),
        (ONE, {"exclude_batches": [(1, 100)]}, r"^exclude_batches=1,100: every image of every data set is excluded"),
        (TWO, {"exclude_batches": [(120, 130)]}, r"no sweep has these batch numbers; there are 0: 1-100, 1: 201-250"),
        (TWO, {"exclude_batches": [(30, 20)]}, r"exclude_batches=30,20: the first batch number is larger"),
        (TWO, {"exclude_batches": [(30,)]}, r"expected two batch numbers"),
        ([still("0")], {"exclude_batches": [(1, 2)]}, r"no data set has a scan, so there are no batch numbers"),
        ([still("0")], {"exclude_images": ["1:2"]}, r"none of the data sets has a scan"),
        ([*ONE, still("s")], {"exclude_images": ["s:1:2"]}, r"data set s is a still .* use exclude_datasets=s"),
    ],
)
def test_image_errors(experiments, options, message):
    with pytest.raises(CommandError, match=message):
        images(experiments, **options)


def test_single_sweep_needs_no_identifier_even_beside_stills():
    assert images([still("s"), *ONE], exclude_images=["1:10"]).in_use == (None, ((11, 100),))


# Cutting


def test_split():
    experiments = guide_sweeps()
    starts = choose_splits(["2:900, 2:1200", "0:2"], experiments)
    assert starts == {0: (2,), 2: (900, 1200)}
    scan = Scan((1, 1700), (-10.0, 0.1), 3700, ((1, 500), (1000, 1700)))
    parts = split_scan(scan, starts[2], stored_runs(scan))
    assert [p.image_range for p, _ in parts] == [(1, 899), (900, 1199), (1200, 1700)]
    assert [p.oscillation[0] for p, _ in parts] == pytest.approx([-10.0, 79.9, 109.9])
    assert [runs for _, runs in parts] == [((1, 500),), ((1000, 1199),), ((1200, 1700),)]
    assert all(p.batch_offset == 3700 for p, _ in parts)
    assert part_of_rows(np.array([0.0, 898.9, 899.0, 1198.99, 1199.0, 1700.0]), starts[2]).tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


def test_parts_of_a_sweep_keep_their_batch_numbers():
    scan = sweep("0", 1, 100).scan
    parts = split_scan(scan, (51,), stored_runs(scan))
    experiments = [sweep(str(k), *p.image_range, scaled=True) for k, (p, _) in enumerate(parts)]
    assert assign_batches(experiments) == (0, 0)


def test_part_without_images_in_use():
    scan = Scan((1, 100), (0.0, 1.0), 0, ((1, 40),))
    assert [runs for _, runs in split_scan(scan, (51,), stored_runs(scan))] == [((1, 40),), ()]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0:1", r"split_at=0:1: .* must be one of 2-100 in data set 0"),
        ("0:101", r"must be one of 2-100"),
        ("50", r"there are 2 sweeps"),
        ("0:1:2", r"split_at=0:1:2: there is no data set '0:1'"),
        ("0:x", r"expected ID:image"),
    ],
)
def test_split_errors(value, message):
    with pytest.raises(CommandError, match=message):
        choose_splits([value], TWO)


def test_batch_numbers_below_one_are_given_anew(caplog):
    pieces = [sweep("a", 1, 90, offset=-20), sweep("b", 151, 240, offset=300)]
    assert assign_batches(pieces) == (0, 300)
    assert "stored batch numbers of data set a begin below 1; it gets new ones" in caplog.text
    assert assign_batches([sweep("a", -10, 20)]) == (11,)
    assert assign_batches([sweep("a", 0, 20)]) == (1,)


def test_batches_of_stills_are_the_numbers_of_their_images():
    stills = [replace(still(str(n)), scan=Scan((n, n), (0.0, 0.0), 0, ())) for n in (7, 8, 9)]
    choice = images([*stills, still("x"), sweep("s", 1, 8)], exclude_batches=[(8, 20)])
    assert choice.in_use == (None, (), (), None, ((1, 7),))
    assert choice.emptied == (1, 2)
    with pytest.raises(CommandError, match="no sweep has these batch numbers; there are 7: 7-7"):
        images(stills, exclude_batches=[(30, 40)])
    with pytest.raises(CommandError, match="every image of every data set is excluded"):
        images(stills, exclude_batches=[(1, 40)])
