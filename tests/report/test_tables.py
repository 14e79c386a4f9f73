import math
from dataclasses import replace

import numpy as np
import pytest
from merging_samples import CELL, observations, statistics

from braggscale.data.flags import FATE_TEXT, Fate
from braggscale.data.geometry import inverse_d_squared
from braggscale.data.symmetry import Symmetry
from braggscale.report.text.tables import (
    anomalous_table,
    friedel_sentence,
    ledger_tables,
    limit_lines,
    merging_table,
    short_names,
    summary_table,
    text_table,
    times,
)
from braggscale.statistics.confidence_intervals import Intervals


def test_numbers_right_words_left():
    table = text_table(("name", "range", "n", "x"), [("a", "1.5 - 2", 7, 0.123456), ("long name", "-", None, math.nan)])
    assert table.splitlines() == [
        "name         range  n       x",
        "---------  -------  -  ------",
        "a          1.5 - 2  7  0.1235",
        "long name        -  -       -",
    ]


def test_empty_table_is_a_header():
    assert text_table(("a", "bc"), []).splitlines() == ["a  bc", "-  --"]


def test_rows_must_fit_the_header():
    with pytest.raises(ValueError, match="row 1 of a table has 1 cells, its header 2"):
        text_table(("a", "b"), [(1, 2), (3,)])


@pytest.mark.parametrize("hall", [" P 2ac 2ab", "-P 2ac 2ab"])
def test_merging_table_fits_the_terminal(hall):
    symmetry = Symmetry.from_hall(hall)
    hkl, x, sigma = observations(symmetry=symmetry)
    found = statistics(hkl, 1e5 * x, 1e5 * sigma, symmetry)
    amount, agreement = merging_table(found).split("\n\n")
    for table in (amount, agreement):
        lines = table.splitlines()
        assert len(lines) == 2 + 20 + 2
        assert max(len(line) for line in lines) <= 80
        assert lines[1] == lines[-2]
    total = amount.splitlines()[-1].split()
    assert total[2:4] == [str(found.overall.n_obs), str(found.overall.n_unique)]
    assert f"{found.overall.r_meas:.3f}" in agreement.splitlines()[-1]
    assert ("cc_ano" in agreement) == (not symmetry.centrosymmetric)
    assert "nan" not in amount + agreement


def test_anomalous_table():
    found = statistics(*observations())
    lines = anomalous_table(found).splitlines()
    assert len(lines) == 2 + 20 + 2 and max(map(len, lines)) <= 80
    overall = lines[-1].split()
    assert f"{100 * found.overall.anomalous_completeness:.1f}" == overall[2]
    assert f"{found.overall.r_meas_apart:.3f}" == overall[5]
    assert f"{found.overall.anomalous_slope:.2f}" == overall[-1]


def test_intervals():
    found = statistics(*observations())
    assert "interval" not in summary_table(found) and len(limit_lines(found)) == 1
    overall = replace(found.overall, r_meas=0.03561, r_pim=0.5, r_meas_apart=0.031, cc_half=0.99974, cc_anom=0.0114)
    limits = Intervals(
        0.95, "images", 360, (0.03491, 0.03642), None, (0.02, 0.04), None, (0.99952, 0.99989), (-0.084, 0.22)
    )
    with_limits = replace(found, overall=overall, intervals=limits)
    table = summary_table(with_limits)
    lines = {line[:22].strip(): line[22:].split() for line in table.splitlines()}
    assert table.splitlines()[0].endswith("  95 % interval")
    for name, value, limits in (
        ("Rmeas(I)", "0.0356", ["0.0349-0.0364"]),
        ("CC half", "0.99974", ["0.99952-0.99989"]),
        ("Anomalous correlation", "0.01", ["-0.08", "to", "0.22"]),
        ("Rpim(I)", "0.500", []),
    ):
        assert lines[name][0] == value and lines[name][3:] == limits
    assert len(lines["Rmerge(I)"][0]) == len("0.0356")  # as many digits as R_meas
    assert max(map(len, table.splitlines())) <= 80
    assert limit_lines(with_limits)[0] == "The intervals are from 360 blocks of images"
    # the tables by resolution show the same
    assert {"0.0356", "0.99974*"} <= set(merging_table(with_limits).splitlines()[-1].split())
    assert with_limits.to_dict()["intervals"]["r_meas"] == (0.03491, 0.03642)


