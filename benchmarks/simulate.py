"""Simulated integrated data with known truth, of any size.

    python benchmarks/simulate.py --out DIR --sweeps 1 --degrees 180 --width 0.1 --reflections 100000
    python benchmarks/simulate.py --out DIR --crystals 100 --degrees 4 --reflections 600000
    python benchmarks/simulate.py --out DIR --stills 2000 --reflections 450000

writes simulated.expt and simulated.refl, which DIALS reads, and truth.npz.

What is recorded. With T the true intensity of the reflection (Friedel mates apart), c = lp/qe as in the columns of the
file, p the partiality, and g the true inverse scale factor,

    <c I_prf> = g T          <c I_sum> = g T p_true          <c I_sum / p> = g T   (p_true = p but for stills)

so g is what a scaling program should find, up to one factor and one B factor that belong to T's own scale. With
--profile-loss or --recorded-profiles it is the sums alone of which that is true.

truth.npz, arrays per row of the table (the column sim_row of the table counts them, also after rows were removed):

    unique        2 k for I+ and 2 k + 1 for I- of unique reflection k
    intensity     T
    g             as above
    partiality    p_true
    sigma_prf     true standard deviation of c I_prf: counting, background, instability
    sigma_sum     the same of c I_sum / p; for stills also the error of p
    outlier       amplitude in true sigmas of the row, 0 for a good one
    bad           row of a disturbed or noisy image
    integrated, profiled   whether a value, and a profile value, exists
    partner       row of the other piece of a reflection that was cut in two, or -1

Per unique reflection: hkl, d, centric, plus, minus (T of I+ and I-). Per image: beam and drift, the beam with and
without flicker; those of data set i stand between image_start[i] and image_start[i + 1]. Per data set: operator, N of
the indices in the table, h N.  options: as JSON.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from braggscale.numerics.array_types import Array
from simulation import expt, other_programs, refl
from simulation.design import Options, Plan, Rows, Stream, make_plans, predict, stream
from simulation.geometry import AXIS, PIXEL, zeta
from simulation.lattice import laue_keys
from simulation.passage import Passage, World, make_world, pass_through
from simulation.pixels import integrate
from simulation.recording import BOX, FOREGROUND, Noise, Recorded, record, with_larger_errors, with_loss
from simulation.trouble import Trouble, damaged_intensity, seen_intensity, troubles

BLOCK = 1 << 18
STILL_BACKGROUND = 0.6  # a still collects as much background as this rotation, degrees

LEAN = {
    "miller_index": "cctbx::miller::index<>",
    "id": "int",
    "imageset_id": "int",
    "panel": "std::size_t",
    "flags": "std::size_t",
    "bbox": "int6",
    "s1": "vec3<double>",
    "xyzcal.px": "vec3<double>",
    "xyzobs.px.value": "vec3<double>",
    "d": "double",
    "lp": "double",
    "qe": "double",
    "partiality": "double",
    "intensity.sum.value": "double",
    "intensity.sum.variance": "double",
    "sim_row": "int",
}
FULL = {
    "xyzcal.mm": "vec3<double>",
    "xyzobs.mm.value": "vec3<double>",
    "xyzobs.px.variance": "vec3<double>",
    "xyzobs.mm.variance": "vec3<double>",
    "entering": "bool",
    "background.mean": "double",
    "background.sum.value": "double",
    "background.sum.variance": "double",
    "num_pixels.foreground": "int",
    "num_pixels.background": "int",
    "num_pixels.background_used": "int",
    "num_pixels.valid": "int",
}
SCAN = {
    "partial_id": "std::size_t",
    "intensity.prf.value": "double",
    "intensity.prf.variance": "double",
}
TRUTH = {
    "unique": np.int32,
    "intensity": np.float64,
    "g": np.float64,
    "partiality": np.float64,
    "sigma_prf": np.float32,
    "sigma_sum": np.float32,
    "outlier": np.float32,
    "bad": np.bool_,
    "integrated": np.bool_,
    "profiled": np.bool_,
    "partner": np.int32,
}


def columns_of(options: Options) -> dict[str, str]:
    """Column names and types of the table."""
    columns = LEAN | ({} if options.lean else FULL)
    if options.kind == "stills":
        profile = {name: SCAN[name] for name in SCAN if "prf" in name and options.recorded_profiles}
        return columns | profile | {"partiality.inv.variance": "double"}
    return columns | SCAN | ({} if options.lean else {"zeta": "double", "profile.correlation": "double"})


def record_block(
    world: World, plan: Plan, rows: Rows, block: int, first_row: int, trouble: Trouble
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Table columns and truth of one block of rows.  ``first_row``: number of its first row in the table.

    The truth is that of good crystals, also of rows of a bad one.
    """
    options, geometry = world.options, world.geometry
    path = pass_through(world, plan, rows)
    hkl = world.points[rows.point]
    key, plus, _ = laue_keys(world.lattice, hkl)
    unique = world.truth.index(key, plus)
    intensity = world.truth.intensity[unique]
    lp, qe = geometry.lp(path.s1, plan.still), geometry.qe(path.s1)
    correction = lp / qe
    scattered = seen_intensity(world.truth, trouble.foreign)[unique]
    if options.specific_damage:
        dose = plan.dose[0] + (plan.dose[1] - plan.dose[0]) * path.z / plan.n_images
        scattered = damaged_intensity(world.truth, options.specific_damage, options.damage_law, unique, dose)
    rng = stream(options.seed, Stream.RECORDING, plan.number, block)
    image = np.minimum(path.z.astype(np.intp), plan.n_images - 1)
    bad = plan.disturbed[image] != 1
    noisy = (image + 1 >= options.noisy_from) & (image + 1 <= options.noisy_to)
    disturbed = plan.disturbed[image] * np.where(bad, np.exp(0.5 * rng.standard_normal(len(rows))), 1.0)
    tangent = np.hypot(path.s1[:, 0], path.s1[:, 1]) / -path.s1[:, 2]
    falloff = 0.2 + 0.8 * np.exp(-((tangent / 0.6) ** 2))
    per_image = STILL_BACKGROUND if plan.still else plan.width
    degrees = (rows.last - rows.first).astype(np.float64) * per_image
    noise = Noise(
        options.instability, options.outliers, options.failed, options.background,
        recorded_profiles=options.recorded_profiles,
    )  # fmt: skip
    full = scattered * path.g / correction
    on_module = geometry.on_module(path.x, path.y)
    draw = integrate if options.pixels else record
    seen = draw(rng, noise, full, path.true_partiality, degrees, falloff, disturbed, on_module, not plan.still)
    if options.profile_loss:
        outward, across = (options.d_min / path.d) ** 2, path.x / (PIXEL * geometry.pixels)
        seen = with_loss(seen, options.profile_loss, outward, across, path.true_partiality)
    if noisy.any():
        summed = full * path.true_partiality
        seen = with_larger_errors(seen, summed, summed if options.recorded_profiles else full, options.noisier, noisy)
    table = _table(world, plan, rows, path, seen, rng)
    table |= {"miller_index": trouble.indices(hkl), "lp": lp, "qe": qe}
    table |= {"sim_row": np.arange(first_row, first_row + len(rows))}
    share = np.sqrt(path.inverse_variance) * path.partiality  # relative error of 1/p
    sigma_sum = correction * np.hypot(seen.sigma_sum, full * path.partiality * share) / path.partiality
    truth: dict[str, Array] = {
        "unique": unique,
        "intensity": intensity,
        "g": path.g,
        "partiality": path.true_partiality,
        "sigma_prf": correction * seen.sigma_prf,
        "sigma_sum": sigma_sum,
        "outlier": seen.outlier,
        "bad": bad | noisy,
        "integrated": seen.integrated,
        "profiled": seen.profiled,
        "partner": np.where(rows.partner >= 0, rows.partner, -1),
    }
    return table, truth


