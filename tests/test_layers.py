"""Checks the architecture: allowed imports between packages, and what only certain files may use (docs/developer)."""

import ast
from pathlib import Path

import pytest

import braggscale
from braggscale.models import MODELS
from braggscale.options.definitions import definitions
from braggscale.options.model_options import MODEL_OPTIONS

ROOT = Path(braggscale.__file__).parent

# A room (a package, or a file beside the packages) imports only from rooms in rows above its own. Inside a room files
# may import each other, but not in circles.
LAYERS = (
    "__init__",
    "errors numerics wording crash_file run_warnings log_detail",
    "data options terminal",
    "statistics models",
    "weighting",
    "fit io",
    "io.export scaling",
    "report",
    "export_files scaled_output",
    "scale_files ranks filter_files",
    "api arguments",
    "dials_name completion",
    "cli",
    "__main__",
)
ROW = {name: row for row, names in enumerate(LAYERS) for name in names.split()}
# What only these files or rooms may import or call.
ALONE = {
    "freephil": "options.phil",
    "numba": "numerics.compiled.cache",
    "gemmi": "data.symmetry data.reindexing data.space_groups io.export api.tables "
    "io.reference_file io.reference_model",
    "h5py": "io.refl_hdf5",
    "jinja2": "report.page.html",
    "msgspec": "report",
    "mpi4py": "ranks.mpi",
    "print": "cli",
}

FILES = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in ROOT.rglob("*.py")}


def room(name):
    """The package, or the file beside the packages, that a module belongs to."""
    return "io.export" if name.startswith("io.export") else name.split(".")[0]


def uses(path):
    """Modules of the package that a file imports, and names from outside that it imports or calls."""
    inside, outside = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "braggscale":
            base = node.module.removeprefix("braggscale").lstrip(".")
            names = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            inside |= {name if name in FILES else base or "__init__" for name in names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            outside.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            outside |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            outside.add(node.func.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("freephil."):
            outside.add("freephil")  # importlib.import_module("freephil.parser")
    return inside, outside


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_point_to_rows_above(name):
    assert room(name) in ROW, f"{name} has no row in LAYERS: find its place"
    for other in uses(FILES[name])[0]:
        here, there = room(name), room(other)
        assert here == there or ROW[there] < ROW[here], f"{name} must not import {other}"


def test_no_circles():
    graph = {name: uses(path)[0] for name, path in FILES.items()}
    while ends := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in ends:
            del graph[name]
    assert not graph, f"files that import each other in a circle: {sorted(graph)}"


@pytest.mark.parametrize("what", sorted(ALONE))
def test_used_only_where_it_belongs(what):
    users = {name for name, path in FILES.items() if what in uses(path)[1]}
    allowed = ALONE[what].split()
    assert not {name for name in users if name not in allowed and room(name) not in allowed}


def test_no_file_called_utils():
    assert not [name for name in FILES if "util" in name or "helper" in name]


def test_models_are_the_choices_of_the_option():
    assert {"auto", *MODELS} == set(definitions().options["model"].choices)
    assert list(MODELS) == list(MODEL_OPTIONS)
