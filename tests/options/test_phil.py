"""Names, values and messages of the PHIL layer."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braggscale.errors import CommandError
from braggscale.options.definitions import definitions
from braggscale.options.other_names import FULL_NAME_ONLY
from braggscale.options.phil import Definitions, load, read_argument, read_file
from braggscale.options.values import AUTO, convert, format_value

SMALL = """
n = 1
  .type = int(value_min=1)
x = Auto
  .type = float
model = *red blue
  .type = choice
  .optional = False
red {
  size = 1.0
    .type = float
}
blue {
  size = 2.0
    .type = float
}
many = None
  .type = ints(size=2)
  .multiple = True
hidden
  .expert_level = 2
{
  inner {
    deep = None
      .type = str
  }
}
"""


def set_one(argument: str, master: Definitions | None = None) -> tuple[str, object]:
    """Path and value after one argument."""
    master = master or definitions()
    made = read_argument(argument)
    path = master.resolve(made.name).paths[0]
    values = master.defaults()
    master.assign(values, path, made.words)
    return path, values[path]


def test_imports_without_setuptools_and_without_warnings():
    code = (
        "import sys\n"
        "class Hide:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('pkg_resources', 'setuptools', 'libtbx'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "from braggscale.options.definitions import definitions\n"
        "definitions()\n"
        "assert 'pkg_resources' not in sys.modules and 'libtbx' not in sys.modules\n"
        "heavy = {'numpy', 'scipy', 'numba', 'gemmi', 'h5py', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("zzz=3", "unknown option; scale -hh lists all options"),
        ("d_mim=2", r"unknown option; did you mean d_min\?"),
        ("decay=0", "'decay' can mean decay_correction, decay_interval or decay_restraint"),
        ("absorption=medium", "can mean absorption_correction, absorption_level or n_absorption_bins"),
        ("interval=3", "'interval' can mean scale_interval, decay_interval or image_interval"),
        ("physical=3", "physical is a group of options: physical.scale_correction"),
        ("correction.fix2=3", "unknown option; did you mean fix"),
        ("d_min=abc", "'abc' is not a number"),
        ("d_min=1/0", "'1/0' is not a number"),
        ("d_min=3/2", "'3/2' is not a number"),
        ("d_min=sqrt(2)", "is not a number"),
        ("d_min=len([1,2])", "is not a number"),
        ("d_min=True", "'True' is not a number"),
        ("d_min=1_000", "is not a number"),
        ("d_min=\N{ARABIC-INDIC DIGIT THREE}", "is not a number"),
        ("d_min=-1", "-1 is below 0, the smallest value allowed"),
        ("min_partiality=1.5", "1.5 is above 1, the largest value allowed"),
        ("d_min=nan", "'nan' is not a number"),
        ("d_min=inf", "'inf' is not a number"),
        ("d_min=1e999", "'1e999' is not a finite number"),
        ("d_min=2 3", "'2 3' is not a number"),
        ("d_min=Auto", "Auto is not a value of it; expected: number >= 0, None"),
        ("lmax=None", "None is not a value of it; expected: whole number from 2 to 16, Auto"),
        ("n_bins=2.5", "'2.5' is not a whole number"),
        ("n_bins=None", "None is not a value of it"),
        ("n_bins=Auto", "Auto is not a value of it"),
        ("min_groups=99999999999999999999", "is not a whole number"),
        ("anomalous=Auto", "Auto is not a value of it; expected: True or False"),
        ("anomalous=None", "None is not a value of it"),
        ("anomalous=y", "'y' is neither True nor False"),
        ("best_unit_cell=1,2,3", "3 numbers given, exactly 6 needed"),
        ("E2_range=1", "1 number given, exactly 2 needed"),
        ("E2_range=()", "0 numbers given, exactly 2 needed"),
        ("E2_range=1,None", "'None' is not a number"),
        ("exclude_batches=7", "1 number given, exactly 2 needed"),
        ("exclude_batches=1-2", "1 number given, exactly 2 needed"),
        ("model=foo", "'foo' is not one of auto, physical, array, KB"),
        ("model=phys", "'phys' is not one of"),
        ("model=physical array", "are 2 values; choose one of auto, physical, array, KB"),
        ("model=auto physical array KB", "are 4 values"),
        ("model=*auto *KB", "are 2 values"),
        ("method=None", "'None' is not one of|None is not a value of it"),
        ("output.experiments=None", "None is not a value of it"),
        ("d_min=", "the value after '=' is missing; write name=value without blanks"),
        ("=2", "the name before '=' is missing"),
        ("joint_analysis=False", "^this is an option of dials.scale that scale does not have$"),
        ("output.plot_scaling_models=x", "an option of dials.scale that scale does not have; nearest: output.html"),
        ("plot_scaling_models=x", "an option of dials.scale that scale does not have; nearest: output.html"),
        ("dose_decay.lmax=1", "1 is below 2, the smallest value allowed"),
    ],
)
def test_refused(argument, message):
    with pytest.raises(CommandError, match=message):
        set_one(argument)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("d_min=2", 2.0),
        ("d_min=.5e1", 5.0),
        ("d_min='2'", 2.0),
        ("min_isigi=-7.5", -7.5),
        ("Isigma_range=-5,0", (-5.0, 0.0)),
        ("d_min=None", None),
        ("lmax=auto", AUTO),
        ("n_bins=2.0", 2),
        ("n_bins=1e1", 10),
        ("anomalous=yes", True),
        ("anomalous=on", True),
        ("anomalous=1", True),
        ("anomalous=OFF", False),
        ("E2_range=0 2", (0.0, 2.0)),
        ("E2_range=0,2", (0.0, 2.0)),
        ("E2_range=0 , 2", (0.0, 2.0)),
        ("E2_range=[0,2]", (0.0, 2.0)),
        ("E2_range=(0;2)", (0.0, 2.0)),
        ("model=PHYSICAL", "physical"),
        ("model=kb", "KB"),
        ("outlier_rejection=none", None),
        ("outlier_rejection=standard simple", None),
        ("outlier_rejection=standard *simple", "simple"),
        ("use_datasets=0,2", ("0", "2")),
        ("use_datasets=0 2", ("0", "2")),
        ("use_datasets=#3", ("#3",)),
        ("use_datasets=0:2", ("0:2",)),
        ("exclude_images=0:150:200,1:200:250", (("0:150:200", "1:200:250"),)),
        ("exclude_batches=7001,7200", ((7001, 7200),)),
        ("output.experiments=a{b}.expt", "a{b}.expt"),
        ("output.experiments=a;b # c", "a;b # c"),
        ("output.experiments=$HOME/x", "$HOME/x"),
        ("output.experiments=a=b", "a=b"),
        ("output.experiments=C:\\x", "C:\\x"),
        ("output.experiments=it's", "it's"),
        ("output.experiments=é  ö", "é  ö"),
        ("output.experiments=Auto", "Auto"),
        ("output.json=None", None),
        ("output.json='None'", "None"),
    ],
)
def test_accepted(argument, value):
    path, found = set_one(argument)
    assert found == value and type(found) is type(value)
    # what is printed reads back as the same, and freephil agrees where it can be trusted with the text
    option = definitions().options[path]
    for entry in found if option.multiple else (found,):
        text = format_value(entry)
        source = load().parse(f"{path} = {text}")
        words = source.all_definitions()[0].object.words
        assert convert(option, [(word.value, word.quote_token is not None) for word in words]) == entry


SHORT_NAMES = {
    "model": "model",
    "anomalous": "anomalous",
    "nproc": "nproc",
    "exclude_images": "exclude_images",
    "exclude_batches": "exclude_batches",
    "scale_interval": "physical.scale_interval dose_decay.scale_interval",
    "decay_interval": "physical.decay_interval array.decay_interval",
    "decay_correction": " ".join(f"{m}.decay_correction" for m in ("physical", "array", "KB", "dose_decay")),
    "absorption_correction": " ".join(f"{m}.absorption_correction" for m in ("physical", "array", "dose_decay")),
    "modulation_correction": "physical.modulation_correction array.modulation_correction KB.modulation_correction",
    "scale_term": "physical.scale_correction KB.scale_correction dose_decay.scale_correction",
    "decay_term": "physical.decay_correction array.decay_correction KB.decay_correction dose_decay.decay_correction",
    "absorption_term": "physical.absorption_correction array.absorption_correction dose_decay.absorption_correction",
    "modulation_term": "physical.modulation_correction array.modulation_correction KB.modulation_correction",
    "parameterisation.lmax": "physical.lmax dose_decay.lmax",
    "lmax": "physical.lmax dose_decay.lmax",
    "surface_weight": "physical.surface_weight dose_decay.surface_weight",
    "decay_restraint": "physical.decay_restraint",
    "absorption_level": "physical.absorption_level",
    "share.absorption": "physical.share.absorption dose_decay.share.absorption",
    "n_resolution_bins": "array.n_resolution_bins",
    "n_absorption_bins": "array.n_absorption_bins",
    "n_modulation_bins": "array.n_modulation_bins",
    "fix": "physical.correction.fix array.correction.fix KB.correction.fix dose_decay.correction.fix",
    "method": "reflection_selection.method",
    "E2_range": "reflection_selection.E2_range",
    "e2_range": "reflection_selection.E2_range",
    "Isigma_range": "reflection_selection.Isigma_range",
    "d_range": "reflection_selection.d_range",
    "min_partiality": "reflection_selection.min_partiality",
    "intensity_choice": "reflection_selection.intensity_choice",
    "intensity": "reflection_selection.intensity_choice",
    "error_model": "weighting.error_model.error_model",
    "weighting.error_model": "weighting.error_model.error_model",
    "optimise_errors": "weighting.error_model.error_model",
    "b": "weighting.error_model.basic.b",
    "d_min": "cut_data.d_min",
    "D_MIN": "cut_data.d_min",
    "cut_data.exclude_batches": "exclude_batches",
    "use_datasets": "dataset_selection.use_datasets",
    "exclude_datasets": "dataset_selection.exclude_datasets",
    "full_matrix": "scaling_options.full_matrix",
    "outlier_zmax": "scaling_options.outlier_zmax",
    "zmax": "scaling_options.outlier_zmax",
    "scaling_options.nproc": "nproc",
    "max_iterations": "scaling_refinery.max_iterations",
    "full_matrix_max_iterations": "scaling_refinery.full_matrix_max_iterations",
    "experiments": "output.experiments",
    "reflections": "output.reflections",
    "nbins": "output.merging.nbins",
}


@pytest.mark.parametrize(("name", "paths"), SHORT_NAMES.items())
def test_short_names(name, paths):
    target = definitions().resolve(name)
    assert target.paths == tuple(paths.split())
    plain = any(path == name or path.endswith("." + name) for path in target.paths)
    same_leaf = name.split(".")[-1] == target.paths[0].split(".")[-1]
    assert bool(target.note) == (not plain and not same_leaf), "a guess or an old name is noted, nothing else is"


def test_short_names_of_everyday_options_are_unique():
    master = definitions()
    everyday = {path: option for path, option in master.options.items() if option.level == 0}
    for path, option in everyday.items():
        if path not in FULL_NAME_ONLY:
            assert master.resolve(option.leaf).paths == master.members(master.key(path)), path


def test_master_text_is_complete():
    master = definitions()
    for path, option in master.options.items():
        assert option.help, path
        assert option.help.endswith("."), path
        assert not (option.none and option.auto), f"{path}: None and Auto would both be None"
        assert 0 <= option.level <= 2, path
        if option.kind == "choice":
            assert (option.default is None) <= option.none, path
    # freephil's own reading of the defaults is the same
    found = master._scope.fetch().extract()
    for path, option in master.options.items():
        value = found
        for part in path.split("."):
            value = getattr(value, part)
        if value is load().Auto:
            assert option.default is AUTO, path
        elif not option.multiple:
            assert (tuple(value) if isinstance(value, list) else value) == option.default, path


def test_old_names_lead_to_options_and_foreign_names_do_not():
    master = definitions()
    for old, new in master.renamed.items():
        assert master.members(new), old
        assert all(path in master.options for path in master.members(new)), old
        assert old not in master.options, old
    for path in master.foreign:
        assert path not in master.options
        if not path.endswith("*"):
            with pytest.raises(CommandError, match="option of dials.scale"):
                master.resolve(path)


VALUES = {
    "cut_data.d_min": st.none() | st.floats(0, 1e30),
    "cut_data.min_isigi": st.floats(-1e30, 1e30),
    "physical.lmax": st.just(AUTO) | st.integers(2, 16),
    "physical.absorption_correction": st.sampled_from([AUTO, True, False]),
    "scaling_options.outlier_rejection": st.sampled_from([None, "standard", "simple"]),
    "model": st.sampled_from(["auto", "physical", "array", "KB"]),
    "reflection_selection.E2_range": st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)),
    "exclude_batches": st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), unique=True).map(tuple),
    "exclude_images": st.lists(
        st.lists(st.from_regex(r"[a-zA-Z0-9_:#*$'\"{};-]+", fullmatch=True), min_size=1).map(tuple),
        unique=True,
    ).map(tuple),
    "dataset_selection.use_datasets": st.none()
    | st.lists(st.from_regex(r"[^\s,\0]+", fullmatch=True), min_size=1).map(tuple),
    "output.experiments": st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1),
    "output.json": st.none() | st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1),
}


@settings(max_examples=60, deadline=None)
@given(changed=st.fixed_dictionaries({}, optional=VALUES))
def test_modified_text_reads_back_to_the_last_bit(changed, tmp_path_factory):
    master = definitions()
    file = tmp_path_factory.getbasetemp() / "modified.phil"
    before = master.defaults() | changed
    for text in (master.modified(before), master.report(before, 3, 0), master.report(before, 3, 3)):
        file.write_text(text, encoding="utf-8", newline="")
        after = master.defaults()
        for made in read_file(str(file)):
            master.assign(after, made.name, made.words)
        assert after == before


def test_report_leaves_out_what_has_nothing_to_show():
    master = Definitions(SMALL)
    values = master.defaults()
    shown = master.report(values, expert_level=0)
    assert "hidden" not in shown and "inner" not in shown and "size = 1.0" in shown
    assert "deep" in master.report(values, expert_level=2)
    for attributes in range(4):
        assert not re.search(r"\{\s*\}", definitions().report(definitions().defaults(), 0, attributes))


def test_hostile_file_and_numbers_leave_no_trace(tmp_path):
    trace = tmp_path / "trace"
    attack = f'__import__("pathlib").Path("{trace}").touch()'
    lines = [
        f"cut_data.d_min = 2\n  .type = float(value_min={attack})\n",
        f"cut_data.d_min = 2\n  .expert_level = {attack}\n",
        f"cut_data\n  .call = pathlib.Path.touch(self='{trace}')\n  .expert_level = {attack}\n{{\n d_min = 2\n}}\n",
        f"cut_data\n  .sequential_format = {attack}\n{{\n d_min = 2\n !.call = os.system\n}}\n",
    ]
    for number, text in enumerate(lines):
        file = tmp_path / f"{number}.phil"
        file.write_text(text)
        found = read_file(str(file))
        assert [(made.name, made.words) for made in found] == [("cut_data.d_min", (("2", False),))]
    for name in ("d_min", "lmax", "E2_range", "error_model_group", "anomalous", "model"):
        with pytest.raises(CommandError):
            set_one(f"{name}={attack}")
    assert not trace.exists()


def test_files_nest_continue_disable_and_comment(tmp_path):
    file = tmp_path / "x.phil"
    file.write_text(
        "# a comment\n"
        "model = KB # another\n"
        "!anomalous = True\n"
        "reflection_selection {\n"
        "  E2_range = 1 \\\n"
        "    3\n"
        "  random.min_groups = 7; min_partiality = 0.5\n"
        "}\n"
        "!cut_data { d_min = 3 \n inner { d_max = 3 } }\n"
        "#phil __OFF__\n"
        "anomalous = True\n"
        "#phil __ON__\n"
        'output.experiments = "a b" c\n'
        "#phil __END__\n"
        "anomalous = True\n"
    )
    found = {made.name: " ".join(text for text, _ in made.words) for made in read_file(str(file))}
    assert found == {
        "model": "KB",
        "reflection_selection.E2_range": "1 3",
        "reflection_selection.random.min_groups": "7",
        "reflection_selection.min_partiality": "0.5",
        "output.experiments": "a b c",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cut_data {\n d_min = 2\n", 'no matching "}" for the scope cut_data'),
        ("d_min = 2\n}\n", 'unexpected "}".*line 2'),
        ("d_min\n", "Unexpected end of input"),
        ("d_min 2\n", 'expected "=", found "2".*line 1'),
        ("d_min =\n", "Missing value for d_min.*line 1"),
        ("= 2\n", 'unexpected "="'),
        ('x = "abc\n', "missing closing quote"),
        ("include scope os.path\n", "include is not allowed"),
        ("include file /etc/passwd\n", "include is not allowed"),
    ],
)
def test_damaged_files(tmp_path, text, message):
    file = tmp_path / "x.phil"
    file.write_text(text)
    with pytest.raises(CommandError, match=message) as caught:
        read_file(str(file))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_not_parameters(tmp_path):
    binary, long = tmp_path / "b.phil", tmp_path / "l.phil"
    binary.write_bytes(b"\x93\xff\x00")
    long.write_text("#" * 1_000_001)
    for file, message in ((binary, "not UTF-8"), (long, "longer than"), (tmp_path / "no.phil", "No such file")):
        with pytest.raises(CommandError, match=message):
            read_file(str(file))
    with pytest.raises(CommandError, match="Is a directory"):
        read_file(str(tmp_path))
    if os.geteuid() != 0:
        binary.chmod(0)
        with pytest.raises(CommandError, match="Permission denied"):
            read_file(str(binary))


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.sampled_from(list("abn =.{}!#;\\\"'\n#phil $()*1")), max_size=60))
def test_any_text_is_read_or_refused(text, tmp_path_factory):
    file: Path = tmp_path_factory.getbasetemp() / "any.phil"
    file.write_text(text)
    try:
        read_file(str(file))
    except CommandError as error:
        assert str(file) in str(error)


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(definitions().options)), value=st.text(min_size=1, max_size=30))
def test_any_value_is_taken_or_refused(name, value):
    option = definitions().options[name]
    try:
        found = convert(option, [(value, False)])
    except CommandError as error:
        assert str(error)
    else:
        # in quotes a text is a text, also the word None
        quoted = option.kind == "str" and found is not None
        assert convert(option, [(value, quoted)]) == found


def test_master_text_mistakes_are_found():
    with pytest.raises(ValueError, match="x: .type = None"):
        Definitions("x = 1\n")
    with pytest.raises(CommandError, match="below 1"):
        Definitions("x = 0\n.type = int(value_min=1)\n")


def test_families():
    master = Definitions(SMALL, families=("red", "blue"), renamed={"old.width": "*.size"})
    assert master.resolve("size").paths == ("red.size", "blue.size")
    assert master.resolve("size").family and not master.resolve("red.size").family
    assert master.resolve("width").note == "width read as size, its name today"
    assert master.resolve("deep").paths == ("hidden.inner.deep",)


def test_none_empties_a_repeated_option():
    master = Definitions(SMALL)
    values = master.defaults()
    for words in ("1,2", "3,4", "None", "5,6", "7,8", "5 6"):
        master.assign(values, "many", [(words, False)])
    assert values["many"] == ((7, 8), (5, 6))
