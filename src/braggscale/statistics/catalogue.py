"""The catalogue of merging statistics: label, number of digits, meaning and formula of each.

Log tables, report, comparison of runs, mmCIF files, the schema of ``scale.json`` and docs/statistics.md take names,
digits and sentences from here, so that a statistic has the same definition in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["up", "down"]
Limits = tuple[float, float]


@dataclass(frozen=True, slots=True)
class CifItem:
    """Items of mmCIF: ``overall`` in category ``_reflns``, ``shell`` in ``_reflns_shell``.  ``form``: printf format."""

    overall: str
    shell: str
    form: str


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic of a resolution range.

    ``name``: in ``scale.json``, and of the field of ``merging_statistics.Shell``.  ``label``: in the report.
    ``heading``: of its column in the tables of the log.  ``line``: of its row in the summary of the log.
    ``digits``: decimals that are shown where errors do not decide (shown_digits.py).
    ``unit``: empty for a pure number.
    ``meaning``: a sentence.  ``formula``: empty if the meaning is a complete definition. ``better``: whether a
    larger (up) or a smaller (down) value is better; None if neither is.
    ``percent``: shown as 100 times the value, which is between 0 and 1.
    ``anomalous``: about the differences of Friedel mates; unknown for centrosymmetric space groups.
    ``cif``: its items in mmCIF, None where the dictionary has none.
    """

    name: str
    label: str
    heading: str
    line: str
    digits: int
    unit: str
    meaning: str
    formula: str = ""
    better: Better | None = None
    percent: bool = False
    anomalous: bool = False
    cif: CifItem | None = None

    @property
    def factor(self) -> float:
        """The factor by which the value is multiplied before it is shown."""
        return 100.0 if self.percent else 1.0

    @property
    def title(self) -> str:
        """Label with the unit, for the axis of a plot or the head of a column."""
        unit = "%" if self.percent else self.unit
        return f"{self.label} / {unit}" if unit else self.label


_STATISTICS = (
    Statistic("d_max", "Low resolution limit", "d_max", "Low resolution limit", 2, "Å",
              "Resolution at which the range begins.", cif=CifItem("d_resolution_low", "d_res_low", "%.4f")),
    Statistic("d_min", "High resolution limit", "d_min", "High resolution limit", 2, "Å",
              "Resolution at which the range ends.", cif=CifItem("d_resolution_high", "d_res_high", "%.4f")),
    Statistic("n_obs", "Observations", "#obs", "Total observations", 0, "",
              "Scaled observations that are no outliers.",
              cif=CifItem("pdbx_number_measured_all", "number_measured_obs", "%d")),
    Statistic("n_unique", "Unique reflections", "#uniq", "Total unique", 0, "",
              "Different reflections among them, Friedel mates counted as one.",
              cif=CifItem("number_obs", "number_unique_obs", "%d")),
    Statistic("multiplicity", "Multiplicity", "mult.", "Multiplicity", 2, "",
              "How often a unique reflection was measured on average.", "observations / unique reflections", "up",
              cif=CifItem("pdbx_redundancy", "pdbx_redundancy", "%.3f")),
    Statistic("completeness", "Completeness", "%comp", "Completeness", 1, "",
              "Share of the reflections that the space group allows in the range.", "unique / possible", "up",
              percent=True, cif=CifItem("percent_possible_obs", "percent_possible_obs", "%.2f")),
    Statistic("mean_intensity", "⟨I⟩", "<I>", "Mean intensity", 1, "counts",
              "Mean of the merged intensities.", "mean of m_h"),
    Statistic("mean_i_over_sigma", "⟨I/σ⟩", "<I/sI>", "I/sigma", 1, "",
              "Mean signal-to-noise ratio of the merged intensities.", "mean of m_h / σ(m_h)", "up",
              cif=CifItem("pdbx_netI_over_sigmaI", "pdbx_netI_over_sigmaI_obs", "%.2f")),
    Statistic("r_merge", "R_merge", "r_mrg", "Rmerge(I)", 3, "",
              "Mean deviation of single observations from the merged intensity. It grows with the multiplicity.",
              "Σ_h Σ_i |x_hi − m_h| / Σ_h Σ_i x_hi", "down", cif=CifItem("pdbx_Rmerge_I_obs", "Rmerge_I_obs", "%.4f")),
    Statistic("r_merge_apart", "R_merge(I+/-)", "r_mrg", "Rmerge(I+/-)", 3, "",
              "R_merge of I+ and I- as different reflections.",
              "as R_merge", "down", anomalous=True),
    Statistic("r_meas", "R_meas", "r_meas", "Rmeas(I)", 3, "",
              "Deviation of single observations, independent of the multiplicity.",
              "Σ_h √(n/(n−1)) Σ_i |x_hi − m_h| / Σ_h Σ_i x_hi", "down",
              cif=CifItem("pdbx_Rrim_I_all", "pdbx_Rrim_I_all", "%.4f")),
    Statistic("r_meas_apart", "R_meas(I+/-)", "r_meas", "Rmeas(I+/-)", 3, "",
              "R_meas of I+ and I- as different reflections.",
              "as R_meas", "down", anomalous=True),
    Statistic("r_pim", "R_pim", "r_pim", "Rpim(I)", 3, "",
              "Expected deviation of the merged intensities; it falls as the multiplicity grows.",
              "Σ_h √(1/(n−1)) Σ_i |x_hi − m_h| / Σ_h Σ_i x_hi", "down",
              cif=CifItem("pdbx_Rpim_I_all", "pdbx_Rpim_I_all", "%.4f")),
    Statistic("r_pim_apart", "R_pim(I+/-)", "r_pim", "Rpim(I+/-)", 3, "",
              "R_pim of I+ and I- as different reflections.",
              "as R_pim", "down", anomalous=True),
    Statistic("cc_half", "CC1/2", "cc1/2", "CC half", 3, "",
              "Correlation of the merged intensities of two random halves of the observations. A star marks values "
              "that are above zero at the level 0.01.", "mean over random divisions of the correlation", "up",
              cif=CifItem("pdbx_CC_half", "pdbx_CC_half", "%.5f")),
    Statistic("cc_half_analytic", "CC1/2 (analytic)", "cc1/2a", "CC half (analytic)", 3, "",
              "CC1/2 from variances, without random halves.", "(σ_y² − σ_ε²/2) / (σ_y² + σ_ε²/2)", "up"),
    Statistic("r_anom", "R_anom", "r_anom", "Ranom", 3, "", "Mean difference of Friedel mates.",
              "Σ |I+ − I−| / Σ |⟨I⟩|", anomalous=True),
    Statistic("cc_anom", "CC_anom", "cc_ano", "Anomalous correlation", 3, "",
              "Correlation of the anomalous differences of two random halves. A star marks values that are above "
              "zero at the level 0.01.", "correlation of I+ − I− in both halves", "up", anomalous=True,
              cif=CifItem("pdbx_CC_half_anomalous", "pdbx_CC_half_anomalous", "%.4f")),
    Statistic("anomalous_completeness", "Anomalous completeness", "%pairs", "Anomalous completeness", 1, "",
              "Share of the possible acentric reflections of which both mates were measured.", "pairs / possible", "up",
              percent=True, anomalous=True,
              cif=CifItem("pdbx_percent_possible_anomalous", "pdbx_percent_possible_anomalous", "%.2f")),
    Statistic("anomalous_multiplicity", "Anomalous multiplicity", "mult.", "Anomalous multiplicity", 2, "",
              "How often I+ or I- was measured on average.", "observations / (I+ and I-)", "up", anomalous=True,
              cif=CifItem("pdbx_redundancy_anomalous", "pdbx_redundancy_anomalous", "%.3f")),
    Statistic("anomalous_slope", "Anomalous slope", "slope", "Anomalous slope", 2, "",
              "Slope of the normal probability plot of (I+ - I-)/σ: above 1 where differences exceed their errors.",
              "", "up", anomalous=True),
    Statistic("df_f", "dF/F", "dF/F", "dF/F", 3, "", "Size of the anomalous differences of amplitudes, acentric.",
              "rms(F+ − F−) / rms(F)", "up", anomalous=True),
    Statistic("di_over_sigma", "dI/σ(dI)", "dI/s", "dI/s(dI)", 2, "",
              "Size of the anomalous differences in units of their errors.", "mean |I+ − I−| / mean σ(I+ − I−)", "up",
              anomalous=True,
              cif=CifItem("pdbx_absDiff_over_sigma_anomalous", "pdbx_absDiff_over_sigma_anomalous", "%.4f")),
)  # fmt: skip
CATALOGUE: dict[str, Statistic] = {statistic.name: statistic for statistic in _STATISTICS}