def _table(
    world: World, plan: Plan, rows: Rows, path: Passage, seen: Recorded, rng: np.random.Generator
) -> dict[str, Array]:
    """The columns of a block, under their names in the file; more than are written."""
    n = len(rows)
    px, py = path.x / PIXEL, path.y / PIXEL
    left, top = np.floor(px).astype(np.int32) - BOX // 2, np.floor(py).astype(np.int32) - BOX // 2
    z_cal = np.zeros(n) if plan.still else (np.degrees(rows.phi) - plan.start) / plan.width
    ox, oy = px + 0.2 * rng.standard_normal(n), py + 0.2 * rng.standard_normal(n)
    oz = path.z if plan.still else np.clip(path.z + 0.05 * rng.standard_normal(n), rows.first, rows.last)
    phi_obs = np.radians(plan.start + plan.width * oz)
    good = np.where(seen.profiled, 768, 256)
    strong = seen.sum_value > 20 * np.sqrt(seen.sum_variance + 1)
    flags = np.where(seen.integrated, good, 0) | 1 | np.where(strong & seen.integrated, 108, 0)
    box = np.column_stack((left, left + BOX, top, top + BOX, rows.first, rows.last))
    images = rows.last - rows.first
    inside, outside = FOREGROUND * images, (BOX * BOX - int(1.6 * FOREGROUND)) * images
    # a point enters the sphere where d|s0 + R q|^2 / d phi = 2 s1 . (axis x q) is negative
    entering = path.s1 @ np.cross(AXIS, world.geometry.s0) > 0
    quality = np.clip(seen.prf_value, 0, None) / np.sqrt(np.abs(seen.prf_variance) + 1)
    return {
        "id": np.full(n, plan.number),
        "imageset_id": np.full(n, plan.number),
        "panel": np.zeros(n),
        "flags": flags,
        "bbox": box,
        "s1": path.s1,
        "xyzcal.px": np.column_stack((px, py, z_cal)),
        "xyzcal.mm": np.column_stack((path.x, path.y, rows.phi)),
        "xyzobs.px.value": np.column_stack((ox, oy, oz)),
        "xyzobs.mm.value": np.column_stack((ox * PIXEL, oy * PIXEL, 0 * oz if plan.still else phi_obs)),
        "xyzobs.px.variance": np.full((n, 3), 0.04),
        "xyzobs.mm.variance": np.full((n, 3), 0.04) * [PIXEL**2, PIXEL**2, np.radians(plan.width) ** 2],
        "d": path.d,
        "zeta": zeta(world.geometry, path.s1),
        "entering": np.zeros(n) if plan.still else entering,
        "partiality": path.partiality,
        "partiality.inv.variance": path.inverse_variance,
        "partial_id": rows.partial_id,
        "intensity.sum.value": seen.sum_value,
        "intensity.sum.variance": seen.sum_variance,
        "intensity.prf.value": seen.prf_value,
        "intensity.prf.variance": seen.prf_variance,
        "profile.correlation": np.where(seen.profiled, quality / (quality + 3), 0.0),
        "background.mean": seen.background / np.maximum(inside, 1),
        "background.sum.value": seen.background,
        "background.sum.variance": seen.background_variance,
        "num_pixels.foreground": inside,
        "num_pixels.background": outside,
        "num_pixels.background_used": outside,
        "num_pixels.valid": inside + outside,
    }


