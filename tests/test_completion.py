"""Completion in shells, asked of the shells themselves; and the manual page."""

import shutil
import subprocess

import pytest

from braggscale.cli import main
from braggscale.completion import SHELLS, completion, values_by_name
from braggscale.options.definitions import definitions


def bash(line, folder):
    """What bash would offer at the end of the line, with the options that were set on the way."""
    script = (
        f"{completion('bash')}\n"
        "compopt() { :; }\n"
        f'COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; _scale_completion\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=folder, timeout=60)
    assert not done.stderr, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("scale model=ph", ["physical"]),
        ("scale a.expt absorption_level=", ["low", "medium", "high", "None"]),
        ("scale validate=", ["True", "False"]),
        ("scale d_mi", ["d_min="]),
        ("scale --ver", ["--verbose", "--version"]),
        ("scale cut_data.d_", ["cut_data.d_min=", "cut_data.d_max="]),
        ("scale output.log=so", ["some.log"]),
        ("scale some", ["some.log"]),
    ],
)
def test_what_bash_offers(tmp_path, line, offered):
    (tmp_path / "some.log").write_text("")
    assert bash(line, tmp_path) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_reads_its_script(tmp_path, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    path = tmp_path / "completion"
    path.write_text(completion(shell))
    done = subprocess.run([shell, "-n", path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish")
def test_what_fish_offers(tmp_path):
    path = tmp_path / "completion.fish"
    path.write_text(completion("fish"))
    command = f"source {path}; complete -C 'scale model=ph'; complete -C 'scale d_mi'"
    done = subprocess.run(["fish", "-N", "-c", command], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["model=physical", "d_min="]


def test_every_parameter_is_offered():
    master, offered = definitions(), values_by_name()
    assert set(master.options) <= set(offered)
    assert offered["model"] == master.options["model"].choices
    for name in offered:
        assert master.resolve(name).paths, f"{name} is understood as it is offered"


def test_the_option(capsys):
    assert main(["--completion", "zsh"]) == 0
    assert capsys.readouterr().out == completion("zsh")
    assert main(["--completion", "csh"]) == 2
    assert "choose one of bash, zsh, fish" in capsys.readouterr().err
