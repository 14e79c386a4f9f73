"""The documentation, checked: links lead somewhere, commands parse, tables agree with the program."""

import re
import shlex
from pathlib import Path

import pytest
from test_layers import LAYERS

from braggscale.command import settle
from braggscale.flags import FATE_TEXT, Fate, Flag
from braggscale.phil import read_argument

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
    """`name=value` in backticks is something that can be typed, unless the page is about what cannot."""
    if page.name in ("errors.md", "options.md"):
        pytest.skip("lists wrong and generated options")
    for quoted in re.findall(r"`([\w.]+=[^`\s]+)`", page.read_text()):
        known = settle([(read_argument(quoted), True)])[1]
        allowed = [p for p in known if "contradicts" in p or "only with" in p or "dials.scale" in p]
        assert known == allowed, (quoted, known)


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