def simulate(options: Options, out: Path) -> int:
    """Write simulated.expt, simulated.refl and truth.npz into ``out``; returns the number of rows."""
    out.mkdir(parents=True, exist_ok=True)
    world = make_world(options)
    plans = make_plans(options, world.lattice)
    rows = [predict(options, world.geometry, plan, world.points) for plan in plans]
    n = sum(len(r) for r in rows)
    columns = columns_of(options)
    identifiers = {plan.number: plan.identifier for plan in plans}
    trouble = troubles(options, world.lattice)
    expt.write(out / "simulated.expt", world.geometry, plans, world.lattice.hall, trouble)
    table = refl.create(out / "simulated.refl", identifiers, n, columns)
    truth: dict[str, Array] = {name: np.empty(n, kind) for name, kind in TRUTH.items()}
    at = 0
    for plan, mine in zip(plans, rows, strict=True):
        base = at
        for block, start in enumerate(range(0, len(mine), BLOCK)):
            part = _rows_part(mine, slice(start, start + BLOCK))
            values, true = record_block(world, plan, part, block, at, trouble[plan.number])
            here = slice(at, at + len(part))
            for name in columns:
                table[name][here] = values[name]
            for name in TRUTH:
                truth[name][here] = true[name]
            at += len(part)
        partner = truth["partner"][base:at]
        partner[partner >= 0] += base
    per_image = {name: np.concatenate([getattr(p, name) for p in plans]) for name in ("beam", "drift")}
    starts = np.cumsum([0] + [p.n_images for p in plans])
    unique = {name: getattr(world.truth, name) for name in ("hkl", "d", "centric", "plus", "minus")}
    save: Any = np.savez_compressed if n < 200_000 else np.savez
    save(
        out / "truth.npz",
        options=json.dumps(asdict(options)),
        image_start=starts,
        operator=np.array([one.operator for one in trouble]),
        **truth,
        **per_image,
        **unique,
    )
    return n


