"""All measurements of one case: our runs by turns, the peer beside them, accuracy of each."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import accuracy
from accuracy import Accuracy
from bench.cases import VARIANTS, Case, Inputs
from bench.limit import moved
from bench.machine import PEER
from bench.process import Run, Spread, run

FIXED = "fixed"  # the case with its own options alone


@dataclass(frozen=True, slots=True)
class Measured:
    """Median and range of repeated runs.  ``stages``: s by stage, from scale.json; ``stop``: why there is nothing."""

    wall: Spread | None
    cpu: Spread | None
    peak: Spread | None
    stages: Mapping[str, Spread]
    accuracy: Accuracy | None
    stop: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """``ours``: by variant.  ``limit``: s by stage that memory needs.  ``same``: equal tables for any nproc."""

    name: str
    title: str
    rows: int
    observations: int
    parameters: int
    passes: int
    ours: Mapping[str, Measured]
    peer: Measured | None
    oracle: Accuracy | None
    limit: Mapping[str, float]
    same: bool | None

    def ratio(self) -> float | None:
        """How many times longer the peer takes than we with the case's own options."""
        mine = self.ours[FIXED].wall
        if self.peer is None or self.peer.wall is None or mine is None:
            return None
        return self.peer.wall.median / mine.median


@dataclass(frozen=True, slots=True)
class Settings:
    """``peer``: path of the peer, None to leave it out.  ``limit``: s that it gets.  ``bandwidth``: bytes/s."""

    work: Path
    repeat: int
    variants: Sequence[str]
    peer: str | None
    limit: float
    bandwidth: float


def measure(case: Case, inputs: Inputs, settings: Settings) -> Result:
    """Run the case; raises RuntimeError where our own program fails."""
    inputs.warm()
    truth = None if inputs.truth is None else accuracy.load_truth(inputs.truth)
    folder = settings.work / "runs" / case.name
    runs: dict[str, list[Run]] = {}
    seconds: dict[str, list[dict[str, float]]] = {}
    first: dict[str, Any] = {}
    sums: dict[str, str] = {}
    options: dict[str, tuple[str, ...]] = {FIXED: (), **{name: VARIANTS[name] for name in settings.variants}}
    for _ in range(settings.repeat):
        for name, extra in options.items():  # by turns: what disturbs the machine disturbs all alike
            command: list[str | Path] = [sys.executable, "-m", "braggscale", *inputs.files, *case.ours, *extra, "-q"]
            done = run(command, folder / name)
            if not done.done:
                said = (folder / name / "output.txt").read_text(errors="replace").strip()
                raise RuntimeError(f"{case.name}, {name}: exit status {done.status}: {said[-300:]}")
            found = json.loads((folder / name / "scale.json").read_text())
            runs.setdefault(name, []).append(done)
            seconds.setdefault(name, []).append(_with_rest(found["run"]["seconds"], done.wall))
            first.setdefault(name, found)
            sums[name] = _digest(folder / name / "scaled.refl")
    found = first[FIXED]
    written = (folder / FIXED / "scaled.refl").stat().st_size
    bytes_moved = moved(found, inputs.bytes, written)
    ours = {name: _measured(runs[name], seconds[name], _accuracy(folder / name, name, truth)) for name in options}
    passes = sum(len(m["cost"]) for entry in found["rounds"] for m in entry["minimisers"])
    result = Result(
        name=case.name,
        title=case.title,
        rows=found["ledger"]["rows"],
        observations=found["fit"]["observations"],
        parameters=found["fit"]["parameters"],
        passes=passes + sum(len(m["cost"]) for m in found["fit"]["minimisers"]),
        ours=ours,
        peer=None if settings.peer is None else _peer(case, inputs, folder / PEER, settings, truth),
        oracle=None if inputs.truth is None or truth is None else accuracy.oracle(inputs.truth, truth),
        limit={stage: n / settings.bandwidth for stage, n in bytes_moved.items()},
        same=sums["one"] == sums[FIXED] if "one" in sums else None,
    )
    shutil.rmtree(folder)
    return result


def _peer(case: Case, inputs: Inputs, folder: Path, settings: Settings, truth: Any) -> Measured:
    done = run([str(settings.peer), *inputs.files, *case.peer], folder, settings.limit)
    if done.status is None:
        return Measured(None, None, None, {}, None, f"not finished in {settings.limit:g} s")
    if not done.done:
        return Measured(None, None, None, {}, None, f"stopped with exit status {done.status}")
    return _measured([done], [], _accuracy(folder, PEER, truth))


def _measured(runs: Sequence[Run], seconds: Sequence[Mapping[str, float]], found: Accuracy | None) -> Measured:
    wall, cpu, peak = (Spread.of([getattr(r, name) for r in runs]) for name in ("wall", "cpu", "peak"))
    names = dict.fromkeys(stage for entry in seconds for stage in entry)
    stages = {stage: Spread.of([entry.get(stage, 0.0) for entry in seconds]) for stage in names}
    return Measured(wall, cpu, peak, stages, found)


def _with_rest(seconds: Mapping[str, float], wall: float) -> dict[str, float]:
    """Start-up, and whatever else no stage counts, under the name of the rest."""
    return {**seconds, "rest": wall - sum(seconds.values())}


def _accuracy(folder: Path, label: str, truth: Any) -> Accuracy | None:
    return None if truth is None else accuracy.scaled(folder / "scaled.refl", label, truth)[0]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
