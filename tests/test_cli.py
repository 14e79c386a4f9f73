"""The command: sorting of arguments, exit status, one line for each problem, nothing written when it is wrong."""

import logging
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from braggscale import __version__
from braggscale.cli import main
from braggscale.crash_file import shape_of
from braggscale.data.experiment import Scan
from braggscale.errors import CommandError, DataError, InputError, Terminated

log = logging.getLogger("braggscale.fake")

EXAMPLE = [str(Path(__file__).parents[1] / "examples" / f"simulated.{kind}") for kind in ("expt", "refl")]
NO_FILES = "no input files: give experiments and reflections, or unmerged reflections of another program"


class Runs(list[types.SimpleNamespace]):
    """What the command handed to the pipeline; ``then`` is what the pipeline does."""

    then: Callable[[], None] | None = None


@pytest.fixture
def runs(monkeypatch, tmp_path):
    made = Runs()

    def run(files, options, command, log_text):
        made.append(types.SimpleNamespace(files=files, options=options, command=command, log=log_text))
        if made.then:
            made.then()
        made[-1].text = log_text()

    module: Any = types.ModuleType("braggscale.scale_files")
    module.run = run
    monkeypatch.setitem(sys.modules, "braggscale.scale_files", module)
    monkeypatch.chdir(tmp_path)
    for name in ("a.expt", "a.refl"):
        (tmp_path / name).write_text("x")
    return made


def lines_of(capsys) -> list[str]:
    """Standard error by line, each with the program's name."""
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("scale: error: ") for line in lines), lines
    return [line.removeprefix("scale: error: ") for line in lines]


def test_files_and_parameters_mix(runs, tmp_path):
    (tmp_path / "p.phil").write_text("cut_data.d_min = 3\nanomalous = True\n")
    (tmp_path / "q.txt").write_text("cut_data.d_max = 30\n")
    (tmp_path / "odd=name.refl").write_text("x")
    argv = ["d_min=2", "a.refl", "-v", "p.phil", "odd=name.refl", "--phil", "q.txt", "model=KB", "a.expt", "lmax=Auto"]
    assert main([*argv[:-1]]) == 0
    (run,) = runs
    assert run.files == ("a.refl", "odd=name.refl", "a.expt")
    assert run.options.cut_data.d_min == 3 and run.options.cut_data.d_max == 30, "later ones win"
    assert run.options.anomalous and run.options.model == "KB"
    assert run.options.is_explicit("model") and run.options.is_explicit("anomalous")
    assert not run.options.is_explicit("nproc")
    assert run.command["arguments"] == argv[:-1]


def test_the_log_starts_with_what_was_asked(runs, capsys):
    assert main(["a.expt", "a.refl", "model=physical", "decay_term=False", "zmax=5"]) == 0
    out = capsys.readouterr().out
    assert out == runs[0].text
    assert out.splitlines() == [
        f"scale {__version__}",
        "scale a.expt a.refl model=physical decay_term=False zmax=5",
        "",
        "The following parameters have been modified:",
        "",
        "model = 'physical'",
        "physical.decay_correction = False",
        "scaling_options.outlier_zmax = 5.0",
        "",
        "decay_term=False: decay_term read as decay_correction, its name today",
        "zmax=5: zmax read as outlier_zmax",
    ]