# Rows of the summary ("table 1") in log and report.
SUMMARY = (
    "d_min", "d_max", "completeness", "multiplicity", "mean_i_over_sigma", "r_merge", "r_merge_apart", "r_meas",
    "r_meas_apart", "r_pim", "r_pim_apart", "cc_half", "anomalous_completeness", "anomalous_multiplicity", "cc_anom",
    "anomalous_slope", "df_f", "di_over_sigma", "n_obs", "n_unique",
)  # fmt: skip
# Statistics of Friedel mates, which are left out of long summaries on the terminal.
ABOUT_MATES = (
    "r_merge_apart", "r_meas_apart", "r_pim_apart", "anomalous_completeness", "anomalous_multiplicity", "cc_anom",
    "anomalous_slope", "df_f", "di_over_sigma",
)  # fmt: skip
# Columns of the tables by resolution.
AMOUNT = ("d_max", "d_min", "n_obs", "n_unique", "multiplicity", "completeness", "mean_intensity", "mean_i_over_sigma")
AGREEMENT = ("d_max", "d_min", "r_merge", "r_meas", "r_pim", "cc_half", "r_anom", "cc_anom")
FRIEDEL_MATES = (
    "d_max", "d_min", "anomalous_completeness", "anomalous_multiplicity", "r_merge_apart", "r_meas_apart",
    "r_pim_apart", "r_anom", "cc_anom", "di_over_sigma", "anomalous_slope",
)  # fmt: skip
# Items of mmCIF files, in their order.
IN_CIF = (
    "d_min", "d_max", "n_unique", "n_obs", "completeness", "multiplicity", "mean_i_over_sigma", "r_merge", "r_meas",
    "r_pim", "cc_half", "anomalous_completeness", "anomalous_multiplicity", "cc_anom", "di_over_sigma",
)  # fmt: skip
# Rows of the comparison of two runs, and those of them that are compared for single shells, too.
COMPARED = (
    "d_min", "completeness", "multiplicity", "mean_i_over_sigma", "r_merge", "r_meas", "r_pim", "cc_half", "cc_anom",
    "n_obs", "n_unique",
)  # fmt: skip
COMPARED_BY_SHELL = ("mean_i_over_sigma", "r_meas", "r_pim", "cc_half")


def chosen(names: tuple[str, ...], anomalous: bool) -> tuple[Statistic, ...]:
    """The statistics of these names; those about Friedel mates only where ``anomalous``."""
    entries = (CATALOGUE[name] for name in names)
    return tuple(statistic for statistic in entries if anomalous or not statistic.anomalous)
