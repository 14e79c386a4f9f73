"""The documentation site: docstrings are plain text, and their formatted version says the same."""

import ast
import importlib.util
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

FILE = Path(__file__).parents[1] / "docs" / "docstrings.py"
_spec = importlib.util.spec_from_file_location("docs_docstrings", FILE)
docstrings = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docstrings)


def rendered(text):
    """The text that a reader of the site sees; a warning is an error."""
    core = pytest.importorskip("docutils.core")
    settings = {"halt_level": 2, "warning_stream": io.StringIO()}
    return core.publish_doctree("\n".join(docstrings.to_rst(text.splitlines())), settings_overrides=settings)


def words(text):
    return text.replace("``", "").split()


def test_indented_lines_are_literal():
    tree = rendered("What it is:\n\n    R = sum |x - m|\n      / sum x\n\nover all *x*.")
    kinds = [type(node).__name__ for node in tree.children]
    assert kinds == ["paragraph", "literal_block", "paragraph"]
    assert tree.children[1].astext() == "R = sum |x - m|\n  / sum x"


def test_sentences_about_arguments_become_a_list():
    tree = rendered("The mean.\n\n``weight``: 1/counts^2, (n,).  ``a``, ``b``: of it.\nReturns I_h, (n_groups,).")
    assert [type(node).__name__ for node in tree.children] == ["paragraph", "bullet_list", "paragraph"]
    assert [item.astext() for item in tree.children[1].children] == ["weight: 1/counts^2, (n,).", "a, b: of it."]


def test_examples_are_literal():
    tree = rendered("Scales.\n\n>>> run = scale(data, d_min=1.2)\n>>> run.write()")
    assert [type(node).__name__ for node in tree.children] == ["paragraph", "literal_block"]
    assert tree.children[1].astext() == ">>> run = scale(data, d_min=1.2)\n>>> run.write()"


def test_items_stay_items():
    tree = rendered("Kept if\n\n* it rises by 15,\n  and more\n* it is known\n\nor not.")
    assert [type(node).__name__ for node in tree.children] == ["paragraph", "bullet_list", "paragraph"]
    assert [item.astext() for item in tree.children[1].children] == ["it rises by 15, and more", "it is known"]


SIGNS = st.text("ab1 *`|_\\:.()<>#+-=~^[]{}'\"/", min_size=1)


@given(SIGNS)
def test_every_sign_means_itself(text):
    text = " ".join(("x " + text.replace("``", "`")).split())
    if ":`" not in text:  # looks like a reference
        assert rendered(text).astext() == text


PACKAGE = FILE.parents[1] / "src" / "braggscale"
ROOMS = [path for path in sorted(PACKAGE.iterdir()) if path.is_dir() and any(path.glob("*.py"))]


@pytest.mark.parametrize("room", [PACKAGE, *ROOMS], ids=lambda room: room.name)
def test_no_word_of_a_docstring_is_lost(room):
    lost = []
    for path in sorted(room.glob("*.py") if room == PACKAGE else room.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            text = ast.get_docstring(node) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) else None
            if not text or ":`" in text:
                continue
            seen = [word for word in words(rendered(text).astext()) if word not in ("*",)]
            meant = [word for word in words(text) if word != "*" and not (word[:-1].isdigit() and word.endswith("."))]
            if [w for w in seen if not (w[:-1].isdigit() and w.endswith("."))] != meant:
                lost.append((path.name, text))
    assert lost == []
