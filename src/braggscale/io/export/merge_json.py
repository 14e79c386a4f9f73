"""Merging statistics by wavelength as JSON, with the names that dials.merge gives them and databases look for.

The top level has a key for each wavelength, with five decimals. Below it stand ``merging_stats`` (Friedel mates are
equivalent), ``merging_stats_anom`` (they are not) and ``scaling_tables``, the same as text. A statistic is a list of
its values by shell, from low to high resolution; ``overall`` has the value of all shells together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from braggscale.data.geometry import UnitCell
from braggscale.data.symmetry import Symmetry
from braggscale.io.export.export import Export, ExportData, ExportFile
from braggscale.io.export.wavelengths import WavelengthSet
from braggscale.statistics.half_sets import critical_correlation
from braggscale.statistics.merging_statistics import Statistics, Unmerged, merging_statistics
from braggscale.statistics.shell_statistics import Shell
from braggscale.wording import show

_N_BINS = 20
_SIGNIFICANCE = 0.01  # level of Shell.cc_half_significant

Number = float | int | bool | None


def merge_json(
    sets: Sequence[WavelengthSet],
    symmetry: Symmetry,
    cell: UnitCell,
    n_bins: int = _N_BINS,
    internal_variance: bool = False,
) -> str:
    """The text of the file, in which what is not known is null; a wavelength of which nothing can be merged is absent.

    ``cell``: Angstrom and degrees.  ``n_bins``: number of shells.  ``internal_variance``: see ``merging_statistics``.
    """
    by_wavelength: dict[str, Any] = {}
    for one in sets:
        asu, minus = symmetry.asu(one.rows.hkl)
        rows = Unmerged(asu, minus, one.rows.intensity, one.rows.sigma, cell, symmetry)
        merged = merging_statistics(rows, n_bins=n_bins, use_internal_variance=internal_variance)
        mates_apart = merging_statistics(_mates_apart(rows), n_bins=n_bins, use_internal_variance=internal_variance)
        if merged is not None and mates_apart is not None:
            by_wavelength[f"{one.wavelength:.5f}"] = _statistics(merged, mates_apart, symmetry, cell)
    return json.dumps(by_wavelength, indent=1) + "\n"


def _mates_apart(rows: Unmerged) -> Unmerged:
    """The same observations with I- as reflections of their own."""
    mine = np.where(rows.minus[:, None], -rows.asu_hkl, rows.asu_hkl).astype(np.int32)
    return replace(rows, asu_hkl=mine, minus=np.zeros_like(rows.minus))


def _statistics(merged: Statistics, apart: Statistics, symmetry: Symmetry, cell: UnitCell) -> dict[str, Any]:
    edges = [1.0 / merged.shells[0].d_max ** 2, *(1.0 / shell.d_min**2 for shell in merged.shells)]
    all_mates, acentric = symmetry.possible_in_shells(cell, np.asarray(edges))
    possible = all_mates + (0 if symmetry.centrosymmetric else acentric)
    plain = [_plain(shell) for shell in (*merged.shells, merged.overall)]
    anomalous = [
        _anomalous(mine, shell, count)
        for mine, shell, count in zip(
            (*apart.shells, apart.overall),
            (*merged.shells, merged.overall),
            (*possible.tolist(), int(possible.sum())),
            strict=True,
        )
    ]
    return {
        "merging_stats": _by_name(plain),
        "merging_stats_anom": _by_name(anomalous),
        "scaling_tables": {
            "overall": _overall_table(merged),
            "resolution_binned": _shell_table(merged),
            "cc_half_significance_level": _SIGNIFICANCE,
            "overall_summary_data": _in_brackets(merged, anomalous),
        },
    }


def _plain(shell: Shell) -> dict[str, Number]:
    """Statistics of a shell with Friedel mates as equivalents; completeness in per cent, d_star_sq at its d_min."""
    return {
        "d_star_sq_min": shell.d_min**-2,
        "d_star_sq_max": shell.d_max**-2,
        "n_obs": shell.n_obs,
        "n_uniq": shell.n_unique,
        "multiplicity": _known(shell.multiplicity),
        "completeness": _known(100.0 * shell.completeness),
        "i_mean": _known(shell.mean_intensity),
        "i_over_sigma_mean": _known(shell.mean_i_over_sigma),
        "r_merge": _known(shell.r_merge),
        "r_meas": _known(shell.r_meas),
        "r_pim": _known(shell.r_pim),
        "r_anom": _known(shell.r_anom),
        "cc_one_half": _known(shell.cc_half),
        "cc_one_half_significance": shell.cc_half_significant,
        "cc_one_half_critical_value": _known(float(critical_correlation(np.asarray(shell.cc_half_pairs)))),
        "cc_anom": _known(shell.cc_anom),
        "anom_completeness": None,
        "anom_signal": None,
        "delta_i_mean_over_sig_delta_i_mean": None,
    }


def _anomalous(apart: Shell, merged: Shell, possible: int) -> dict[str, Number]:
    """Statistics of a shell with I+ and I- apart.  ``possible``: number of such reflections that there can be."""
    return {
        **_plain(apart),
        "completeness": _known(100.0 * apart.n_unique / possible) if possible else None,
        "r_anom": _known(merged.r_anom),
        "cc_anom": _known(merged.cc_anom),
        "anom_completeness": _known(merged.anomalous_completeness),
        "anom_signal": _known(merged.df_f),
        "delta_i_mean_over_sig_delta_i_mean": _known(merged.di_over_sigma),
    }


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _by_name(shells: Sequence[Mapping[str, Number]]) -> dict[str, Any]:
    """Lists by shell from the statistics of each, of which the last is that of all."""
    *parts, overall = shells
    return {**{name: [part[name] for part in parts] for name in overall}, "overall": dict(overall)}


def _overall_table(statistics: Statistics) -> list[list[str]]:
    """Statistics of all, of the lowest and of the highest shell, as rows of a table with a heading."""
    columns = (statistics.overall, statistics.shells[0], statistics.shells[-1])
    return [
        ["", "Overall", "Low resolution", "High resolution"],
        ["Resolution (Å)", *(f"{one.d_max:.2f} - {one.d_min:.2f}" for one in columns)],
        ["Observations", *(str(one.n_obs) for one in columns)],
        ["Unique reflections", *(str(one.n_unique) for one in columns)],
        ["Multiplicity", *(show(one.multiplicity, 1) for one in columns)],
        ["Completeness", *(f"{100 * one.completeness:.2f}%" for one in columns)],
        ["Mean I/σ(I)", *(show(one.mean_i_over_sigma, 1) for one in columns)],
        ["R<sub>merge</sub>", *(show(one.r_merge, 3) for one in columns)],
        ["R<sub>meas</sub>", *(show(one.r_meas, 3) for one in columns)],
        ["R<sub>pim</sub>", *(show(one.r_pim, 3) for one in columns)],
        ["CC<sub>½</sub>", *(show(one.cc_half, 3) for one in columns)],
    ]


def _shell_table(statistics: Statistics) -> list[list[str | int]]:
    """Statistics of every shell as rows of a table with a heading; a star says that a correlation is significant."""
    heading: list[str | int] = [
        "Resolution (Å)", "N(obs)", "N(unique)", "Multiplicity", "Completeness", "Mean I", "Mean I/σ(I)",
        "R<sub>merge</sub>", "R<sub>meas</sub>", "R<sub>pim</sub>", "R<sub>anom</sub>", "CC<sub>½</sub>",
        "CC<sub>ano</sub>",
    ]  # fmt: skip
    rows: list[list[str | int]] = [heading]
    for one in statistics.shells:
        rows.append(
            [
                f"{one.d_max:.2f} - {one.d_min:.2f}",
                one.n_obs,
                one.n_unique,
                show(one.multiplicity, 2),
                show(100 * one.completeness, 2),
                show(one.mean_intensity, 1),
                show(one.mean_i_over_sigma, 1),
                *(show(value, 3) for value in (one.r_merge, one.r_meas, one.r_pim, one.r_anom)),
                show(one.cc_half, 3) + "*" * one.cc_half_significant,
                show(one.cc_anom, 3) + "*" * one.cc_anom_significant,
            ]
        )
    return rows


def _in_brackets(statistics: Statistics, anomalous: Sequence[Mapping[str, Number]]) -> dict[str, str]:
    """Statistics of all, and in brackets those of the highest shell.  ``anomalous``: by shell, last those of all."""
    whole, high = statistics.overall, statistics.shells[-1]

    def pair(of_all: Number, of_high: Number, digits: int) -> str:
        """The value of all data, and that of the outermost shell in parentheses."""
        return f"{show(of_all, digits)} ({show(of_high, digits)})"

    return {
        "Resolution range (Å)": f"{whole.d_max:.2f} - {whole.d_min:.2f} ({high.d_max:.2f} - {high.d_min:.2f})",
        "Completeness (%)": pair(100 * whole.completeness, 100 * high.completeness, 2),
        "Multiplicity": pair(whole.multiplicity, high.multiplicity, 2),
        "CC-half": pair(whole.cc_half, high.cc_half, 4),
        "I/sigma": pair(whole.mean_i_over_sigma, high.mean_i_over_sigma, 2),
        "Rmerge(I)": pair(whole.r_merge, high.r_merge, 4),
        "Anomalous completeness (%)": pair(100 * whole.anomalous_completeness, 100 * high.anomalous_completeness, 2),
        "Anomalous multiplicity": pair(anomalous[-1]["multiplicity"], anomalous[-2]["multiplicity"], 2),
    }


def _files(data: ExportData, path: str) -> list[ExportFile]:
    def content() -> bytes:
        """The bytes of the file."""
        crystals = data.crystals
        n_bins = len(data.statistics.shells) if data.statistics is not None else _N_BINS
        internal = data.settings.use_internal_variance
        return merge_json(data.sets, crystals.symmetry, crystals.cell, n_bins, internal).encode()

    return [ExportFile(path, content)]


EXPORT: Export = Export(_files, needs_statistics=True)