def test_names_that_begin_with_a_dash(runs, tmp_path):
    (tmp_path / "-odd.refl").write_text("x")
    assert main(["a.expt", "--", "-odd.refl"]) == 0
    assert main(["a.expt", "./-odd.refl"]) == 0
    assert [run.files for run in runs] == [("a.expt", "-odd.refl"), ("a.expt", "./-odd.refl")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["model=KB"], [NO_FILES]),
        (["b.expt", "a.refl"], ["b.expt: no such file; did you mean a.expt?"]),
        (["no/b.expt", "a.refl"], ["no/b.expt: no such file; the folder no does not exist"]),
        (
            ["scaled.pickle", "a.refl"],
            ["scaled.pickle: no such file; scaled.refl exists, which is the present name of this file"],
        ),
        (["a.expt", "."], [".: this is a folder; name the files in it"]),
        (["a.expt", "a.refl", "model=foo"], ["model=foo: 'foo' is not one of auto, physical, array, KB, dose_decay"]),
        (["a.expt", "a.refl", "E2_range=5,0.8"], ["E2_range=5,0.8: the first number must be the smaller one"]),
        (["a.expt", "a.refl", "d_mim=2"], ["d_mim=2: unknown option; did you mean d_min?"]),
        (["a.expt", "a.refl", "weighting_scheme=huber"], None),
        (["a.expt", "a.refl", "d_min", "=2"], None),
        (["a.expt", "a.refl", "d_min="], None),
        (["a.expt", "a.refl", "anomalous"], None),
        (["a.expt", "a.refl", "no.phil"], ["no.phil: no such file"]),
        (["a.expt", "a.refl", "--phil", "no.txt"], None),
        (["a.expt", "a.refl", "http://x.org/?a=b"], None),
        (["a.expt", "a.refl", "-Q"], ["unknown option -Q; scale -h lists the options"]),
        (["a.expt", "a.refl", "--full"], ["unknown option --full; scale -h lists the options"]),
        (["a.expt", "a.refl", "-e"], ["argument -e/--expert-level: expected one argument"]),
        (["a.expt", "a.refl", "-e", "x"], ["argument -e/--expert-level: invalid int value: 'x'"]),
        (["a.expt", "a.refl", "x" * 5000], None),
        (["a.expt", "a.refl", ""], None),
    ],
)
def test_wrong_commands(runs, capsys, tmp_path, arguments, expected):
    (tmp_path / "scaled.refl").write_text("x")
    before = sorted(os.listdir())
    assert main(arguments) == 2
    found = lines_of(capsys)
    assert found == expected if expected else found
    assert not runs and sorted(os.listdir()) == before


def test_all_problems_in_one_go(runs, capsys):
    argv = [
        "b.expt",
        "-Q",
        "d_mim=2",
        "model=foo",
        "E2_range=5,0.8",
        "output.log=no/x.log",
        "weighting_scheme=GM",
    ]
    assert main(argv) == 2
    assert [line.split(":")[0].split(";")[0] for line in lines_of(capsys)] == [
        "unknown option -Q",
        "d_mim=2",
        "weighting_scheme=GM",
        "model=foo",
        "E2_range=5,0.8",
        "b.expt",
        "cannot write no/x.log",
    ]
    assert not runs


def test_outputs_are_checked_before_reading(runs, capsys, tmp_path):
    assert main(["a.expt", "a.refl", "output.experiments=no/x.expt", "output.json=."]) == 2
    first, second = lines_of(capsys)
    assert "no/x.expt" in first and "does not exist" in first
    assert "folder" in second
    if os.geteuid() != 0:
        (tmp_path / "shut").mkdir(mode=0o500)
        assert main(["a.expt", "a.refl", "output.experiments=shut/x.expt"]) == 2
        assert "ermission denied" in lines_of(capsys)[0]
    assert main(["a.expt", "a.refl", "output.log=None"]) == 0
    assert sorted(os.listdir()) == ["a.expt", "a.refl"], "the check leaves nothing behind"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(runs, capsys, tmp_path):
    (tmp_path / "a.refl").chmod(0)
    assert main(["a.expt", "a.refl"]) == 2
    assert lines_of(capsys) == ["a.refl: cannot be read: permission denied"]


def fail(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (CommandError("exclude_images=9:1:2: no such data set"), 2, "exclude_images=9:1:2: no such data set"),
        (InputError("a.refl: truncated"), 1, "a.refl: truncated"),
        (DataError("nothing usable is left"), 1, "nothing usable is left"),
        (MemoryError(), 1, "not enough memory; give fewer data, fewer parameters, or a smaller nproc"),
        (Terminated(), 143, "terminated; nothing more was written"),
        (KeyboardInterrupt(), 130, "interrupted; nothing more was written"),
        (
            KeyError("x"),
            1,
            "internal error, KeyError: 'x'; scale.crash has the details: please report it with this file; "
            "nothing more was written",
        ),
    ],
)
def test_exit_status_of_a_run(runs, capsys, error, status, line):
    runs.then = fail(error)
    assert main(["a.expt", "a.refl"]) == status
    assert lines_of(capsys) == [line]


