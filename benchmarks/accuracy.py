"""How near scaled data come to the truth that simulate.py wrote.

    python benchmarks/accuracy.py DIR scaled.refl [--label x] [scaled2.refl --label y] [--json file]

Both ours and DIALS' tables are read: intensity.scale.value I, intensity.scale.variance V, inverse_scale_factor g, flags
without any of the bits 22 to 24 (excluded or outlier), matched to the truth through the column sim_row.

Merging, Friedel mates apart: I_h = sum w g I / sum w g^2, sigma_h^2 = 1 / sum w g^2, w = 1/V; together: the same
sums over both, compared with the mean of the two truths under the same weights. One factor and one B for all,
T = k exp(B/(2 d^2)) I_h, are fitted before anything is compared.

    R          sum |I - T| / sum T, Friedel mates together          R+-   the same, apart
    CC         correlation of I and T, together                     CCanom  of I+ - I- with T+ - T-, acentric pairs
    rms ln g   of ln(g / g_true) over the rows used, after k and B
    chi^2      mean of ((I - T)/sigma)^2, apart, overall and by T/sigma
    found      of the labelled outliers of 5 to 10, and above 10, true sigmas: share flagged (bit 23)
    lost       share of good rows flagged as outliers

The oracle merges the good rows of the simulated table with their true scales and true errors: the noise limit of the
data. "oracle, its good rows" does the same with the rows, and the intensities, that the program used.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from braggscale.numerics.array_types import Array, Bool, Float, Int
from simulation import refl

USER_EXCLUDED, OUTLIER, EXCLUDED = 1 << 22, 1 << 23, 1 << 24
EDGES = (-np.inf, 3.0, 10.0, 30.0, 100.0, np.inf)
RANGES = ("<3", "3-10", "10-30", "30-100", ">100")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One line of the table; nan where a figure does not apply.

    ``chi2_by_range``: by T/sigma, see RANGES; ``share_by_range``: of the reflections.
    """

    label: str
    rows: int
    unique: int
    r: float
    r_apart: float
    cc: float
    cc_anom: float
    rms_ln_g: float
    chi2: float
    chi2_by_range: tuple[float, ...]
    share_by_range: tuple[float, ...]
    found_5_10: float
    found_10: float
    lost: float
    k: float
    b: float


@dataclass(frozen=True, slots=True)
class Merged:
    """Merged intensities against truth; all (n,).  ``group``: number of the unique reflection."""

    group: Int
    intensity: Float
    sigma: Float
    truth: Float
    d: Float


def merge(group: Int, intensity: Float, variance: Float, g: Float, truth: Float, d: Float) -> Merged:
    """Weighted means by group.

    ``intensity``, ``variance``: not divided by g.  ``truth``: true intensity of each row.  ``d``: Angstrom; all (n,).
    """
    found, which = np.unique(group, return_inverse=True)
    n = len(found)
    w = g * g / variance
    total = np.bincount(which, w, n)
    mean = np.bincount(which, g * intensity / variance, n) / total
    expected = np.bincount(which, w * truth, n) / total
    size = np.bincount(which, minlength=n)
    return Merged(found, mean, 1 / np.sqrt(total), expected, np.bincount(which, d, n) / size)


FAR = 6.0  # sigmas from which on a group says less and less about the overall scale


def fit_scale(merged: Merged) -> tuple[float, float]:
    """k and B that minimise sum ((I - T exp(-B x)/k)/sigma)^2 with x = 1/(2 d^2).

    The truth has no errors, so it stands on the right: with the intensities there k would be too small for weak data.
    """
    x = 1 / (2 * merged.d**2)
    i, sigma, t = merged.intensity, merged.sigma, merged.truth
    q, b = float(np.sum(i * t / sigma**2) / np.sum(t * t / sigma**2)), 0.0
    for _ in range(30):
        model = q * np.exp(-b * x) * t
        variance = sigma**2 + (0.01 * model) ** 2  # no group decides alone, however small its error is said to be
        weight = 1 / (variance + (i - model) ** 2 / FAR**2)  # nor one that is wrong altogether
        jacobian = np.column_stack((model, -model * x))  # by ln q and B
        step = np.linalg.solve((jacobian.T * weight) @ jacobian, (jacobian.T * weight) @ (i - model))
        q, b = q * float(np.exp(np.clip(step[0], -1, 1))), b + float(np.clip(step[1], -20, 20))
        if np.abs(step).max() < 1e-10:
            break
    return 1 / q, b


def _scaled(merged: Merged, k: float, b: float) -> Merged:
    factor = k * np.exp(b / (2 * merged.d**2))
    return Merged(merged.group, merged.intensity * factor, merged.sigma * factor, merged.truth, merged.d)


def _correlation(a: Float, b: Float) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 else float("nan")


