"""A statistic has the decimals that its error allows, equally many for all shells, and the same everywhere."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from merging_samples import observations, statistics

from braggscale.report.text.tables import merging_table, summary_table
from braggscale.statistics.catalogue import CATALOGUE
from braggscale.statistics.confidence_intervals import Intervals
from braggscale.statistics.shown_digits import FEWEST, shown_digits

R_MEAS = CATALOGUE["r_meas"]


@pytest.fixture(scope="module")
def found():
    return statistics(*observations())


def with_widths(found, r=0.003, cc=0.0004):
    """The same statistics with intervals of these widths."""
    o = found.overall
    limits = Intervals(
        0.95, "images", 360, (o.r_meas, o.r_meas + r), (o.r_pim, o.r_pim + r / 2), (o.r_meas_apart, o.r_meas_apart + r),
        None, (o.cc_half - cc, o.cc_half), (o.cc_anom, o.cc_anom + 0.3),
    )  # fmt: skip
    return replace(found, intervals=limits)


def test_without_intervals_the_catalogue_decides(found):
    digits = shown_digits(found)
    assert digits.shells == digits.overall == {name: s.digits for name, s in CATALOGUE.items()}


def test_shells_have_larger_errors_than_all_data(found):
    digits = shown_digits(with_widths(found))
    assert digits.overall["r_meas"] == digits.overall["r_merge"] == 4
    assert digits.shells["r_meas"] == digits.shells["r_merge"] == 3
    assert digits.overall["cc_anom"] == digits.shells["cc_anom"] == FEWEST
    for name in ("n_obs", "completeness", "mean_i_over_sigma", "r_pim_apart"):
        assert digits.shells[name] == digits.overall[name] == CATALOGUE[name].digits
    assert digits.of_all(R_MEAS, 0.12345) == "0.1235" and digits.of_shell(R_MEAS, None, "?") == "?"


@given(st.floats(1e-7, 0.5), st.floats(1e-7, 0.5))
def test_a_smaller_error_never_has_fewer_digits(found, one, other):
    small, large = (shown_digits(with_widths(found, width, width)) for width in sorted((one, other)))
    for name in CATALOGUE:
        assert small.overall[name] >= large.overall[name] and small.shells[name] >= large.shells[name]


def test_points_stand_below_each_other(found):
    for table in merging_table(with_widths(found)).split("\n\n"):
        lines = [line for line in table.splitlines()[1:] if "---" not in line]
        places = [[match.start() for match in re.finditer(r"\.", line)] for line in lines]
        assert all(place == places[0] for place in places)


def test_a_number_is_the_same_in_tables_and_summary(found):
    found = with_widths(found)
    last = merging_table(found).split("\n\n")[1].splitlines()[-1].split()
    first = merging_table(found).split("\n\n")[1].splitlines()[2].split()
    rows = {line[:22].strip(): line[22:].split() for line in summary_table(found).splitlines()}
    assert rows["Rmeas(I)"][:2] == [last[3], first[3]]
    assert rows["CC half"][:2] == [last[5].rstrip("*"), first[5].rstrip("*")]