def test_control_characters_and_long_lines(runs, capsys):
    runs.then = fail(DataError("data set \x1b[31mred\n" + "x" * 1000 + " give less"))
    assert main(["a.expt", "a.refl"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(r"scale: error: data set \x1b[31mred xxx") and line.endswith("xxx give less")
    assert len(line) == 300 and " ... " in line


def test_a_fault_of_the_program_leaves_what_is_needed_to_find_it(runs, capsys, tmp_path):
    def broken():
        secret, table = 0.125, np.zeros((7, 3))
        return table[secret]

    runs.then = broken
    assert main(["a.expt", "a.refl", "d_min=2"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    text = (tmp_path / "scale.crash").read_text()
    assert text.startswith(f"braggscale {__version__}, Python ") and "\nscale a.expt a.refl d_min=2\n" in text
    assert "Traceback" in text and "IndexError" in text and "files: tuple of 2" in text


def test_shapes_without_data():
    values = np.arange(12.0).reshape(3, 4)
    assert shape_of(values) == "array (3, 4) float64"
    assert shape_of("abc") == "str of 3" and shape_of([1, 2]) == "list of 2" and shape_of(None) == "None"
    assert shape_of(Scan((1, 9), (0.0, 0.5))).startswith("Scan(image_range: tuple of 2, oscillation: tuple of 2")


def test_many_problems_are_not_a_flood(runs, capsys):
    assert main(["a.expt", "a.refl", *(f"no_such_{k}=1" for k in range(50))]) == 2
    lines = lines_of(capsys)
    assert len(lines) == 21 and lines[-1] == "and 30 more of this kind"


def talk() -> None:
    log.debug("a detail")
    log.info("a line")
    log.warning("careful")


@pytest.mark.parametrize(
    ("flags", "printed", "stored"),
    [
        ([], ["a line", "Warning: careful"], ["a line", "Warning: careful"]),
        (["-q"], ["Warning: careful"], ["a line", "Warning: careful"]),
        (["-v"], ["a detail", "a line", "Warning: careful"], ["a detail", "a line", "Warning: careful"]),
        (["-vv"], ["a detail", "a line", "Warning: careful"], ["a detail", "a line", "Warning: careful"]),
    ],
)
def test_how_much_is_said(runs, capsys, flags, printed, stored):
    runs.then = talk
    assert main(["a.expt", "a.refl", *flags]) == 0
    said = capsys.readouterr()
    assert (said.err.splitlines() if "-q" in flags else said.out.splitlines()[2:]) == printed
    assert not (said.out if "-q" in flags else said.err)
    assert runs[0].text.splitlines()[2:] == stored


def test_logging_is_put_back(runs):
    logger = logging.getLogger("braggscale")
    before = logger.level, logger.propagate, list(logger.handlers)
    shown = warnings.showwarning
    runs.then = fail(DataError("x"))
    assert main(["a.expt", "a.refl"]) == 1
    assert (logger.level, logger.propagate, list(logger.handlers)) == before
    assert warnings.showwarning is shown


def test_names_that_are_not_text(runs, tmp_path, capsys):
    name = os.fsdecode(b"caf\xe9.refl")
    (tmp_path / name).write_text("x")
    assert main(["a.expt", name]) == 0
    assert runs[0].files == ("a.expt", name)
    assert "caf\\udce9.refl" in runs[0].text
    runs[0].text.encode("utf-8")


@pytest.mark.parametrize(
    ("argv", "needed", "absent"),
    [
        (["-h"], "d_min = None", "small_scale_cutoff"),
        (["--help"], "exit status: 0 done", "min_partiality"),
        (["-hh"], "min_partiality", "small_scale_cutoff"),
        (["-hhh"], "small_scale_cutoff", "\x00"),
        (["-c"], "small_scale_cutoff = 0.001", ".help"),
        (["-c", "-e0"], "d_min = None", "min_partiality"),
        (["-c"], "lmax = Auto", ".help"),
        (["-c", "-e2"], "small_scale_cutoff", ".help"),
        (["-ce2"], "small_scale_cutoff", ".help"),
        (["-ce2", "-a1"], ".help", ".type"),
        (["-ce2", "-a", "2"], ".type", "\x00"),
        (["-c", "d_min=1.5", "min_Ih=3"], "min_Ih = 3", ".help"),
        (["-h", "no.expt", "d_mim=2"], "usage: scale", "unknown option"),
        (["--version"], f"braggscale {__version__}", "usage"),
        (["-V"], f"braggscale {__version__}", "usage"),
    ],
)
def test_what_is_printed_on_request(capsys, argv, needed, absent):
    assert main(argv) == 0
    found = capsys.readouterr()
    assert needed in found.out and absent not in found.out and not found.err


def test_no_arguments(capsys):
    assert main([]) == 2
    found = capsys.readouterr()
    assert found.out.startswith("usage: scale") and "d_min" in found.out

    assert found.err == f"scale: error: {NO_FILES}\n"


def test_show_config_refuses_mistakes_and_what_it_cannot_read(runs, capsys, tmp_path):
    assert main(["-c", "d_mim=2"]) == 2
    assert lines_of(capsys) == ["d_mim=2: unknown option; did you mean d_min?"]
    assert main(["-c", "no.phil"]) == 2
    assert lines_of(capsys) == ["no.phil: no such file"]
    (tmp_path / "my.txt").write_text("d_min = 2\n")
    assert main(["-c", "my.txt"]) == 2
    (line,) = lines_of(capsys)
    assert line.startswith("my.txt: these are no data; parameters are read from") and line.endswith("--phil my.txt")
    (tmp_path / "b.expt").write_text('{"__id__": "ExperimentList"}')
    assert main(["-c", "b.expt", "--phil", "my.txt"]) == 0
    assert "d_min = 2.0" in capsys.readouterr().out


def test_options_of_every_level_come_back(runs, capsys, tmp_path):
    text = "model = array\nd_min = 2\nmin_partiality = 0.5\nsmall_scale_cutoff = 0.01\nexclude_images = 0:1:2,0:7:9\n"
    (tmp_path / "my.phil").write_text(text + "array.correction.fix = decay\nerror_model.error_model = None\n")
    assert main(["-c", "my.phil"]) == 0
    (tmp_path / "back.phil").write_text(capsys.readouterr().out)
    for name in ("my.phil", "back.phil"):
        assert main(["a.expt", "a.refl", name]) == 0
    assert runs[0].command["modified"] == runs[1].command["modified"] and len(runs[0].command["modified"]) == 7
    assert runs[0].options == runs[1].options and runs[0].options.explicit == runs[1].options.explicit


def test_config_reads_back(runs, capsys, tmp_path):
    assert main(["-ce3", "-a2", "d_min=2", "exclude_images=0:1:2", "model=KB", "output.json=None"]) == 0
    (tmp_path / "all.phil").write_text(capsys.readouterr().out)
    assert main(["a.expt", "a.refl", "all.phil"]) == 0
    assert runs[0].command["modified"] == [
        "model = 'KB'",
        "exclude_images = '0:1:2'",
        "cut_data.d_min = 2.0",
        "output.json = None",
    ]


# Damaged inputs, with the real reader ---------------------------------------------------------------------


def refused(tmp_path: Path, capsys, status: int, *argv: str) -> str:
    """The one line of a run that fails and writes nothing."""
    before = sorted(os.listdir(tmp_path))
    assert main([*argv]) == status
    (line,) = lines_of(capsys)
    assert sorted(os.listdir(tmp_path)) == before
    return line


@pytest.mark.parametrize("disguise", [b"", b"reflection_table"])
def test_a_pickle_that_would_run_a_command(shared_data, tmp_path, capsys, monkeypatch, disguise):
    monkeypatch.chdir(tmp_path)
    command = b"touch trace #" + disguise
    attack = b"\x80\x02cposix\nsystem\nX" + len(command).to_bytes(4, "little") + command + b"\x85R."
    Path("bad.pickle").write_bytes(attack)
    experiments = shared_data / "l_cysteine" / "20_integrated_experiments.json"
    assert "bad.pickle" in refused(tmp_path, capsys, 1, str(experiments), "bad.pickle")


def test_garbage(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.refl").write_bytes(b"garbage\n")
    Path("a.expt").write_text("{}")
    assert "a.refl" in refused(tmp_path, capsys, 1, "a.expt", "a.refl")
    Path("a.refl").write_bytes(b"")
    assert "a.refl" in refused(tmp_path, capsys, 1, "a.expt", "a.refl")


def test_a_truncated_table(shared_data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = shared_data / "l_cysteine" / "20_integrated.pickle"
    Path("a.refl").write_bytes(table.read_bytes()[:5000])
    experiments = shared_data / "l_cysteine" / "20_integrated_experiments.json"
    assert "a.refl" in refused(tmp_path, capsys, 1, str(experiments), "a.refl")


# The real process -------------------------------------------------------------------------------------------


def process(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "braggscale", *argv], capture_output=True, text=True, **options)


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from braggscale.cli import main\n"
        "main(['--help'])\n"
        "heavy = {'numpy', 'scipy', 'numba', 'gemmi', 'h5py', 'rich', 'msgpack', 'msgspec'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_python_m(tmp_path):
    done = process(cwd=tmp_path)
    assert done.returncode == 2 and done.stdout.startswith("usage: scale")
    done = process("no.expt", "d_mim=2", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "scale: error: d_mim=2: unknown option; did you mean d_min?",
        "scale: error: no.expt: no such file",
    ]
    assert os.listdir(tmp_path) == []


def test_parameters_from_standard_input(tmp_path):
    done = process("-c", "--phil", "-", input="cut_data.d_min = 1.25\n", cwd=tmp_path)
    assert done.returncode == 0 and "d_min = 1.25" in done.stdout


@pytest.mark.parametrize("argv", [["-hhh"], ["-ce3", "-a3"]])
def test_a_closed_pipe_is_silent(argv):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run([sys.executable, "-m", "braggscale", *argv], stdout=pipe, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_run_outlives_its_terminal(tmp_path):
    code = (
        "import logging, sys, types\n"
        "def run(files, options, command, log_text):\n"
        "    for i in range(3):\n"
        "        logging.getLogger('braggscale.x').info('line %d', i)\n"
        "    open('done', 'w').write(log_text())\n"
        "module = types.ModuleType('braggscale.scale_files')\n"
        "module.run = run\n"
        "sys.modules['braggscale.scale_files'] = module\n"
        "from braggscale.cli import main\n"
        "sys.exit(main(['a.expt']))\n"
    )
    (tmp_path / "a.expt").write_text("x")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run([sys.executable, "-c", code], stdout=pipe, stderr=subprocess.PIPE, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "done").read_text().splitlines()[-1] == "line 2"


def test_a_full_disk_under_standard_output():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "braggscale", "-h"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr and done.stderr.startswith(b"scale: error: ")


def test_signals_wait_until_numpy_is_loaded(tmp_path):
    """An interrupt inside its import became an ImportError, and the file about that needed numpy again."""
    script = tmp_path / "interrupted.py"
    script.write_text(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'datetime':  # which numpy needs from C\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from braggscale.cli import main\n"
        f"sys.exit(main(['-q', *{EXAMPLE!r}]))\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "scale: error: interrupted; nothing more was written\n")
    assert os.listdir(tmp_path) == [script.name]