def anomalous_cc(apart: Merged, centric: Bool) -> float:
    """Correlation of I+ - I- with the true difference over acentric pairs.  ``centric``: per unique reflection."""
    pair = np.flatnonzero(
        (apart.group[1:] == apart.group[:-1] + 1) & (apart.group[:-1] % 2 == 0) & ~centric[apart.group[:-1] // 2]
    )
    return _correlation(apart.intensity[pair] - apart.intensity[pair + 1], apart.truth[pair] - apart.truth[pair + 1])


def scale_error(g: Float, g_true: Float, d: Float) -> float:
    """rms of ln(g/g_true) after one factor and one B; rows with g <= 0 are left out."""
    good = g > 0
    x = np.column_stack((np.ones(int(good.sum())), 1 / (2 * d[good] ** 2)))
    y = np.log(g[good] / g_true[good])
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(np.sqrt(np.mean(residual**2)))


def evaluate(
    label: str,
    truth: dict[str, Array],
    row: Int,
    intensity: Float,
    variance: Float,
    g: Float,
    g_true: Float,
    outliers: tuple[float, float, float],
) -> Accuracy:
    """All figures for a set of rows.

    ``truth``: arrays of truth.npz.  ``row``: row numbers in the simulated table, (n,).  ``g_true``: (n,).
    ``outliers``: shares found at 5-10 and above 10 sigma, and lost.
    """
    unique, t = truth["unique"][row].astype(np.int64), truth["intensity"][row]
    d = truth["d"][unique // 2]
    usable = (variance > 0) & np.isfinite(intensity) & (g > 0)
    unique, t, d = unique[usable], t[usable], d[usable]
    intensity, variance, g, g_true = intensity[usable], variance[usable], g[usable], g_true[usable]
    apart = merge(unique, intensity, variance, g, t, d)
    together = merge(unique // 2, intensity, variance, g, t, d)
    k, b = fit_scale(together)
    apart, together = _scaled(apart, k, b), _scaled(together, k, b)
    z2 = ((apart.intensity - apart.truth) / apart.sigma) ** 2
    place = np.digitize(apart.truth / apart.sigma, EDGES[1:-1])
    count = np.bincount(place, minlength=len(RANGES))
    by_range = np.bincount(place, z2, len(RANGES)) / np.where(count > 0, count, np.nan)
    return Accuracy(
        label=label,
        rows=len(intensity),
        unique=len(together.group),
        r=_r(together),
        r_apart=_r(apart),
        cc=_correlation(together.intensity, together.truth),
        cc_anom=anomalous_cc(apart, truth["centric"]),
        rms_ln_g=scale_error(g, g_true, d),
        chi2=float(z2.mean()),
        chi2_by_range=tuple(float(v) for v in by_range),
        share_by_range=tuple(float(v) for v in count / max(len(z2), 1)),
        found_5_10=outliers[0],
        found_10=outliers[1],
        lost=outliers[2],
        k=k,
        b=b,
    )


def _r(merged: Merged) -> float:
    return float(np.abs(merged.intensity - merged.truth).sum() / merged.truth.sum())


NO_OUTLIERS = (float("nan"), float("nan"), float("nan"))


def load_truth(folder: Path) -> dict[str, Array]:
    """The arrays of truth.npz."""
    with np.load(folder / "truth.npz") as file:
        return {name: file[name] for name in file.files}


def oracle(folder: Path, truth: dict[str, Array], min_partiality: float = 0.05) -> Accuracy:
    """Good rows with at least the given partiality, true scales, true errors; profiles where they are complete."""
    names = ("intensity.prf.value", "intensity.sum.value", "partiality", "lp", "qe")
    table = refl.read(folder / "simulated.refl", names)
    row = np.flatnonzero(
        truth["integrated"] & (truth["outlier"] == 0) & ~truth["bad"] & (table["partiality"] >= min_partiality)
    )
    correction, p = (table["lp"] / table["qe"])[row], table["partiality"][row]
    intensity = correction * table["intensity.sum.value"][row] / p
    sigma = truth["sigma_sum"][row].astype(np.float64)
    if "intensity.prf.value" in table and _true_profiles(truth):
        profiled = truth["profiled"][row]
        intensity = np.where(profiled, correction * table["intensity.prf.value"][row], intensity)
        sigma = np.where(profiled, truth["sigma_prf"][row], sigma)
    g = truth["g"][row]
    return evaluate(f"oracle, p >= {min_partiality:g}", truth, row, intensity, sigma**2, g, g, NO_OUTLIERS)


def _true_profiles(truth: dict[str, Array]) -> bool:
    """Whether profile intensities were simulated as whole and complete as sums."""
    options = json.loads(str(truth["options"]))
    return not options.get("profile_loss") and not options.get("recorded_profiles")


def joined_scale(truth: dict[str, Array], row: Int) -> Float:
    """True scale of each row of a scaled table, (n,).

    Where the other piece of a cut reflection is not in the table it was summed into this row: the scales' mean by
    partiality.
    """
    g = truth["g"][row].copy()
    present = np.zeros(len(truth["g"]), np.bool_)
    present[row] = True
    partner = truth["partner"][row]
    summed = np.flatnonzero((partner >= 0) & ~present[partner])
    own, other = row[summed], partner[summed]
    p1, p2 = truth["partiality"][own], truth["partiality"][other]
    g[summed] = (p1 * truth["g"][own] + p2 * truth["g"][other]) / (p1 + p2)
    return g


def outlier_shares(truth: dict[str, Array], row: Int, flags: Int) -> tuple[float, float, float]:
    """Shares of labelled outliers that were flagged (5-10 and above 10 sigma), and of good rows that were.

    Rows that were excluded for other reasons, and those of disturbed images, do not count.
    """
    counted = ((flags & (USER_EXCLUDED | EXCLUDED)) == 0) & truth["integrated"][row] & ~truth["bad"][row]
    flagged, size = (flags & OUTLIER) != 0, np.abs(truth["outlier"][row])

    def share(which: Bool) -> float:
        which = which & counted
        return float(flagged[which].mean()) if which.any() else float("nan")

    return share((size >= 5) & (size < 10)), share(size >= 10), share(size == 0)


def scaled(path: Path, label: str, truth: dict[str, Array]) -> tuple[Accuracy, Accuracy]:
    """Figures of a scaled table, and of true scales and errors on the rows that it used."""
    names = ("intensity.scale.value", "intensity.scale.variance", "inverse_scale_factor", "flags", "sim_row")
    table = refl.read(path, names)
    missing = [name for name in names if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]}: not a scaled table of simulated data")
    row, flags = table["sim_row"].astype(np.int64), table["flags"].astype(np.int64)
    if len(row) and (row.min() < 0 or row.max() >= len(truth["unique"])):
        raise ValueError(f"{path} does not belong to this truth: sim_row up to {row.max()}")
    g_true = joined_scale(truth, row)
    use = (flags & (USER_EXCLUDED | OUTLIER | EXCLUDED)) == 0
    i, v, g = (table[name][use] for name in names[:3])
    shares = outlier_shares(truth, row, flags)
    result = evaluate(label, truth, row[use], i, v, g, g_true[use], shares)
    clean = (truth["outlier"][row[use]] == 0) & ~truth["bad"][row[use]]
    mine = row[use][clean]
    profiled = truth["profiled"][mine] & _true_profiles(truth)
    sigma = np.where(profiled, truth["sigma_prf"][mine], truth["sigma_sum"][mine])
    limit = evaluate(
        "oracle, its good rows", truth, mine, i[clean], sigma.astype(np.float64) ** 2,
        g_true[use][clean], g_true[use][clean], NO_OUTLIERS,
    )  # fmt: skip
    return result, limit


def table_text(results: Sequence[Accuracy]) -> str:
    """The table that is printed."""
    width = max(len(r.label) for r in results)
    head = f"{'':{width}} {'rows':>9} {'R':>7} {'R+-':>7} {'CC':>8} {'CCanom':>7} {'rms lng':>7} {'chi2':>7}"
    head += "".join(f" {name:>7}" for name in RANGES) + f" {'5-10':>6} {'>10':>6} {'lost %':>7}"
    caption = f"{'':{width}} {'':9} {'':7} {'':7} {'':8} {'':7} {'':7} {'':7}"
    lines = [caption + f" {'chi2 by T/sigma':^39} {'outliers found':>14}", head]
    for r in results:
        line = f"{r.label:{width}} {r.rows:9d} {r.r:7.4f} {r.r_apart:7.4f} {r.cc:8.5f} {r.cc_anom:7.4f}"
        line += f" {r.rms_ln_g:7.4f} {r.chi2:7.3f}" + "".join(f" {v:7.3f}" for v in r.chi2_by_range)
        line += f" {r.found_5_10:6.3f} {r.found_10:6.3f} {100 * r.lost:7.3f}"
        lines.append(line.replace("nan", "  -"))
    return "\n".join(lines)


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description="How near scaled data come to the simulated truth.")
    p.add_argument("folder", type=Path, help="folder of simulate.py, with simulated.refl and truth.npz")
    p.add_argument("scaled", type=Path, nargs="*", help="scaled reflection tables")
    p.add_argument("--label", action="append", default=[], help="name of a table, in the same order")
    p.add_argument("--min-partiality", type=float, default=0.05, help="lowest partiality that the oracle uses")
    p.add_argument("--json", type=Path, help="write the figures here too")
    a = p.parse_intermixed_args()
    truth = load_truth(a.folder)
    results = [oracle(a.folder, truth, a.min_partiality)]
    try:
        for i, path in enumerate(a.scaled):
            results.extend(scaled(path, a.label[i] if i < len(a.label) else path.stem, truth))
    except ValueError as error:
        raise SystemExit(f"accuracy: {error}") from None
    print(table_text(results))
    if a.json:
        a.json.write_text(json.dumps([asdict(r) for r in results], indent=1))


if __name__ == "__main__":
    main()
