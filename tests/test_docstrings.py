"""Every public docstring gives the shapes of arrays and the errors that may be raised."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "braggscale"
FILES = sorted(SOURCE.rglob("*.py"))
ARRAYS = {"Float", "Int", "Int32", "UInt", "Bool", "Array"}
ERRORS = {"CommandError", "InputError", "DataError", "OutputError", "UserError", "ValueError", "IndexError", "KeyError"}
# (n,), (n_rows, 3), (n_data_sets, most components), (n + 1,), (2, ...): words and numbers with a comma
SHAPE = re.compile(r"\((?:[a-z0-9][\w +*/.-]*),(?: ?(?:[a-z0-9.][\w +*/.-]*),?)*\)|any shape")
SENTENCE = re.compile(r"\.(?:\s+|$)(?=``|[A-Z(]|$)|\n\s*\n")
# "all (n,)" and "(n,) each" speak of everything named in the docstring
FOR_ALL = re.compile(r"\b[Aa]ll(?: of them)? \(\w|\) each\b|\ball of shape \(")


def has_array(annotation):
    """Whether a value of this type is an array or holds some; a function of arrays does not."""
    if annotation is None or (isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Callable"):
        return False
    if isinstance(annotation, ast.Name):
        return annotation.id in ARRAYS
    return any(has_array(child) for child in ast.iter_child_nodes(annotation))


def problems_with_arrays(doc, arrays, gives_back):
    """Names in ``arrays`` without a shape, and "result" if an array is returned without one."""
    sentences = [s for s in SENTENCE.split(doc) if s]
    found = [name for name in arrays if not any(re.search(rf"\b{name}\b", s) and SHAPE.search(s) for s in sentences)]
    if FOR_ALL.search(doc):
        found = [name for name in found if not re.search(rf"\b{name}\b", doc)]
    about_arguments = re.compile(r"\s*``\w+``(?:, ``\w+``| and ``\w+``)*:")
    rest = " ".join(s for s in sentences if not about_arguments.match(s))
    return found + (["result"] if gives_back and not SHAPE.search(rest) else [])


def raised(function, helpers, seen=()):
    """Names of the errors that a function raises, itself or through private functions of its module."""
    names = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and node.exc is not None:
            call = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            names |= {call.id} & ERRORS if isinstance(call, ast.Name) else set()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            helper = node.func.id
            if helper in helpers and helper not in seen:
                names |= raised(helpers[helper], helpers, (*seen, helper))
    return names


def problems_of_function(node, where, helpers):
    doc = ast.get_docstring(node)
    if doc is None:
        return [f"{where}: no docstring"]
    arguments = [a for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if has_array(a.annotation)]
    found = problems_with_arrays(doc, [a.arg for a in arguments], has_array(node.returns))
    missing = sorted(name for name in raised(node, helpers) if name not in doc)
    return [f"{where}: no shape of {name}" for name in found] + [f"{where}: raises {name}" for name in missing]


def problems_of_class(node, helpers):
    doc = ast.get_docstring(node)
    if doc is None:
        return [f"{node.name}: no docstring"]
    fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and has_array(n.annotation)]
    names = [n.target.id for n in fields if not n.target.id.startswith("_")]
    if SHAPE.search(doc.split("\n\n")[0]):  # said of all fields at once
        names = []
    found = [f"{node.name}: no shape of {name}" for name in problems_with_arrays(doc, names, False)]
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
            found += problems_of_function(method, f"{node.name}.{method.name}", helpers)
    return found


def problems(path):
    tree = ast.parse(path.read_text())
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    helpers = {n.name: n for n in functions if n.name.startswith("_")}
    found = [] if ast.get_docstring(tree) or not tree.body else ["no docstring of the module"]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            found += problems_of_function(node, node.name, helpers)
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += problems_of_class(node, helpers)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_docstrings_are_complete(path):
    assert problems(path) == []
