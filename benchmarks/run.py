"""How fast, how lean, how true: all sizes of data, beside dials.scale where it is on the PATH.

    python benchmarks/run.py                            everything; hours, if the peer is there
    python benchmarks/run.py --sets s100k,s1m --repeat 5 --no-peer
    python benchmarks/run.py --quick                    a few thousand rows, to see that it works

Prints tables and writes benchmarks/results/NAME.json and .md. docs/benchmarks.md explains the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import braggscale
from bench import machine
from bench.bandwidth import bandwidth
from bench.cases import CASES, QUICK, VARIANTS, Case, inputs
from bench.engine import Timing, timings
from bench.measure import FIXED, Result, Settings, measure
from bench.process import Spread, run
from bench.tables import report
from braggscale.numerics.partitions import available_processors

RESULTS = Path(__file__).parent / "results"
ENGINE_ROWS = 1_000_000


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        description="Time, memory and accuracy of scaling.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    names = ",".join(case.name for case in CASES)
    p.add_argument("--sets", default=names, help="which sets, separated by commas; 'none' for the engine alone")
    p.add_argument(
        "--variants", default=",".join(VARIANTS), help="what is run beside fixed restraints; 'none' for nothing"
    )
    p.add_argument("--repeat", type=int, default=3, metavar="N", help="runs of each, by turns")
    p.add_argument("--no-peer", action="store_true", help="leave dials.scale out")
    p.add_argument("--peer-timeout", type=float, default=1800.0, metavar="S", help="seconds that dials.scale gets")
    p.add_argument("--work", type=Path, help="folder for simulated data, kept and used again; default: a temporary one")
    p.add_argument("--name", default="latest", help="name of the results")
    p.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    p.add_argument("--note", default="", help="a line for the head of the results, such as what else was running")
    p.add_argument("--quick", action="store_true", help="a few thousand rows, once, without the peer")
    return p


def chosen(sets: str, quick: bool) -> list[Case]:
    """The cases by their names; raises SystemExit for a name that is none."""
    if quick:
        return list(QUICK)
    known = {case.name: case for case in CASES}
    names = [] if sets == "none" else sets.split(",")
    for name in names:
        if name not in known:
            raise SystemExit(f"run: no set is called {name}; there are {', '.join(known)}")
    return [known[name] for name in names]


def start_up(folder: Path, repeat: int, cold: bool) -> dict[str, Spread]:
    """Seconds of what should answer at once, and with ``cold`` of the very first compilation."""
    command = [sys.executable, "-m", "braggscale"]
    found: dict[str, list[float]] = {}
    for k in range(repeat):
        for words in (["--version"], ["--help"], ["--warm-up"]):
            found.setdefault("scale " + " ".join(words), []).append(run([*command, *words], folder / "start").wall)
        if k == 0 and cold:
            with tempfile.TemporaryDirectory(dir=folder) as empty:  # as installed: it has kernels nowhere
                package = Path(braggscale.__file__).parent
                shutil.copytree(package, Path(empty) / "braggscale", ignore=shutil.ignore_patterns("__pycache__"))
                done = run([*command, "--warm-up"], folder / "start", environment={"PYTHONPATH": empty})
            found["the same with nothing compiled"] = [done.wall]
    return {name: Spread.of(times) for name, times in found.items()}


def bench(a: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Everything; returns what is written as JSON, with the page under the key "page"."""
    quick = a.quick
    repeat = 1 if quick else a.repeat
    facts, load = machine.facts(), machine.load()
    threads = available_processors()
    if load > 0.5:
        print(f"load average {load:.1f}: something else is running, times will be too long", flush=True)
    facts |= {"load_before": round(load, 1)}
    size = 2_000_000 if quick else 16_000_000
    triads = {n: bandwidth(n, size) for n in sorted({1, threads})}
    start = start_up(work / "runs", repeat, cold=not quick)
    engine: list[Timing] = timings(20_000 if quick else ENGINE_ROWS, threads, 3 * repeat, triads[threads])
    peer = None if a.no_peer or quick else machine.peer()
    variants = [] if a.variants == "none" else a.variants.split(",")
    settings = Settings(work, repeat, variants, peer, a.peer_timeout, triads[threads])
    results: list[Result] = []
    for case in chosen(a.sets, quick):
        data = inputs(case, work)
        if data is None:
            print(f"{case.title}: the data are not there, see BRAGGSCALE_DATA", flush=True)
            continue
        results.append(measure(case, data, settings))
        mine = results[-1].ours[FIXED].wall
        print(f"{case.title}: {mine.text() if mine else '-'} s", flush=True)
    facts |= {"load_after": round(machine.load(), 1)}
    page = report(facts, a.note, triads, start, engine, results)
    return {
        "facts": facts,
        "note": a.note,
        "bandwidth": {str(n): speed for n, speed in triads.items()},
        "start": {name: asdict(spread) for name, spread in start.items()},
        "engine": [asdict(timing) for timing in engine],
        "sets": [asdict(result) for result in results],
        "page": page,
    }


def _finite(value: Any) -> Any:
    """NaN, which JSON does not know, becomes null."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    a = parser().parse_args(argv)
    for name in [] if a.variants == "none" else a.variants.split(","):
        if name not in VARIANTS:
            raise SystemExit(f"run: no variant is called {name}; there are {', '.join(VARIANTS)}")
    chosen(a.sets, a.quick)
    holder = nullcontext(str(a.work.absolute())) if a.work else tempfile.TemporaryDirectory(prefix="braggscale-bench-")
    try:
        with holder as folder:
            found = bench(a, Path(folder))
    except RuntimeError as error:
        raise SystemExit(f"run: {error}") from None
    page = found.pop("page")
    print("\n" + page, end="")
    a.results.mkdir(parents=True, exist_ok=True)
    (a.results / f"{a.name}.md").write_text(page)
    (a.results / f"{a.name}.json").write_text(json.dumps(_finite(found), indent=1, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
