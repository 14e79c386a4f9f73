"""One damaged input of a kind: its files and the command that meets them, from a seed and a number."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import io_samples
import numpy as np

from . import good_files, mutations, other_programs, references
from .mutations import Random, pick

KINDS = ("msgpack", "pickle", "hdf5", "json", "gzip", "phil", "mtz", "summary", "export",
         "unmerged", "xds", "hklf4", "stream", "scalepack", "reference")  # fmt: skip
OTHER_PROGRAMS = {
    "unmerged": other_programs.damaged_unmerged,
    "xds": other_programs.damaged_xds,
    "hklf4": other_programs.damaged_hklf4,
    "stream": other_programs.damaged_stream,
    "scalepack": other_programs.damaged_scalepack,
}
# What a run is asked for: quick ones mostly, since a campaign has thousands of them.
MODELS: tuple[tuple[str, ...], ...] = (
    (), (), (), (), (), ("model=physical",), ("model=array",), ("outlier_rejection=simple",), ("anomalous=True",),
    ("model=physical", "image_correction=True"), ("reflection_selection.method=quasi_random",),
)  # fmt: skip
EXPORTS = ("merged_mtz=m.mtz", "unmerged_mtz=u.mtz", "merged_cif=m.cif", "unmerged_cif=u.cif", "shelx=s", "sca=s.sca")


@dataclass(frozen=True, slots=True)
class Case:
    """``files``: by name.  ``argv``: without the program's name."""

    files: dict[str, bytes]
    argv: list[str] = field(default_factory=list)


def table_bytes(random: Random, kind: str, table: good_files.Columns) -> bytes:
    """A damaged table in one of the forms; a third of the time its bytes are damaged instead of its values."""
    identifiers = {0: "0", 1: "1"}
    by_bytes = random.random() < 0.33
    if not by_bytes:
        table, identifiers = mutations.damaged_table(random, table)
    if kind == "pickle":
        if any(name == "\ud800" for name in table):
            table = {name: column for name, column in table.items() if name != "\ud800"}
        try:
            data = io_samples.pickled(table, identifiers)
        except (OverflowError, ValueError, KeyError):
            data = io_samples.pickled(dict(good_files.columns()), identifiers)
            by_bytes = True
    elif kind == "hdf5":
        kept = {k: c for k, c in table.items() if k and "\x00" not in k and k != "\ud800" and "/" not in k and k != "."}
        data = good_files.hdf5(kept, identifiers)
    else:
        kept = {name: column for name, column in table.items() if name != "\ud800"}
        n = len(next(iter(kept.values()))[1]) if kept else 0
        claimed = n if random.random() < 0.95 else pick(random, [abs(x) for x in mutations.WHOLES])
        data = io_samples.refl(kept, identifiers, n_rows=claimed)
    if kind == "gzip":
        data = good_files.packed(data)
    return mutations.damaged_bytes(random, data, head=0 if kind == "gzip" else 4000) if by_bytes else data


def make(kind: str, seed: int, number: int) -> Case:
    """The case of this number; the same one whenever it is asked for."""
    random = np.random.default_rng([seed, KINDS.index(kind), number])
    argv = ["-q", "in.expt", "in.refl", *good_files.QUICK, *pick(random, MODELS)]
    files = {"in.expt": good_files.experiments()}
    if random.random() < 0.05:
        argv.remove("output.html=None")
    if random.random() < 0.05:
        argv += EXPORTS
    good = io_samples.refl(good_files.columns(), {0: "0", 1: "1"})
    if kind in ("msgpack", "pickle", "hdf5", "gzip"):
        files["in.refl"] = table_bytes(random, kind, good_files.columns())
    elif kind == "json":
        files["in.refl"] = good
        text = good_files.experiments()
        by_bytes = random.random() < 0.15
        files["in.expt"] = (
            mutations.damaged_bytes(random, text) if by_bytes else mutations.damaged_json(random, json.loads(text))
        )
    elif kind == "phil":
        files["in.refl"] = good
        text = mutations.damaged_phil(random)
        files["p.phil"] = mutations.damaged_bytes(random, text) if random.random() < 0.1 else text
        if random.integers(2):
            argv += [pick(random, ("model=physical", "model=array"))]
        argv += ["p.phil"]
    elif kind == "mtz":
        files |= {"in.expt": good_files.scaled()["scaled.expt"], "in.refl": good_files.scaled()["scaled.refl"]}
        files["free.mtz"] = mutations.damaged_mtz(random, good_files.free_flags())
        argv = ["export", "-q", "in.expt", "in.refl", "merged_mtz=m.mtz", "free_flags=free.mtz"]
    elif kind == "summary":
        files["in.refl"] = good
        files["other.json"] = mutations.damaged_json(random, good_files.summary())
        argv = ["-q", "in.expt", "in.refl", *good_files.QUICK[:-1], "report.compare=other.json"]
    elif kind == "reference":
        files["in.refl"] = references.table()
        name, files[name] = references.damaged_reference(random)
        argv += [f"reference={name}", *pick(random, ((), (), ("only_target=True",), ("reference_mode=fixed",)))]
    elif kind in OTHER_PROGRAMS:
        files = {"in.dat": OTHER_PROGRAMS[kind](random)}
        argv = ["-q", "in.dat", *argv[3:]]
        if random.random() < 0.85:
            argv += other_programs.KNOWN if kind in ("hklf4", "scalepack") else other_programs.KNOWN[:1]
        if random.random() < 0.6:
            argv += ["merged_mtz=None", "unmerged_mtz=None"]
    else:
        files["in.expt"] = good_files.scaled()["scaled.expt"]
        files["in.refl"] = table_bytes(random, "msgpack", good_files.scaled_columns())
        if random.random() < 0.3:
            files["in.refl"] = good_files.scaled()["scaled.refl"]
            files["in.expt"] = mutations.damaged_json(random, json.loads(files["in.expt"]))
        argv = ["export", "-q", "in.expt", "in.refl", *EXPORTS, "xds_ascii=x.HKL"]
    return Case(files, argv)
