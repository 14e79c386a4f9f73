"""Runs a command and writes what it took to the file descriptor that the first argument names.

A process of its own: a child's peak of resident memory begins at that of the process that started it (Linux counts what
it had before exec), and the benchmark, which holds arrays, is larger than what it measures.
"""

import os
import sys
from time import perf_counter


def main(report: int, command: list[str]) -> None:
    """Start the command, wait, and report wall s, CPU s, peak (as the system counts it) and exit status."""
    begin = perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    wall, cpu = perf_counter() - begin, usage.ru_utime + usage.ru_stime
    os.write(report, f"{wall} {cpu} {usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}".encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
