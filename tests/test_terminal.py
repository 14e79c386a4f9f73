"""Output on a terminal and in a pipe: colours, the line of progress, folded lines."""

import io
import logging
import os
import re
import subprocess
import sys
import textwrap

import pytest

from braggscale import terminal
from braggscale.log_detail import in_file

pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")

RUN = textwrap.dedent(
    """
    import logging, sys, time, types
    from braggscale import terminal
    from braggscale.numerics.timing import Clock

    # the run waits for what is drawn, not for a time: how fast the machine is does not matter
    terminal.FIRST_AFTER, terminal.EVERY = {first_after}, 0.01
    text, drawn = terminal.Progress.text, []

    def recorded(self):
        drawn.append(text(self))
        return drawn[-1]

    terminal.Progress.text = recorded

    def wait_for(what):
        end = time.monotonic() + (60 if {watched} else 0.1)
        while not any(what in one for one in drawn) and time.monotonic() < end:
            time.sleep(0.01)

    def run(files, options, command, log_text):
        log, clock = logging.getLogger("braggscale.scaling.rounds"), Clock()
        with clock.stage("reading"):
            wait_for("reading")
        log.info("a line")
        with clock.stage("scaling"):
            log.info("Round 1: so")
            wait_for("round 2")
            log.warning("careful")
        log.info("  scale scaled.expt scaled.refl")
        open("log", "w").write(log_text())

    module = types.ModuleType("braggscale.scale_files")
    module.run = run
    sys.modules["braggscale.scale_files"] = module
    from braggscale.cli import main
    status = main(["a.expt", *sys.argv[1:]])
    sys.exit(status)
    """
)


LATER = 1e6  # seconds; the run is over before


def at_terminal(folder, *argv, first_after=LATER, watched=False, complaint=b"", **environment):
    """Standard output of the made-up run at a terminal, and its log file.

    ``first_after``: when progress begins, seconds.  ``watched``: whether the run lasts until its progress was drawn.
    ``complaint``: on standard error.
    """
    (folder / "a.expt").write_text("x")
    ours, theirs = pty.openpty()
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN.format(first_after=first_after, watched=watched), *argv],
        stdout=theirs,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**known, "TERM": "xterm", **environment},
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    assert process.communicate()[1] == complaint and process.returncode == 0
    return shown.decode().replace("\r\n", "\n"), (folder / "log").read_text()


def screen(text):
    """What stands on the screen in the end: a carriage return goes back to the beginning of the line."""
    lines = []
    for line in text.split("\n"):
        cells = []
        for piece in line.split("\r"):
            cells[: len(piece)] = piece
        lines.append("".join(cells).rstrip())
    return "\n".join(lines)


def test_a_short_run_shows_no_progress(tmp_path):
    assert terminal.FIRST_AFTER == 1.0
    shown, log = at_terminal(tmp_path)
    assert "..." not in shown and "\r" not in shown
    assert log.splitlines()[2:] == ["a line", "Round 1: so", "Warning: careful", "  scale scaled.expt scaled.refl"]


def test_a_long_run_says_what_it_does_and_leaves_nothing(tmp_path):
    shown, log = at_terminal(tmp_path, first_after=0.01, watched=True, NO_COLOR="1")
    assert re.search(r"\r\.\.\. reading  \d+ s", shown)
    assert "... scaling, round 2  " in shown
    assert screen(shown) == log, "in the end the terminal has what the log has"


def test_colours_are_for_terminals_that_want_them(tmp_path):
    shown, log = at_terminal(tmp_path)
    assert "\x1b[33mWarning: careful\x1b[0m" in shown and "\x1b[36m  scale scaled.expt scaled.refl\x1b[0m" in shown
    assert "\x1b" not in log
    for quiet in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert at_terminal(tmp_path, **quiet)[0] == log


def test_quiet_means_quiet(tmp_path):
    shown, log = at_terminal(tmp_path, "-q", first_after=0.01, NO_COLOR="1", complaint=b"Warning: careful\n")
    assert shown == "" and "a line" in log


def test_a_pipe_gets_the_log(tmp_path):
    (tmp_path / "a.expt").write_text("x")
    code = RUN.format(first_after=0.01, watched=False)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (tmp_path / "log").read_text()


def test_errors_are_red_at_a_terminal_only(tmp_path):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": ""}
    argv = [sys.executable, "-m", "braggscale", "no.expt"]
    assert subprocess.run(argv, stderr=theirs, cwd=tmp_path, env=environment).returncode == 2
    os.close(theirs)
    assert os.read(ours, 1000).startswith(b"\x1b[31mscale: error:\x1b[0m no.expt: no such file")
    os.close(ours)


def test_what_is_no_terminal():
    closed = io.StringIO()
    closed.close()
    for stream in (io.StringIO(), closed, object()):
        assert not terminal.is_terminal(stream) and not terminal.in_colour(stream)


@pytest.mark.parametrize("columns", [20, 80])
def test_progress_fits_the_line(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    progress = terminal.Progress(io.StringIO())
    progress.stage = "reading a file with a very long description of what is done"
    progress.begin -= 75
    assert len(progress.text()) < columns and (columns == 20 or progress.text().endswith("  1:15"))


@pytest.mark.parametrize(("verbose", "whole"), [(0, False), (1, False), (0, True)])
def test_what_fills_screens_stands_in_the_file(verbose, whole):
    shown = io.StringIO()
    with terminal.logging_to(shown, verbose, quiet=False, whole=whole) as file:
        log = logging.getLogger("braggscale.some")
        log.info("a line")
        log.info("a table", extra=in_file(True))
        log.info("a small table", extra=in_file(False))
    assert file() == "a line\na table\na small table\n"
    assert shown.getvalue() == (file() if verbose or whole else "a line\na small table\n")
