"""The documentation, checked: links lead somewhere, commands parse, tables agree with the program."""

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from test_layers import LAYERS

from braggscale.data.flags import FATE_TEXT, Fate, Flag
from braggscale.io.export.registry import EXPORTS
from braggscale.models import build
from braggscale.models.choice import resolve_model
from braggscale.models.data_set_model import Extent
from braggscale.models.settings import SweepFacts
from braggscale.options.assignments import settle
from braggscale.options.model_options import MODEL_OPTIONS
from braggscale.options.phil import read_argument
from braggscale.scaling.plan import model_request

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")])
COMMAND = re.compile(r"^ {4}(?:dials\.)?scale (.*)$", re.MULTILINE)


def name(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """The anchors that a page's headings get: lower case, blanks to hyphens, other signs dropped."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [p for p in PAGES if COMMAND.search(p.read_text())], ids=name)
def test_commands_parse(page):
    for line in COMMAND.findall(page.read_text()):
        words = [word for word in shlex.split(line.split("→")[0], comments=True) if "=" in word]
        problems = settle([(read_argument(word), True) for word in words])[1]
        assert not problems, (line, problems)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_in_the_text_exist(page):
    """`name=value` in backticks is a valid option, except on the pages that list wrong options."""
    if page.name in ("errors.md", "options.md"):
        pytest.skip("lists wrong and generated options")
    for quoted in re.findall(r"`([\w.]+=[^`\s]+)`", page.read_text()):
        known = settle([(read_argument(quoted), True)])[1]
        allowed = [p for p in known if "contradicts" in p or "only with" in p or "dials.scale" in p]
        assert known == allowed, (quoted, known)


def test_the_page_of_the_package_index_has_no_links_that_lead_nowhere_there():
    """Paths within the repository do not exist on the page of the package, which has another README."""
    page = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["readme"]
    assert re.findall(r"\]\((?!https?:)", (ROOT / page).read_text()) == []


def test_fates_and_flags_are_listed():
    text = (ROOT / "docs/guide/output-files.md").read_text()
    assert re.findall(r"^\| (\d+) \| ([^|]+?) \|", text, re.MULTILINE)[-len(Fate) :] == [
        (str(int(fate)), FATE_TEXT[fate]) for fate in Fate
    ]
    for flag in (Flag.USER_EXCLUDED_IN_SCALING, Flag.OUTLIER_IN_SCALING, Flag.EXCLUDED_FOR_SCALING, Flag.SCALED):
        assert f"| {int(flag).bit_length() - 1} | {int(flag)} | {flag.name.lower()} |" in text


def test_layers_are_those_of_the_page():
    text = (ROOT / "docs/developer/architecture.md").read_text()
    for row in LAYERS:
        names = " ".join(n for n in row.split() if not n.startswith("__") and not n.endswith(".*"))
        assert f"    {names}\n" in text or not names, row


def test_exports_are_listed():
    text = (ROOT / "docs/guide/exports.md").read_text()
    assert [name for name in EXPORTS if f"`{name}`" not in text] == []


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "docs").glob("make_*.py")))
def test_generated_pages_are_up_to_date(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), f"run python docs/{name}.py"


def test_every_page_can_be_found():
    """A page of the guide, of the theory or for developers is named by the list of its folder."""
    for folder in ("guide", "theory", "developer"):
        contents = (ROOT / "docs" / folder / "README.md").read_text()
        pages = {page.name for page in (ROOT / "docs" / folder).glob("*.md")} - {"README.md"}
        assert {page for page in pages if f"]({page})" not in contents} == set()


def test_terms_of_the_glossary_are_in_order_and_lead_to_their_page():
    text = (ROOT / "docs/glossary.md").read_text()
    entries = re.findall(r"^## (.+)\n\n((?:.+\n)+)", text, re.MULTILINE)
    terms = [term for term, _ in entries]
    assert len(terms) == text.count("\n## ")
    assert terms == sorted(terms, key=lambda term: re.sub(r"[^a-z0-9]", "", term.lower()))
    assert [term for term, meaning in entries if not re.search(r"\]\((theory|guide|options)", meaning)] == []
    for page in ("README.md", "docs/theory/README.md", "docs/guide/README.md", "docs/developer/README.md"):
        assert "glossary.md" in (ROOT / page).read_text(), page


def test_components_are_listed():
    text = (ROOT / "docs/theory/models.md").read_text()
    table = text[text.index("| model | component |") :].split("\n\n")[0]
    found, owner = {}, ""
    for line in table.splitlines()[2:]:
        model, component = (cell.strip() for cell in line.split("|")[1:3])
        owner = model or owner
        found.setdefault(owner, []).append(component)
    listed = {model: tuple(components) for model, components in found.items()}
    assert listed == {model: one.corrections for model, one in MODEL_OPTIONS.items()}


def test_kinds_of_restraints_are_listed():
    """Every strength that the models let the data determine has a row on the page."""
    facts = SweepFacts("0", False, 180.0, 30.0, True)
    extent = Extent((0.0, 180.0), (0.0, 100.0), (0.0, 100.0), (0.01, 1.0), (1, 180), 0.0, 1.0, (100, 100))
    text = (ROOT / "docs/theory/restraints.md").read_text()
    for model in ("physical", "KB"):
        chosen = [f"model={model}", "restraints=estimated", "physical.image_correction=True"]
        options = settle([(read_argument(word), True) for word in chosen])[0].options
        built = build(resolve_model(model_request(options), facts)[0], extent, "0")
        kinds = {r.kind for component in built.components for r in component.restraints}
        assert kinds
        assert {kind for kind in kinds if kind not in text} == set()
