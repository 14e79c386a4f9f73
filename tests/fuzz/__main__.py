"""A campaign: python -m tests.fuzz --n 10000 --kind msgpack --seed 7

Cases run in a worker process that is limited in memory and processor time; one that breaks a limit is a fault, and the
next worker goes on behind it. Prints each fault with the number of its case (repeat with --case), and a table of kinds.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does

GIGABYTE = 1 << 30
SECONDS = 20.0  # of processor time
WALL = 300.0  # for loops in compiled code, which no signal ends
PER_WORKER = 250


class TooLong(BaseException):
    """Not an Exception: the program must not take it for an error of its own."""


def too_long(*_: object) -> NoReturn:
    """Signal handler."""
    raise TooLong


def work(kind: str, seed: int, numbers: range, show: bool) -> None:
    """In the worker: one line of JSON before and after each case."""
    from . import oracle
    from .cases import make

    signal.signal(signal.SIGPROF, too_long)
    oracle.faults_of(make("json", 0, 0))  # imports and compiles
    size = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024  # type: ignore[index]
    resource.setrlimit(resource.RLIMIT_AS, (size + GIGABYTE, resource.RLIM_INFINITY))
    for number in numbers:
        print(json.dumps({"begin": number}), flush=True)
        try:
            case = make(kind, seed, number)
        except Exception as error:  # of the mutation, not of the program: counted all the same, and the next goes on
            fault = f"the case cannot be made: {type(error).__name__}: {error}"
            print(json.dumps({"end": number, "faults": [fault], "s": 0.0}), flush=True)
            continue
        if show:
            print(case.argv, file=sys.stderr)
        begin = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            faults = oracle.faults_of(case)
        except TooLong as error:
            frames = []
            trace = error.__traceback__
            while trace is not None:
                frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
                trace = trace.tb_next
            faults = [f"more than {SECONDS:g} s: {' '.join(frames[-6:])}"]
        except Exception as error:
            faults = [f"the check itself failed: {type(error).__name__}: {error}"]
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps({"end": number, "faults": faults, "s": time.process_time() - begin}), flush=True)


def run(kind: str, seed: int, first: int, last: int) -> tuple[Counter[str], int]:
    """All cases of a kind; returns kinds of faults and the number of cases that had any."""
    counts: Counter[str] = Counter()
    n_bad, failed, slowest = 0, 0, (0.0, -1)
    at = first
    while at < last:
        stop = min(at + PER_WORKER, last)
        command = [sys.executable, "-m", "tests.fuzz", "--worker", "--kind", kind, "--seed", str(seed)]
        command += ["--first", str(at), "--n", str(stop - at)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1)
        assert worker.stdout is not None
        running = None
        while True:
            ready, _, _ = select.select([worker.stdout], [], [], WALL)
            line = worker.stdout.readline() if ready else ""
            if not line:
                break
            said = json.loads(line) if line.startswith("{") else {}
            if "begin" in said:
                running = said["begin"]
            elif "end" in said:
                running, at = None, said["end"] + 1
                slowest = max(slowest, (said["s"], said["end"]))
                n_bad += bool(said["faults"])
                for fault in said["faults"]:
                    report(counts, kind, seed, said["end"], fault)
        worker.kill()
        worker.wait()
        if at < stop and running is None:
            failed += 1
            if failed > 3:
                raise SystemExit(f"workers end with {worker.returncode} before their first case")
        if running is not None:
            n_bad += 1
            what = f"killed after {WALL:g} s" if not ready else f"worker ended with {worker.returncode}"
            report(counts, kind, seed, running, what)
            at = running + 1
    print(f"{kind}: {last - first} cases, seed {seed}: {n_bad} with faults; slowest {slowest[0]:.1f} s ({slowest[1]})")
    return counts, n_bad


def report(counts: Counter[str], kind: str, seed: int, number: int, fault: str) -> None:
    """Prints a fault and counts its kind: numbers and names do not make another one."""
    print(f"{kind} --seed {seed} --case {number}: {fault}", flush=True)
    counts[re.sub(r"[-+]?\d[\d.e+-]*", "#", fault)[:150]] += 1


def main() -> int:
    """The command."""
    from .cases import KINDS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--case", type=int, help="this one alone, with its command")
    parser.add_argument("--keep", metavar="FOLDER", help="write the files of --case here, and do not run it")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    kinds = options.kind or KINDS
    if options.keep:
        from .cases import make

        case = make(kinds[0], options.seed, options.case)
        Path(options.keep).mkdir(parents=True, exist_ok=True)
        for name, data in case.files.items():
            (Path(options.keep) / name).write_bytes(data)
        print(*case.argv)
        return 0
    if options.worker or options.case is not None:
        only = options.case is not None
        numbers = range(options.case, options.case + 1) if only else range(options.first, options.first + options.n)
        work(kinds[0], options.seed, numbers, only)
        return 0
    total = 0
    for kind in kinds:
        counts, n_bad = run(kind, options.seed, options.first, options.first + options.n)
        total += n_bad
        for text, n in counts.most_common(40):
            print(f"{n:6d}  {text}")
    return int(total > 0)


if __name__ == "__main__":
    sys.exit(main())
