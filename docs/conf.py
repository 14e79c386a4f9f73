"""The site made of README, docs and docstrings: ``python -m sphinx -W --keep-going -c docs . build/site``.

The source of the site is the project's top folder, so that a link from one page to another is the same path on the
site and in the repository.  Two things are made while it is built: the tables of contents, from the links of the pages
that list others, and the API reference, one page for each package.
"""

from __future__ import annotations

import importlib
import pkgutil
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT / "src")]

from docstrings import to_rst  # noqa: E402
from sphinx.util.nodes import make_refnode  # noqa: E402

import braggscale  # noqa: E402

project = "braggscale"
author = copyright = "braggscale developers"
version = release = braggscale.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "README"
include_patterns = ["*.md", "docs/**", "examples/*.md", "benchmarks/results/*.md"]
exclude_patterns = [
    "docs/package.md",
    ".*",
    "build",
    "dist",
    "src",
    "tests",
    "benchmarks/bench",
    "benchmarks/simulation",
]
html_theme = "furo"
html_title = f"braggscale {release}"
html_copy_source = False
smartquotes = False  # V' is a symbol

nitpicky = True
# Types of the standard library and of numpy have no page here; private names have none anywhere.
nitpick_ignore_regex = [(r"py:.*", r"(?!braggscale).*"), (r"py:.*", r".*\._\w+")]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
_ARRAYS = "braggscale.numerics.array_types"
autodoc_type_aliases = {name: f"{_ARRAYS}.{name}" for name in ("Float", "Int", "Int32", "UInt", "Bool", "Array")}

# Pages whose links make the table of contents.
LISTS = ("README", "docs/guide/README", "docs/theory/README", "docs/developer/README")
# Pages below which everything in a folder stands.
FOLDERS = {"docs/api/README": "docs/api", "docs/benchmarks": "benchmarks/results"}


def add_contents(app: Any, page: str, source: list[str]) -> None:
    """Append a hidden table of contents: the pages that a list links to, in its order, each below one list only.

    A page that no list links to stays without a place, which Sphinx reports.
    """
    if page in FOLDERS:
        files = [path for path in sorted((ROOT / FOLDERS[page]).iterdir()) if path.suffix in (".md", ".rst")]
        entries = [f"{path.stem} </{FOLDERS[page]}/{path.stem}>" for path in files if path.stem != "README"]
    elif page in LISTS:
        links = dict.fromkeys(re.findall(r"\]\(([\w./-]+)\.md\)", source[0]))
        names = [posixpath.normpath(posixpath.join(posixpath.dirname(page), link)) for link in links]
        entries = [f"/{name}" for name in names if _list_of(name) == page]
    else:
        return
    source[0] += "\n".join(["\n```{toctree}", ":hidden:", "", *entries, "```\n"])


def _list_of(name: str) -> str:
    """The list below which a page stands: that of its folder, or README for lists and for pages without one."""
    own = f"{posixpath.dirname(name)}/README"
    return own if own in LISTS and own != name else "README"


def renew_contents(app: Any, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Pages whose table of contents is that of a folder are read anew in every build."""
    return list(FOLDERS)


def write_reference(app: Any, config: Any) -> None:
    """One page docs/api/PACKAGE.rst for each package, with everything public of each of its modules."""
    rooms: dict[str, list[str]] = {"braggscale": []}
    for found in pkgutil.walk_packages(braggscale.__path__, "braggscale."):
        if found.name.endswith("__main__"):
            continue
        if found.ispkg:
            rooms[found.name] = []
        else:
            rooms[found.name.rpartition(".")[0]].append(found.name)
    pages = {DOCS / "api" / f"{room}.rst": _reference(room, modules) for room, modules in rooms.items()}
    for path in (DOCS / "api").glob("*.rst"):
        if path not in pages:
            path.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _reference(room: str, modules: list[str]) -> str:
    parts = [room, "=" * len(room), "", f".. automodule:: {room}", "   :members:", "   :ignore-module-all:", ""]
    for name in modules:
        importlib.import_module(name)
        title = name.removeprefix(room + ".")
        parts += [title, "-" * len(title), "", f".. automodule:: {name}", "   :members:", ""]
    return "\n".join(parts)


def plain_docstring(app: Any, what: str, name: str, item: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text: see docstrings.py."""
    lines[:] = to_rst(lines)


def short_signature(
    app: Any, what: str, name: str, item: Any, options: Any, signature: str | None, result: str | None
) -> tuple[str | None, str | None]:
    """Array types by their short names: Float, not braggscale.numerics.array_types.Float."""
    long = re.compile(rf"TypeAliasForwardRef\('([\w.]+)'\)|{re.escape(_ARRAYS)}\.(?=\w)")
    return tuple(text and long.sub(lambda m: (m[1] or "").rpartition(".")[2], text) for text in (signature, result))


def resolve_alias(app: Any, env: Any, node: Any, child: Any) -> Any:
    """Annotations are looked up as classes; array types are data, other aliases and type variables plain text."""
    target = node.get("reftarget", "")
    module, _, name = target.rpartition(".")
    found = env.domains["py"].objects.get(f"{_ARRAYS}.{name}") if node.get("refdomain") == "py" else None
    if found:
        return make_refnode(app.builder, node["refdoc"], found.docname, found.node_id, child, name)
    alias = getattr(sys.modules.get(module), name, None)
    return child if alias is not None and not isinstance(alias, type) and not callable(alias) else None


def write_index(app: Any, error: Exception | None) -> None:
    """The folder of the site opens at the README."""
    if error is None and app.builder.name == "html":
        (Path(app.outdir) / "index.html").write_text(
            '<!doctype html><title>braggscale</title><meta http-equiv="refresh" content="0; url=README.html">'
            '<a href="README.html">braggscale</a>\n'
        )


def setup(app: Any) -> dict[str, Any]:
    """Hook the functions above into the build."""
    app.connect("config-inited", write_reference)
    app.connect("source-read", add_contents)
    app.connect("env-get-outdated", renew_contents)
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("autodoc-process-signature", short_signature)
    app.connect("missing-reference", resolve_alias)
    app.connect("build-finished", write_index)
    return {"parallel_read_safe": True}
