"""Quick commands do not import slow modules; the tests check which modules are loaded, not the time."""

import subprocess
import sys

import pytest

from braggscale import __version__

PROGRAM = """
import sys
from braggscale.cli import main
status = main(sys.argv[1:])
print("\\n" + " ".join(sys.modules))
sys.exit(status)
"""
HEAVY = {"numpy", "numba", "llvmlite", "scipy", "gemmi", "h5py", "msgspec"}


def run(*arguments):
    """Standard output and the modules loaded at the end, by their first names."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    out, _, modules = done.stdout.rstrip().rpartition("\n")
    return out, {name.split(".")[0] for name in modules.split()}, set(modules.split())


@pytest.mark.parametrize("arguments", [["--help"], ["-hhh"], ["-c"], ["-c", "-e", "2", "-a", "1", "d_min=2"]], ids=str)
def test_options_are_explained_without_numbers(arguments):
    out, packages, _ = run(*arguments)
    assert "d_min" in out
    assert not packages & HEAVY


def test_version_needs_no_options():
    out, packages, modules = run("--version")
    assert out.strip() == f"braggscale {__version__}"
    assert not packages & (HEAVY | {"freephil"})
    assert {name for name in modules if name.startswith("braggscale")} == {
        "braggscale", "braggscale.arguments", "braggscale.cli", "braggscale.errors", "braggscale.numerics",
        "braggscale.log_detail", "braggscale.numerics.heap", "braggscale.numerics.timing", "braggscale.terminal",
    }  # fmt: skip


def test_package_itself_imports_nothing():
    code = "import sys; before = set(sys.modules); import braggscale; print(*(set(sys.modules) - before))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert out.split() == ["braggscale"]
