"""Faults of the machine during a run: signals, disks, folders, streams. The files are old or new, never a mixture."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from braggscale.io import open_inputs

ROOT = Path(__file__).parents[2]
EXAMPLE = [str(ROOT / "examples" / f"simulated.{kind}") for kind in ("expt", "refl")]
QUICK = ["model=KB", "restraints=fixed", "output.html=None", "nproc=1", "intensity_choice=sum", "d_min=2.2"]
OUTPUTS = ("scaled.expt", "scaled.refl", "scale.log", "scale.json")
FULL = Path("/dev/full")
WRITE = "from braggscale.io.atomic_files import write_text; write_text('scaled.refl', 'x')"


def start(folder: Path, *arguments: str, **more) -> subprocess.Popen:
    command = [sys.executable, "-m", "braggscale", *arguments]
    more = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | more
    return subprocess.Popen(command, cwd=folder, **more)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    _, errors = process.communicate(timeout=240)
    return process.returncode, (errors or b"").decode()


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in OUTPUTS[:2]}


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    """A folder with the outputs of a run with other options."""
    folder = tmp_path_factory.mktemp("earlier")
    assert finish(start(folder, "-q", *EXAMPLE, *QUICK, "d_min=3"))[0] == 0
    return folder


def copy_of(earlier: Path, folder: Path) -> Path:
    for name in OUTPUTS:
        shutil.copy(earlier / name, folder / name)
    return folder


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("place", range(3))
def test_signals_leave_old_or_new_and_nothing_else(earlier, tmp_path, number, status, place):
    folder = copy_of(earlier, tmp_path)
    before = digests(folder)
    process = start(folder, "-q", *EXAMPLE, *QUICK)
    time.sleep(random.Random(10 * number + place).uniform(0.6, 3.0))
    process.send_signal(number)
    code, errors = finish(process)
    assert code in (0, status, -number), errors  # -number: Python itself was still starting
    assert "Traceback" not in errors or code == -number or "KeyboardInterrupt" in errors
    assert sorted(os.listdir(folder)) == sorted(OUTPUTS)
    changed = [name for name, digest in digests(folder).items() if before[name] != digest]
    assert len(changed) in (0, 2)
    assert len(open_inputs([str(folder / name) for name in OUTPUTS[:2]]).data_sets) == 2


def test_a_killed_run_is_cleaned_up_by_the_next(earlier, tmp_path):
    folder = copy_of(earlier, tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", f"import os; {WRITE}; os.kill(os.getpid(), 9)"], cwd=folder, check=False
    )
    assert child.returncode == -signal.SIGKILL
    assert [name for name in os.listdir(folder) if name.endswith(".tmp")]
    mine = folder / f".scaled.refl.00000000-{os.getpid()}-0123abcd.tmp"
    mine.touch()  # of another computer, whose processes are not known here
    assert finish(start(folder, "-q", *EXAMPLE, *QUICK))[0] == 0
    assert [name for name in os.listdir(folder) if name.endswith(".tmp")] == [mine.name]


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_standard_output_costs_nothing_but_the_text(tmp_path):
    with FULL.open("wb") as full:
        code, errors = finish(start(tmp_path, *EXAMPLE, *QUICK, stdout=full))
    assert code == 0 and len(errors.splitlines()) == 1 and "No space left on device" in errors
    assert set(OUTPUTS) <= set(os.listdir(tmp_path))


def test_a_closed_standard_output(tmp_path):
    command = f"exec {sys.executable} -m braggscale {' '.join(EXAMPLE)} {' '.join(QUICK)} >&-"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
    assert set(OUTPUTS) <= set(os.listdir(tmp_path))


def test_a_broken_pipe(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    process = start(tmp_path, *EXAMPLE, *QUICK, stdout=writing)
    os.close(writing)
    code, errors = finish(process)
    assert code == 0 and "Traceback" not in errors
    assert set(OUTPUTS) <= set(os.listdir(tmp_path))


def test_a_file_size_limit_is_a_full_disk(earlier, tmp_path):
    folder = copy_of(earlier, tmp_path)
    before = digests(folder)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    code, errors = finish(start(folder, "-q", *EXAMPLE, *QUICK, preexec_fn=limit))
    assert code == 1 and errors.startswith("scale: error: writing scaled.refl failed: File too large")
    assert digests(folder) == before and sorted(os.listdir(folder)) == sorted(OUTPUTS)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    code, errors = finish(start(tmp_path, "-q", *EXAMPLE, *QUICK))
    tmp_path.chmod(0o700)
    assert code == 2 and "cannot write scaled.expt: Permission denied" in errors


def test_no_home(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
    code, errors = finish(start(tmp_path, "-q", *EXAMPLE, *QUICK, env=environment | {"HOME": "/nonexistent"}))
    assert code == 0 and errors == ""


def test_two_runs_in_one_folder(tmp_path):
    both = [start(tmp_path, "-q", *EXAMPLE, *QUICK, *more) for more in ((), ("d_min=2",))]
    assert [finish(process) for process in both] == [(0, ""), (0, "")]
    assert sorted(os.listdir(tmp_path)) == sorted(OUTPUTS)


def test_durable(tmp_path):
    assert finish(start(tmp_path, "-q", "--durable", *EXAMPLE, *QUICK)) == (0, "")
    assert sorted(os.listdir(tmp_path)) == sorted(OUTPUTS)


def test_devices_do_not_fill_the_memory(tmp_path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    commands = (
        ["/dev/zero", EXAMPLE[1]],
        [*EXAMPLE, "report.compare=/dev/zero"],
        [*EXAMPLE, "free_flags=/dev/zero", "merged_mtz=m.mtz"],
    )
    for arguments in commands:
        code, errors = finish(start(tmp_path, "-q", *arguments, *QUICK[:2], preexec_fn=limit))
        assert code in (1, 2) and len(errors.splitlines()) == 1 and "zero" in errors
