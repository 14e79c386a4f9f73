"""Runs that are ended at random moments by KILL, TERM and INT: are the files always all old or all new?

    python benchmarks/kills.py [--times 300] [--seed 1] [FILES]

scales FILES (default: the example) once in peace, and then again and again in a copy of that folder with another
resolution limit, each time sending one of the three signals at a random moment. Most moments are near the end, where
files are written and renamed. Counted as faults: one of the scaled files new and the other old (KILL alone may leave
that between two renames, and reading must then refuse the pair), other files than before after TERM or INT, a status
that is neither 0 nor that of the signal, a run that goes on for more than a minute, scaled files that cannot be read,
stale temporary files that the next run leaves there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from braggscale.errors import UserError
from braggscale.io import open_inputs

EXAMPLE = [str(Path(__file__).parents[1] / "examples" / f"simulated.{kind}") for kind in ("expt", "refl")]
QUICK = ("-q", "model=KB", "restraints=fixed", "nproc=1", "output.html=None", "merged_mtz=m.mtz")
PAIR = ("scaled.expt", "scaled.refl")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LONGEST = 60.0  # seconds after a signal


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run has ended.  ``what``: to be counted.  ``faults``: what was wrong."""

    what: str
    faults: tuple[str, ...]


def start(files: Sequence[str], folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """A run in ``folder``."""
    command = [sys.executable, "-m", "braggscale", *files, *QUICK, *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def digests(folder: Path) -> list[str]:
    """SHA-256 of the scaled pair."""
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in PAIR]


def disturb(files: Sequence[str], before: Path, number: signal.Signals, moment: float) -> tuple[Ended, float]:
    """One run with a signal after ``moment`` seconds, over copies of the files of an earlier one.

    Returns how it ended, and its seconds if it had ended before the signal, else 0.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        shutil.copytree(before, folder)
        begin = time.monotonic()
        process, seconds, faults = start(files, folder), 0.0, []
        try:
            _, errors = process.communicate(timeout=moment)
            seconds = time.monotonic() - begin
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            try:
                _, errors = process.communicate(timeout=LONGEST)
            except subprocess.TimeoutExpired:
                process.kill()
                _, errors = process.communicate()
                faults.append("it goes on")
        status = process.returncode
        changed = sum(old != new for old, new in zip(digests(before), digests(folder), strict=True))
        extra = sorted(set(os.listdir(folder)) ^ set(os.listdir(before)))
        starting = b"runpy module" in errors  # Python itself, before the program
        if status not in (0, -number, 128 + number) and not starting:
            faults.append(f"status {status}: {errors.decode(errors='replace')[-200:]}")
        if extra and number != signal.SIGKILL:
            faults.append(f"other files: {', '.join(extra)}")
        mixed = changed == 1
        if mixed and number != signal.SIGKILL:
            faults.append("one of the scaled files is new, the other old")
        try:
            open_inputs([str(folder / part) for part in PAIR])
            if mixed:
                faults.append("a mixed pair was read")
        except UserError as error:
            if not mixed:
                faults.append(f"cannot be read: {error}")
        if extra and not faults:
            start(files, folder, "d_min=3").communicate()
            if left := sorted(set(os.listdir(folder)) ^ set(os.listdir(before))):
                faults.append(f"the next run leaves {', '.join(left)}")
        state = ("old files", "mixed, refused", "new files")[changed]
        temporary = ", temporary files" if extra else ""
        return Ended(f"{number.name} status {status}: {state}{temporary}", tuple(faults)), seconds


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("files", nargs="*", metavar="FILES")
    options = parser.parse_args()
    files = [str(Path(name).resolve()) for name in options.files] or EXAMPLE
    chance = random.Random(options.seed)
    counts: Counter[str] = Counter()
    n_bad = 0
    with tempfile.TemporaryDirectory() as name:
        before = Path(name)
        for _ in range(2):  # the first may compile
            begin = time.monotonic()
            _, errors = start(files, before, "d_min=2.5").communicate()
            length = time.monotonic() - begin
        if len(os.listdir(before)) < len(PAIR):
            raise SystemExit(f"the run in peace failed: {errors.decode(errors='replace')}")
        for k in range(options.times):
            near_end = chance.random() < 0.6
            moment = chance.uniform(0.75, 1.05) * length if near_end else chance.uniform(0.0, 1.1) * length
            ended, seconds = disturb(files, before, chance.choice(SIGNALS), moment)
            if seconds:
                length += 0.3 * (seconds - length)  # the machine may have become slower
            elif near_end and "old" in ended.what:
                length *= 1.01
            counts[ended.what] += 1
            n_bad += bool(ended.faults)
            for fault in ended.faults:
                print(f"{k}, after {moment:.2f} s, {ended.what}: {fault}", flush=True)
    for text, n in sorted(counts.items()):
        print(f"{n:6d}  {text}")
    print(f"{options.times} times, {n_bad} with faults")
    return int(n_bad > 0)


if __name__ == "__main__":
    sys.exit(main())
