"""Conditions that hold for any input: exit status, one plain line for each error, complete and finite outputs."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import tempfile
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import gemmi
import numpy as np

from braggscale.cli import main
from braggscale.errors import UserError
from braggscale.io import open_inputs

from .cases import Case

LONGEST_LINE = 300
PREFIX = "scale: error: "
NOT_FINITE = re.compile(
    r"(?<![\w./'])[-+]?(nan|inf|infinity)(?![\w./'])", re.IGNORECASE
)  # in quotes it is a word of an option
TEXT_OUTPUTS = (".log", ".cif", ".hkl", ".ins", ".sca", ".HKL")
OURS = ("intensity.scale.value", "intensity.scale.variance", "inverse_scale_factor", "inverse_scale_factor_variance")
# A sweep or still whose scale differs so much from the others' is a fault, not a measurement.
PLAUSIBLE_SCALE = 1e6


def faults_of(case: Case) -> list[str]:
    """Runs a case in a folder of its own; returns what was wrong, nothing if all was right."""
    folder = tempfile.mkdtemp()
    try:
        with chdir(folder):
            for name, data in case.files.items():
                Path(name).write_bytes(data)
            out, err = io.StringIO(), io.StringIO()
            with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                status = main(case.argv)
            return [*said(status, err.getvalue()), *written(status, case)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def said(status: int, text: str) -> list[str]:
    """Faults of exit status and standard error."""
    lines = _without_warnings(text.splitlines())
    found = [] if status in (0, 1, 2) else [f"status {status}"]
    if bool(lines) != bool(status):
        found.append(f"status {status} with {len(lines)} lines about errors")
    if status == 1 and len(lines) > 1:
        found.append(f"{len(lines)} lines for one error: {lines[1][:200]}")
    for line in lines:
        if "internal error" in line or "not enough memory" in line:
            found.append(line[:LONGEST_LINE])
        if not line.startswith(PREFIX):
            found.append(f"a line without the program's name: {line[:100]!r}")
        if len(line) > LONGEST_LINE:
            found.append(f"a line of {len(line)} characters: {line[:100]!r}")
        if not line.isprintable():
            found.append(f"a line with control characters: {line[:100]!r}")
    return found


def _without_warnings(lines: list[str]) -> list[str]:
    """The lines but for warnings, which may go on in lines that begin with two blanks."""
    result: list[str] = []
    in_warning = False
    for line in lines:
        in_warning = line.startswith("Warning: ") or (in_warning and line.startswith("  "))
        if not in_warning or not line.isprintable():
            result.append(line)
    return result


def written(status: int, case: Case) -> list[str]:
    """Faults of the files in the working folder."""
    new = sorted(set(os.listdir()) - set(case.files))
    found = [f"left behind: {name}" for name in new if name.endswith(".tmp")]
    if "export" not in case.argv:
        pair = {"scaled.expt", "scaled.refl"} & set(new)
        of_ranks = any(name.startswith("scaled_") for name in new)  # in the compact form each input file has its own
        # cross-validation writes the log alone
        tested = "scale.log" in new and "\nCross-validation: " in Path("scale.log").read_text(errors="replace")
        if status == 0 and len(pair) < 2 and not (of_ranks or tested):
            found.append("status 0 without scaled files")
        if len(pair) == 1:
            found.append("one of the scaled files alone")
        if len(pair) == 2:
            found += pair_faults()
    for name in new:
        path = Path(name)
        if path.suffix in (".expt", ".json"):
            try:
                json.loads(path.read_text(), parse_constant=_refuse)
            except ValueError as error:
                found.append(f"{name}: {error}")
        elif path.suffix in TEXT_OUTPUTS:
            text = path.read_text(errors="replace")
            found += [f"{name}: {match[0]} in {_line(text, match.start())}" for match in NOT_FINITE.finditer(text)][:1]
            if path.suffix == ".log" and "internal error" in text:
                found.append(f"{name}: internal error")
        elif path.suffix == ".mtz":
            mtz = gemmi.read_mtz_file(name)
            # in MTZ files NaN means "not measured"; infinity is not allowed
            if np.isinf(np.array(mtz, copy=False)).any():
                found.append(f"{name}: infinite values")
    return found


def pair_faults() -> list[str]:
    """Faults of the scaled pair: it can be read, its new columns are finite, its scales are plausible."""
    try:
        data = open_inputs(["scaled.expt", "scaled.refl"])
    except UserError as error:
        return [f"the scaled files cannot be read: {error}"]
    found = []
    for data_set in data.data_sets:
        for name in OURS:
            if not np.isfinite(data_set.table[name]).all():
                found.append(f"scaled.refl: {name} is not finite")
        good = data_set.table["scaling_fate"] == 0
        g = data_set.table["inverse_scale_factor"][good]
        if len(g) and not (g.min() > 1 / PLAUSIBLE_SCALE and g.max() < PLAUSIBLE_SCALE):
            found.append(f"inverse scale factors from {g.min():.3g} to {g.max():.3g}")
    return found[:3]


def _refuse(word: str) -> None:
    raise ValueError(f"not finite: {word}")


def _line(text: str, at: int) -> str:
    start = text.rfind("\n", 0, at) + 1
    return repr(text[start : text.find("\n", at)].strip()[:100])
