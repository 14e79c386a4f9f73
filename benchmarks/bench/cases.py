"""The data that are scaled, and how."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

import simulate
from simulation.design import Options

NAMES = ("simulated.expt", "simulated.refl")


@dataclass(frozen=True, slots=True)
class Case:
    """``data``: what is simulated, None for real data; cases with the same ``folder`` share it.

    ``ours``, ``peer``: arguments beside the files.
    """

    name: str
    title: str
    folder: str
    data: Options | None
    ours: tuple[str, ...] = ()
    peer: tuple[str, ...] = ()


def _sweeps(count: int, reflections: int, lean: bool = False) -> Options:
    return Options(kind="sweeps", count=count, reflections=reflections, lean=lean)


_ARRAY = ("model=array", "full_matrix=True")
_KB = ("model=KB",)
_PHYSICAL = ("model=physical", "full_matrix=True")
# the peer's restraints are fixed: the same work on both sides
_FIXED = ("restraints=fixed",)
_CRYSTALS = Options(kind="crystals", count=100, degrees=4.0, reflections=500_000)
_WEDGES = Options(kind="crystals", count=500, degrees=4.0, reflections=1_000_000)
_STILLS = Options(kind="stills", count=2000, reflections=450_000)

CASES = (
    Case("lcys", "l-cysteine, 4 sweeps", "", None, _FIXED),
    Case("s100k", "100k, one sweep", "s100k", _sweeps(1, 100_000), (*_PHYSICAL, *_FIXED), _PHYSICAL),
    Case("array", "100k, model=array", "s100k", _sweeps(1, 100_000), _ARRAY, _ARRAY),
    Case("s1m", "1M, one sweep", "s1m", _sweeps(1, 1_000_000), (*_PHYSICAL, *_FIXED), _PHYSICAL),
    Case("s1m4", "1M, four sweeps", "s1m4", _sweeps(4, 1_100_000), (*_PHYSICAL, *_FIXED), _PHYSICAL),
    Case("c100", "100 crystals x 5k", "c100", _CRYSTALS, (*_PHYSICAL, *_FIXED), _PHYSICAL),
    Case("c500", "500 crystals x 2k", "c500", _WEDGES, (*_PHYSICAL, *_FIXED), _PHYSICAL),
    Case("st2000", "2000 stills, model=KB", "st2000", _STILLS, (*_KB, *_FIXED), _KB),
    Case("s10m", "10M, one sweep", "s10m", _sweeps(1, 10_000_000, lean=True), (*_PHYSICAL, *_FIXED), _PHYSICAL),
)
QUICK = (
    Case("quick", "6k, two sweeps", "quick", Options(count=2, degrees=60.0, width=0.5, reflections=6000), _FIXED),
    Case(
        "quickkb",
        "30 stills",
        "quickkb",
        Options(kind="stills", count=30, reflections=5000, d_min=1.8),
        (*_KB, *_FIXED),
        _KB,
    ),
)
# What else is run on each set, beside its own options on all processors.
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "one": ("nproc=1",),
    "estimated": ("restraints=estimated",),
    "all": ("reflection_selection.method=use_all",),
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """``files``: as they stand on the command line.  ``truth``: folder with the simulator's files, if it made them."""

    files: tuple[Path, ...]
    truth: Path | None
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes", sum(path.stat().st_size for path in self.files))

    def warm(self) -> None:
        """Read everything once, so that no run waits for the disk."""
        for path in self.files:
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass


def real_data(name: str) -> Path | None:
    """A folder of real data: in BRAGGSCALE_DATA, or shared/data beside the project."""
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("BRAGGSCALE_DATA", default)) / name
    return folder if folder.is_dir() else None


def inputs(case: Case, work: Path) -> Inputs | None:
    """The files of a case, made if they are not there; None for real data that are not there."""
    if case.data is None:
        folder = real_data("l_cysteine")
        if folder is None:
            return None
        return Inputs((*sorted(folder.glob("*_experiments.json")), *sorted(folder.glob("*.pickle"))), None)
    folder = work / case.folder
    if not _is_made(folder, case.data):
        print(f"simulating {case.title} ...", flush=True)
        simulate.simulate(case.data, folder)
    return Inputs(tuple(folder / name for name in NAMES), folder)


def _is_made(folder: Path, options: Options) -> bool:
    """Whether the folder holds just these data; truth.npz is written last."""
    if not all((folder / name).is_file() for name in (*NAMES, "truth.npz")):
        return False
    with np.load(folder / "truth.npz") as truth:
        found: object = json.loads(str(truth["options"]))
    return found == asdict(options)