def test_friedel_mates_that_differ():
    found = statistics(*observations())
    assert friedel_sentence(found) == ""
    overall = replace(found.overall, r_meas=0.0933, r_meas_apart=0.0541, cc_anom=0.804)
    limits = Intervals(0.95, "images", 84, None, None, None, None, None, (0.762, 0.836))
    clear = replace(found, overall=overall, intervals=limits)
    assert friedel_sentence(clear).endswith("within I+ and I- R_meas is 0.054")
    weak = replace(limits, cc_anom=(-0.1, 0.2))
    assert friedel_sentence(replace(clear, intervals=weak)) == ""
    alike = replace(overall, r_meas_apart=0.0931)
    assert friedel_sentence(replace(clear, overall=alike)) == ""


def test_times():
    assert times({"reading": 0.25, "symmetry": 0.001, "scaling": 1.5}) == (
        "Seconds: reading 0.25, scaling 1.50; together 1.75"
    )


def test_summary_table():
    found = statistics(*observations())
    lines = summary_table(found).splitlines()
    assert lines[0].split() == list(found.summary()) == ["Overall", "Low", "High"]
    assert f"{100 * found.overall.completeness:.1f}" in next(line for line in lines if line.startswith("Completeness"))
    assert any(line.startswith("dI/s(dI)") for line in lines)
    assert found.limit.reason in limit_lines(found)[-1]
    symmetry = Symmetry.from_hall("-P 2ac 2ab")
    plain = summary_table(statistics(*observations(symmetry=symmetry), symmetry))
    assert "Anomalous" not in plain and "+/-" not in plain and "Rmeas(I)" in plain


def test_summary_table_with_a_suggestion():
    hkl, x, sigma = observations(n=6000)
    d = inverse_d_squared(hkl, CELL) ** -0.5
    x = np.where(d < 3.2, np.random.default_rng(9).normal(size=len(x)) * sigma, x)
    found = statistics(hkl, x, sigma)
    table = summary_table(found)
    assert table.splitlines()[0].split() == ["Suggested", "Low", "High", "Overall"]
    assert "Suggested resolution limit 3." in limit_lines(found)[0]
    assert max(len(line) for line in table.splitlines()) <= 80


def ledger(n):
    counts = {f"{k:04d}beef-0000-4000": {Fate.SCALED: 90 - k, Fate.OUTLIER: k, Fate.NOT_INDEXED: 10} for k in range(n)}
    return counts | {"-": {Fate.NOT_INDEXED: 5}}


def column(table, name, last=-1):
    lines = table.splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[last])


def test_ledger_of_few_data_sets_adds_up():
    counts = ledger(3)
    (table,) = ledger_tables(counts, FATE_TEXT, 40)
    fates = {Fate.SCALED: 267, Fate.OUTLIER: 3, Fate.NOT_INDEXED: 35}
    for fate, n in fates.items():
        assert column(table, FATE_TEXT[fate]) == n
    assert column(table, "all rows") == sum(fates.values()) == 305
    assert [column(table, "all rows", k) for k in range(2, 6)] == [100, 100, 100, 5]
    assert "image excluded" not in table
    assert "0001beef" in table


def test_ledger_of_many_data_sets_shows_the_worst():
    counts = ledger(60)
    totals, said, worst = ledger_tables(counts, FATE_TEXT, 10)
    assert column(totals, "all rows") == 60 * 100 + 5
    assert max(len(line) for table in (totals, worst) for line in table.splitlines()) <= 80
    assert said.startswith(
        "Of 60 data sets 31.0 to 90.0 % of the rows are scaled, median 61.0 %; least of data set 0059"
    )
    lines = worst.splitlines()[2:]
    assert [line.split()[0] for line in lines] == [f"00{k}beef" for k in (59, 58, 57, 56, 55)]
    everything = ledger_tables(counts, FATE_TEXT, 100)[1]
    assert len(everything.splitlines()) == 2 + 60


def test_ledger_of_one_data_set():
    (table,) = ledger_tables({"0": {Fate.SCALED: 9, Fate.OUTLIER: 1}}, FATE_TEXT, 40)
    assert table.splitlines()[0].split() == ["fate", "rows"]
    assert column(table, "all rows") == 10


def test_ledger_of_nothing():
    assert "all rows" in ledger_tables({}, FATE_TEXT, 40)[0]


def test_short_names_stay_apart():
    assert short_names(["0", "1"]) == ["0", "1"]
    assert short_names(["abcdefgh-1", "abcdefgh-2", "x"]) == ["abcdefgh-1", "abcdefgh-2", "x"]
    assert short_names(["abcdefgh-1234567", "abcdefgi-1234567"]) == ["abcdefgh", "abcdefgi"]
