"""Ranks that are killed or stopped at random moments: is there always a message, and never half a file?

    python benchmarks/ranks_kills.py --out DIR [--times 30] [--ranks 3] [--stills 600] [--signal KILL|STOP|NODE]

simulates stills, scales them over ranks once in peace, and then again and again, each time sending a signal to one rank
at a random moment. KILL ends it, STOP makes it hang, NODE stops its watcher as well, as if its computer had failed.
Printed for each: when, which rank, how long until all had ended, status, which files there were, and the message. The
last line counts: messages, messages that name the right rank and what it was doing, all files or none, longest wait.
The limits for a rank that hangs are shortened to 10 s (BRAGGSCALE_MPI_IDLE; that of NODE stays, 120 s).
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simulate_many import simulate_many
from simulation.design import Options

LONGEST = 300.0  # seconds after which a job counts as hanging
IDLE = "10"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job has ended.  ``seconds``: after the signal.  ``files``: all, none, or how many."""

    seconds: float
    files: str
    message: str
    right: bool
    named: bool


def start(files: Sequence[str], folder: Path, n: int) -> subprocess.Popen[str]:
    """A job of ``n`` ranks in ``folder``."""
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec") or "mpiexec"
    command = [launcher, "-n", str(n), sys.executable, "-m", "braggscale", *files, "merged_mtz=m.mtz"]
    environment = os.environ | {"BRAGGSCALE_MPI_IDLE": IDLE, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def processes(folder: Path, watchers: bool) -> dict[int, int]:
    """Process numbers of the ranks of the job in ``folder``, or of their watchers, by rank."""
    found: dict[int, int] = {}
    numbers = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    for number in numbers:
        entry = Path("/proc") / str(number)
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            variables = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
            here = (entry / "cwd").resolve() == folder.resolve()
        except OSError:
            continue
        rank = next((text.partition("=")[2] for text in variables if text.startswith("PMI_RANK=")), "")
        is_rank = words[1:3] == ["-m", "braggscale"]
        is_watcher = any(word.endswith("watcher.py") for word in words)
        if here and rank and (is_watcher if watchers else is_rank):
            found.setdefault(int(rank), number)  # a watcher that begins looks like its rank for a moment
    return found


def disturb(files: Sequence[str], folder: Path, n: int, kind: str, moment: float, whole: Sequence[str]) -> Ended | None:
    """One job with a signal after ``moment`` seconds; None if it had ended by then."""
    for path in folder.iterdir():
        path.unlink()
    job, begin, which = start(files, folder, n), time.monotonic(), random.randrange(n)
    ranks: dict[int, int] = {}
    while (time.monotonic() - begin < moment or len(ranks) < n) and job.poll() is None:
        if len(ranks) < n:
            ranks = processes(folder, watchers=False)
        time.sleep(0.005)
    if job.poll() is not None:
        return None
    if kind == "NODE":
        os.kill(processes(folder, watchers=True)[which], signal.SIGSTOP)
    os.kill(ranks[which], signal.SIGKILL if kind == "KILL" else signal.SIGSTOP)
    begin = time.monotonic()
    try:
        text = job.communicate(timeout=LONGEST)[0]
    except subprocess.TimeoutExpired:
        job.kill()
        text = "HANGS"
    seconds = time.monotonic() - begin
    for process in processes(folder, watchers=True).values() if kind == "NODE" else ():
        os.kill(process, signal.SIGKILL)
    time.sleep(0.3)
    now = sorted(path.name for path in folder.iterdir() if ".died" not in path.name)
    state = "all" if now == list(whole) else f"{len(now)} OF {len(whole)}" if now else "none"
    found = re.search(r"scale: error: (.*)", text)
    message = found[1] if found else ""
    right = bool(re.search(rf"\brank {which} (of|on)\b", message))
    named = any(word in message for word in (".refl", "starting", "no longer hears"))
    print(f"{moment:6.1f} s, rank {which}: {seconds:5.1f} s, status {job.returncode}, {state}, {message}", flush=True)
    return Ended(seconds, state, message, right, named)


def main() -> None:
    """Entry point."""
    p = argparse.ArgumentParser(description="Ranks that are killed at random moments.")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--times", type=int, default=30)
    p.add_argument("--ranks", type=int, default=3)
    p.add_argument("--stills", type=int, default=600)
    p.add_argument("--signal", choices=("KILL", "STOP", "NODE"), default="KILL")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    random.seed(a.seed)
    out = a.out.resolve()  # runs have another working folder
    data, folder = out / "data", out / "run"
    folder.mkdir(parents=True, exist_ok=True)
    if not data.exists():
        made = Options(
            kind="stills", count=a.stills, reflections=a.stills * 250, d_min=2.5, seed=1, flat_field=0.0, lean=True
        )
        simulate_many(made, data, max(a.stills // 12, 1))
    files = [str(path) for path in sorted(data.glob("stills_*"))]
    for path in folder.iterdir():
        path.unlink()
    begin, job = time.monotonic(), start(files, folder, a.ranks)
    text, took = job.communicate()[0], time.monotonic() - begin
    if job.returncode:
        sys.exit(text)
    whole = sorted(path.name for path in folder.iterdir())
    print(f"in peace: {took:.1f} s, {len(whole)} files", flush=True)
    ended: list[Ended] = []
    while len(ended) < a.times:
        one = disturb(
            files, folder, a.ranks, a.signal, random.uniform(0.02 if a.signal == "KILL" else 0.5, 1.0) * took, whole
        )
        ended += [] if one is None else [one]
    print(
        f"{a.signal} {len(ended)} times: {sum(bool(one.message) for one in ended)} messages, "
        f"{sum(one.right for one in ended)} name the rank, {sum(one.named for one in ended)} the file; "
        f"{sum(one.files in ('all', 'none') for one in ended)} times all files or none; longest "
        f"{max((one.seconds for one in ended), default=0.0):.1f} s"
    )


if __name__ == "__main__":
    main()