def _rows_part(rows: Rows, part: slice) -> Rows:
    return Rows(*(getattr(rows, f.name)[part] for f in fields(Rows)))


def parser() -> argparse.ArgumentParser:
    """The command line; its defaults are those of Options."""
    p = argparse.ArgumentParser(
        description="Simulated integrated data with known truth.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    o = Options()
    p.add_argument("--out", type=Path, required=True, help="folder for simulated.expt, simulated.refl and truth.npz")
    kind = p.add_mutually_exclusive_group()
    kind.add_argument("--sweeps", type=int, metavar="N", help="sweeps of one crystal, turned between them")
    kind.add_argument("--crystals", type=int, metavar="N", help="crystals with one sweep each")
    kind.add_argument("--stills", type=int, metavar="N", help="stills, a crystal each")
    p.add_argument("--degrees", type=float, default=o.degrees, help="rotation per data set")
    p.add_argument("--width", type=float, default=o.width, help="degrees per image")
    p.add_argument("--reflections", type=int, default=o.reflections, help="rows in total, met within a few per cent")
    p.add_argument("--seed", type=int, default=o.seed, help="same seed, same bytes")
    p.add_argument("--space-group", default=o.space_group, help="any primitive one")
    p.add_argument("--wavelength", type=float, default=o.wavelength, help="Angstrom")
    p.add_argument("--d-min", type=float, default=o.d_min, help="Angstrom")
    p.add_argument("--mosaicity", type=float, default=o.mosaicity, help="sd of the rocking curve, degrees")
    p.add_argument("--mean-counts", type=float, default=o.mean_counts, help="mean intensity at zero angle")
    p.add_argument("--b-factor", type=float, default=o.b_factor, help="overall B, Angstrom^2")
    p.add_argument("--anomalous", type=float, default=o.anomalous, help="mean|F+ - F-| / mean F")
    p.add_argument("--background", type=float, default=o.background, help="counts per pixel and degree")
    p.add_argument("--instability", type=float, default=o.instability, help="proportional error of each observation")
    p.add_argument("--outliers", type=float, default=o.outliers, help="share of gross outliers")
    p.add_argument("--failed", type=float, default=o.failed, help="share of rows that were not integrated")
    p.add_argument("--split", type=float, default=o.split, help="share of reflections in two pieces")
    p.add_argument("--flicker", type=float, default=o.flicker, help="sd of the beam from image to image")
    p.add_argument("--drift", type=float, default=o.drift, help="sd of the beam's slow wander")
    p.add_argument("--absorption", type=float, default=o.absorption, help="factor on the absorption coefficients")
    p.add_argument("--flat-field", type=float, default=o.flat_field, help="sd of the detector's response")
    p.add_argument("--decay-b", type=float, default=o.decay_b, help="B at the end of the experiment, Angstrom^2")
    p.add_argument("--loss", type=float, default=o.loss, help="loss of intensity at the end of the experiment")
    p.add_argument("--scale-spread", type=float, default=o.scale_spread, help="sd of ln scale of crystals, stills")
    p.add_argument("--b-spread", type=float, default=o.b_spread, help="sd of B of crystals, stills, Angstrom^2")
    p.add_argument("--partiality-error", type=float, default=o.partiality_error,
                   help="orientation error of stills, in units of the mosaic spread")  # fmt: skip
    p.add_argument(
        "--bad-last", type=float, default=o.bad_last, help="share of the last data set's images that disagree"
    )
    p.add_argument("--noisy-from", type=int, default=o.noisy_from, help="first image with deviations beyond its errors")
    p.add_argument("--noisy-to", type=int, default=o.noisy_to, help="the last one")
    p.add_argument("--noisier", type=float, default=o.noisier, help="how many times as large")
    p.add_argument("--misindexed", type=float, default=o.misindexed,
                   help="share of the data sets that are indexed in another way that the lattice allows")  # fmt: skip
    p.add_argument("--bad", type=int, default=o.bad,
                   help="so many data sets, the last ones, have another cell, damage, or wrong indices")  # fmt: skip
    p.add_argument("--specific-damage", type=float, default=o.specific_damage,
                   help="part of the intensities that belongs to another structure at the end")  # fmt: skip
    p.add_argument("--damage-law", default=o.damage_law, choices=["linear", "exponential", "saturating", "sites"],
                   help="how that part grows with dose")  # fmt: skip
    p.add_argument("--cell-shape", default=o.cell_shape, help="proportions of the cell, a,b,c,alpha,beta,gamma")
    p.add_argument("--also", nargs="+", choices=other_programs.FORMATS, default=[], metavar="FORMAT",
                   help="the same data as simulated.mtz and INTEGRATE.HKL: mtz, xds")  # fmt: skip
    p.add_argument("--profile-loss", type=float, default=o.profile_loss,
                   help="most that profiles lose with resolution, position and at the ends of scans")  # fmt: skip
    p.add_argument("--recorded-profiles", action="store_true",
                   help="profile intensities are of the recorded part, and stills have them, too")  # fmt: skip
    p.add_argument("--pixels", action="store_true",
                   help="draw the counts of every pixel and integrate these")  # fmt: skip
    p.add_argument("--lean", action="store_true", help="only the columns that scaling and merging need")
    p.add_argument("--identifier", default=o.identifier, help="put before the number in identifiers")
    switches = {
        "absorption": "absorption",
        "drift": "beam drift",
        "volume": "change of illuminated volume",
        "flat-field": "detector error",
        "decay": "dose decay",
        "outliers": "outliers",
    }
    for name, text in switches.items():
        p.add_argument(f"--no-{name}", action="store_true", help=f"no {text}")
    return p


def options_of(arguments: argparse.Namespace) -> Options:
    """Command line to options."""
    values = {f.name: getattr(arguments, f.name) for f in fields(Options) if hasattr(arguments, f.name)}
    for kind in ("sweeps", "crystals", "stills"):
        if getattr(arguments, kind) is not None:
            values |= {"kind": kind, "count": getattr(arguments, kind)}
    for name in ("absorption", "drift", "flat_field", "outliers"):
        if getattr(arguments, f"no_{name}"):
            values[name] = 0.0
    if arguments.no_decay:
        values |= {"decay_b": 0.0, "loss": 0.0}
    return Options(**values, volume=not arguments.no_volume)


def main() -> None:
    """Entry point."""
    arguments = parser().parse_args()
    try:
        n = simulate(options_of(arguments), arguments.out)
        other_programs.write(arguments.out, tuple(arguments.also))
    except ValueError as error:
        raise SystemExit(f"simulate: {error}") from None
    print(f"{n} rows in {arguments.out / 'simulated.refl'}")


if __name__ == "__main__":
    main()
