"""Warnings: each has a code, the guide lists it, scale.json has it, and with -q it is on standard error."""

import json
import logging
import re
from pathlib import Path

import pytest

import braggscale
from braggscale.cli import main
from braggscale.run_warnings import Code, Warned, warn, warnings_heard

log = logging.getLogger("braggscale.fake")
ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "guide" / "errors.md"
EXAMPLE = [str(ROOT / "examples" / f"simulated.{kind}") for kind in ("expt", "refl")]


def test_the_guide_lists_every_code_and_no_other():
    rows = re.findall(r"^\| `([a-z-]+)` \|", GUIDE.read_text(), re.MULTILINE)
    assert rows and sorted(rows) == sorted(Code)


def test_every_warning_of_the_program_has_a_code():
    root = Path(braggscale.__file__).parent
    plain = [path.name for path in root.rglob("*.py") if re.search(r"\blog\.warn(ing)?\(", path.read_text())]
    assert plain == ["run_warnings.py"]
    used = {name for path in root.rglob("*.py") for name in re.findall(r"\bCode\.([A-Z_]+)", path.read_text())}
    assert used == set(Code.__members__), "a code that nobody gives is a promise that nobody keeps"


def test_warnings_are_heard_in_their_order():
    with warnings_heard() as before, warnings_heard() as heard:
        warn(log, Code.REPEATED_ROWS, "100 % twice", "a")
        log.warning("by %s", "hand")
    log.warning("too late")
    assert heard == before == [Warned("repeated-rows", "100 % twice", "a"), Warned("other", "by hand")]


@pytest.mark.parametrize("quiet", [False, True])
def test_a_warning_in_summary_and_on_the_terminal(tmp_path, monkeypatch, capsys, quiet):
    monkeypatch.chdir(tmp_path)
    assert main([*EXAMPLE, "model=auto", "array.n_resolution_bins=5", "output.html=None", *["-q"] * quiet]) == 0
    said = capsys.readouterr()
    sentence = "array.n_resolution_bins has no effect"
    assert (sentence in said.err, sentence in said.out) == (quiet, not quiet)
    assert not quiet or not said.out
    entries = {entry["code"]: entry for entry in json.loads(Path("scale.json").read_text())["warnings"]}
    assert entries["option-without-effect"]["text"].startswith(sentence)
    assert sentence in Path("scale.log").read_text()
