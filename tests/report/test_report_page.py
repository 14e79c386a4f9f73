"""scale.json against its schema, scale.html as text, and what happens when something goes wrong."""

import base64
import copy
import json
import os
import re
import zlib
from contextlib import chdir
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from msgspec import structs

from braggscale.cli import main
from braggscale.errors import InputError
from braggscale.report.assessment import verdict
from braggscale.report.exclusion_advice import commands, data_sets_standing_out, images_standing_out, worth_leaving_out
from braggscale.report.many_data_sets import shortened
from braggscale.report.numbers.sections import Sections
from braggscale.report.page import html, sections
from braggscale.report.page.compare import compare
from braggscale.report.page.figure import Figure, Table, line
from braggscale.report.page.html import report_html
from braggscale.report.page.intensity_tests import unit_cells
from braggscale.report.read_summary import read_summary
from braggscale.report.summary_document import from_json, json_schema, summary_text

ROOT = Path(__file__).parents[2]
EXAMPLE = [str(ROOT / "examples" / f"simulated.{kind}") for kind in ("expt", "refl")]
SECTIONS = ["verdict", "resolution", "images", "data-sets", "damage", "models", "errors", "detector", "outliers"]
SECTIONS += ["anomalous", "intensities", "reflections", "run"]


@pytest.fixture(scope="module")
def schema():
    found = json.loads((ROOT / "docs" / "scale.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(found)
    return found


@pytest.fixture(scope="module")
def summary(example_run):
    return json.loads((example_run / "scale.json").read_text())


def typed(summary):
    """The struct of a dictionary as scale.json has it."""
    return from_json(json.dumps(summary).encode())


def unpacked(page, name="figures-packed"):
    packed = re.search(rf'id="{name}">([^<]*)<', page).group(1)
    return zlib.decompress(base64.b64decode(packed))


# scale.json -------------------------------------------------------------------------------------------------


def test_the_summary_follows_its_schema(summary, schema):
    jsonschema.validate(summary, schema, jsonschema.Draft202012Validator)


def test_real_summaries_follow_the_schema(shared_data, schema, tmp_path):
    """Electrons with one sweep, and stills that share next to nothing."""
    for name in ("quartz_ed", "ssx_cunir"):
        with chdir(tmp_path):
            assert main(["-q", *(str(shared_data / name / f"integrated.{kind}") for kind in ("expt", "refl"))]) == 0
        found = json.loads((tmp_path / "scale.json").read_text())
        jsonschema.validate(found, schema, jsonschema.Draft202012Validator)
        assert undocumented(found, schema, schema, "") == []
        assert "</html>" in (tmp_path / "scale.html").read_text()


def undocumented(value, schema, root, path):
    """Fields of ``value`` that the schema does not name."""
    schema = root["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if "anyOf" in schema:
        return min((undocumented(value, s, root, path) for s in schema["anyOf"]), key=len)
    if isinstance(value, dict) and ("properties" in schema or isinstance(schema.get("additionalProperties"), dict)):
        known = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        found = []
        for key, item in value.items():
            inner = known.get(key, rest)
            found += (
                [f"{path}.{key}"] if not isinstance(inner, dict) else undocumented(item, inner, root, f"{path}.{key}")
            )
        return found
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [name for item in value for name in undocumented(item, schema["items"], root, path + "[]")]
    return []


def test_what_is_written_is_read_back(example_run):
    """Equal structs, equal content, and no entry of a file is lost."""
    content = (example_run / "scale.json").read_bytes()
    found = from_json(content)
    assert summary_text(found).encode() == content
    assert read_summary(str(example_run / "scale.json")) == found


def test_the_schema_is_that_of_the_structs(schema):
    assert schema == json_schema()


def test_every_field_is_documented(summary, schema):
    assert undocumented(summary, schema, schema, "") == []


def test_a_wrong_summary_does_not_pass(summary, schema):
    wrong = copy.deepcopy(summary)
    wrong["by_image"]["r_merge"][0] = "much"
    del wrong["detector"]["mean_z"]
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(wrong))
    assert {error.absolute_path[0] for error in errors} == {"by_image", "detector"}


def test_columns_have_equal_length(summary):
    for name, n in (("by_image", "first"), ("by_data_set", "identifier")):
        table = summary[name]
        columns = {key: len(v) for key, v in table.items() if isinstance(v, list) and key != "shell_limits"}
        assert set(columns.values()) == {len(table[n])}
    shells = len(summary["statistics"]["shells"])
    assert all(len(column) == shells for column in summary["deviations"]["by_shell"].values())


def test_counts_add_up(summary):
    scaled, outliers = summary["ledger"]["total"]["scaled"], summary["ledger"]["total"]["outlier"]
    for name in ("by_image", "by_data_set"):
        assert sum(summary[name]["observations"]) == scaled == summary["statistics"]["overall"]["n_obs"]
        assert sum(summary[name]["outliers"]) == outliers == summary["outliers"]
    for key, n in (("observations", scaled), ("outliers", outliers)):
        assert sum(map(sum, summary["detector"][key])) == n
        assert sum(summary["deviations"]["by_shell"][key]) == n
    assert summary["by_image"]["completeness"][-1] == pytest.approx(
        summary["statistics"]["overall"]["completeness"], rel=1e-3
    )


def test_members_of_the_worst_groups(summary):
    """z of every member from the others that are scaled; the worst group first, each with an outlier."""
    worst = []
    for group in summary["worst_groups"]:
        assert group["members"] == len(group["z"]) or group["members"] > 40
        assert any(group["outlier"])
        x, sigma = np.array(group["scaled_intensity"]), np.array(group["sigma"])
        kept = ~np.array(group["outlier"])
        worst.append(max(abs(z) for z, out in zip(group["z"], group["outlier"], strict=True) if out))
        if group["members"] > 40:
            continue
        for i, z in enumerate(group["z"]):
            others = kept & (np.arange(len(x)) != i)
            weight = sigma[others] ** -2
            mean = (weight * x[others]).sum() / weight.sum()
            # what is listed is rounded to four digits
            assert z == pytest.approx((x[i] - mean) / np.hypot(sigma[i], weight.sum() ** -0.5), rel=0.02, abs=0.05)
    assert worst == sorted(worst, reverse=True)


def test_directions_and_corrections_are_those_of_the_observations(summary):
    use = summary["absorption_use"]
    assert use["sampled"] == summary["statistics"]["overall"]["n_obs"]
    for counts in (use["incoming"], use["diffracted"]):
        assert sum(map(sum, counts)) == use["sampled"]
    assert sum(use["counts"]) == use["sampled"]
    found = [f for f in summary["fit"]["components"] if f["component"] == "absorption"]
    # findings look at the observations in the fit, a few more or less than those that are scaled
    assert use["factor"][0] == pytest.approx(min(f["low"] for f in found), abs=0.01)
    assert use["factor"][1] == pytest.approx(max(f["high"] for f in found), abs=0.01)


def test_the_same_run_gives_the_same_summary(summary, tmp_path):
    with chdir(tmp_path):
        assert main(["-q", *EXAMPLE, "nproc=1", "output.html=None"]) == 0
    again = json.loads((tmp_path / "scale.json").read_text())
    assert not (tmp_path / "scale.html").exists()
    for found in (again, summary := copy.deepcopy(summary)):
        for name in ("run", "command", "options"):
            del found[name]
    assert again == summary


# The verdict ------------------------------------------------------------------------------------------------


def test_disturbed_images_of_the_example_are_found(summary):
    """examples/README.md names them; the verdict gives a command that leaves them out."""
    runs = images_standing_out(typed(summary))
    assert runs == [(1, 205, 240)]
    commands = [advice["command"] for advice in summary["verdict"]["commands"]]
    assert any(re.search(r"exclude_images=1:205:240", c) for c in commands)
    assert summary["verdict"]["state"] == "look"


def with_change(summary, change):
    changed = copy.deepcopy(summary)
    change(changed)
    return verdict(typed(changed))


def falls(summary, by):
    """B falls by so much within a tenth of the first sweep."""
    (curve,) = (c for c in summary["models"][0]["components"] if c.get("unit") == "A^2")
    n = len(curve["value"])
    curve["value"] = [0.0] * (n // 2) + [-by * min(10 * k / n, 1.0) for k in range(n - n // 2)]
    curve["esd"] = [0.1] * n
    summary["radiation_damage"]["trend"] = None


@pytest.mark.parametrize(
    ("change", "name", "state"),
    [
        (lambda s: s["statistics"]["overall"].update(multiplicity=1.2), "Multiplicity", "bad"),
        (lambda s: s["statistics"]["overall"].update(completeness=0.5), "Completeness", "look"),
        (lambda s: s["statistics"]["shells"][0].update(cc_half=0.5), "Low-resolution CC1/2", "bad"),
        (lambda s: s["statistics"]["shells"][0].update(r_meas=0.2), "Low-resolution R_meas", "look"),
        (lambda s: s["statistics"].update(suggested_d_min=2.0), "Resolution limit", "look"),
        (lambda s: s["error_models"][0].update(isa=3.0), "Error model", "bad"),
        (lambda s: s["error_models"][0]["ranges"][0].update(n=500, corrected=2.0), "Errors by intensity", "look"),
        (lambda s: s["ledger"]["total"].update(outlier=5000), "Outliers", "bad"),
        (lambda s: s["fit"].update(message="the matrix is singular"), "Fit", "look"),
        (lambda s: s["fit"].update(undetermined=[]), "Fit", "good"),
        (
            lambda s: s["radiation_damage"].update(trend={"start": 0.05, "rise": 0.06, "esd": 0.005}),
            "Radiation damage",
            "bad",
        ),
        (
            lambda s: s["radiation_damage"].update(trend={"start": 0.05, "rise": 0.02, "esd": 0.01}),
            "Radiation damage",
            "good",
        ),
        (
            lambda s: s["radiation_damage"].update(trend={"start": 0.05, "rise": 0.02, "esd": 0.006}),
            "Radiation damage",
            "look",
        ),
        (lambda s: falls(s, 3.3), "Radiation damage", "look"),
        (lambda s: falls(s, 30.0), "Radiation damage", "bad"),
        (lambda s: falls(s, -3.3), "Radiation damage", "good"),
        (lambda s: s["detector"].update(mean_z=[[2.0] * len(r) for r in s["detector"]["mean_z"]]), "Detector", "look"),
        (lambda s: s["intensity_distribution"]["l_test"].update(mean_abs=0.38), "Intensities", "look"),
        (
            lambda s: s["intensity_distribution"]["tests"].update(patterson={"height": 0.4, "place": [0, 0, 0.5]}),
            "Intensities",
            "look",
        ),
        (
            lambda s: s["intensity_distribution"]["tests"].update(
                twin_laws=[{"operator": "k,h,-l", "pairs": 900, "mean_h": 0.3, "fraction": 0.2, "esd": 0.01}]
            ),
            "Intensities",
            "look",
        ),
        (lambda s: s["intensity_distribution"], "Intensities", "good"),
        (
            lambda s: s["symmetry"]["elements"][0].update(state="denied", cc=0.1, probability=0.01),
            "Symmetry",
            "look",
        ),
        (lambda s: s["symmetry"], "Symmetry", "good"),
        (lambda s: s.update(statistics=None), "Statistics", "bad"),
        (lambda s: s.update(error_models=[]), "Error model", "look"),
    ],
)
def test_each_check_reacts(summary, change, name, state):
    found = with_change(summary, change)
    (check,) = (c for c in found.checks if c.name == name)
    assert check.state == state
    assert found.state == ("bad" if state == "bad" else "look")  # the example has something to look at


def test_the_images_between_which_b_falls_exist(summary):
    (check,) = (c for c in with_change(summary, lambda s: falls(s, -3.3)).checks if c.name == "Radiation damage")
    assert "between images" not in check.text

    def from_the_start(s):
        (curve,) = (c for c in s["models"][0]["components"] if c.get("unit") == "A^2")
        n = len(curve["value"])
        curve |= {"value": [-9.0 * k / n for k in range(n)], "esd": [0.1] * n, "image": [0.5, 40.5]}
        s["radiation_damage"]["trend"] = None

    (check,) = (c for c in with_change(summary, from_the_start).checks if c.name == "Radiation damage")
    assert "between images 1 and 40" in check.text


def test_damage_that_is_left_gives_a_command(summary):
    def change(s, images):
        s["radiation_damage"].update(trend={"start": 0.05, "rise": 0.06, "esd": 0.005})
        s["exclusions"]["images"] = images

    images = summary["exclusions"]["images"]
    assert images  # bad images explain a rise as well
    for found, proposed in ((images, False), ([], True)):
        commands = [one.command for one in with_change(summary, lambda s, found=found: change(s, found)).commands]
        assert ("scale scaled.expt scaled.refl zero_dose=True" in commands) == proposed


def test_a_limit_gives_a_command(summary):
    found = with_change(summary, lambda s: s["statistics"].update(suggested_d_min=2.0))
    assert any("d_min=2.00" in advice.command for advice in found.commands)


def test_a_data_set_that_does_not_belong(summary):
    changed = copy.deepcopy(summary)
    n = 12
    columns = {name: [1] * n for name in ("unique", "outliers")}
    columns |= {name: [None] * n for name in ("completeness", "scale", "i_over_sigma", "b")}
    columns |= {name: [[None]] * n for name in ("r_merge_by_shell", "i_over_sigma_by_shell")}
    changed["by_data_set"] = columns | {
        "shell_limits": [2.0, 1.0],
        "identifier": [f"x'{k} y" for k in range(n)],
        "number": list(range(n)),
        "observations": [500] * n,
        "delta_cc_half": [1e-4 + 1e-5 * (k % 3) for k in range(n)],
        "r_merge": [0.05 + 0.001 * (k % 4) for k in range(n)],
        "mean_z2": [1.0 + 0.1 * (k % 3) for k in range(n)],
        "cc_rest": [0.99 - 0.001 * (k % 4) for k in range(n)],
    }
    changed["by_image"] = None
    assert data_sets_standing_out(typed(changed)) == []
    changed["by_data_set"]["delta_cc_half"][7] = -0.02
    assert data_sets_standing_out(typed(changed)) == [7]
    # lower CC1/2 by a few strong reflections, without deviating from equivalents more than others: not left out
    assert worth_leaving_out(typed(changed)) == []
    changed["by_data_set"]["mean_z2"][7] = 3.0
    assert worth_leaving_out(typed(changed)) == ["x'7 y"]
    (advice,) = (a for a in verdict(typed(changed)).commands if "exclude_datasets" in a.command)
    assert """'exclude_datasets=x'"'"'7 y'""" in advice.command  # quoted for the shell
    alone = with_change(changed, lambda s: s.update(exclusions=None)).commands
    assert alone[0].why == "Leave out data set x'7 y that disagrees with the rest; CC1/2 rises by 0.0200:"
    # far below the others, but less than CC1/2 is uncertain by: named, and not left out
    changed["by_data_set"]["delta_cc_half"][7] = -5e-4
    changed["statistics"]["intervals"] = None
    assert data_sets_standing_out(typed(changed)) == [7]
    assert worth_leaving_out(typed(changed)) == []
    # more than CC1/2 is uncertain by, but too little to be seen in any table
    changed["statistics"]["intervals"] = summary["statistics"]["intervals"] | {"cc_half": [0.99990, 0.99994]}
    changed["by_data_set"]["delta_cc_half"][7] = -4e-4
    assert data_sets_standing_out(typed(changed)) == [7]
    assert worth_leaving_out(typed(changed)) == []
    changed["by_data_set"]["delta_cc_half"][7] = -6e-4
    assert worth_leaving_out(typed(changed)) == ["x'7 y"]


def test_nothing_to_do_proposes_nothing(summary):
    """The advice does not leave out images that disagree by chance, or without which nothing improves."""

    def no_gain(s):
        s["exclusions"]["images"][0]["recommended"] = False

    assert [advice.command for advice in with_change(summary, no_gain).commands] == []
    assert with_change(summary, lambda s: s.update(exclusions=None)).commands == []


def test_one_command_leaves_out_images_and_data_sets(summary):
    found = typed(summary)
    (advice,) = commands(found.exclusions, ["a b"], ["0", "1", "a b"], None, found.output)
    assert "'exclude_datasets=a b' exclude_images=1:205:240" in advice.command
    assert "data set a b and 36 images" in advice.why and "% better" in advice.why


# The page ---------------------------------------------------------------------------------------------------


class Structure(HTMLParser):
    """Ids, tags that do not close, and everything that could load something."""

    EMPTY = ("meta", "link", "br", "input")

    def __init__(self, page):
        super().__init__()
        self.ids, self.stack, self.loads, self.links, self.cells = [], [], [], [], []
        self.feed(page)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found["href"])
        self.loads += [v for k, v in attrs if k in ("src", "srcset", "action") or (k == "href" and tag != "a")]
        if tag not in self.EMPTY:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_structure_of_the_page(example_run):
    page = (example_run / "scale.html").read_text()
    found = Structure(page)
    assert [name for name in found.ids if name in SECTIONS] == list(SECTIONS)
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.links} <= set(found.ids)
    assert found.loads == ["data:,"]  # an empty icon, so that none is asked for
    assert "default-src 'none'" in page
    assert len(page) < 3_000_000


def test_the_title_tells_two_pages_apart(example_run, summary):
    page = (example_run / "scale.html").read_text()
    when = summary["run"]["finished"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", when)
    assert f"<title>simulated: simulated.expt, simulated.refl, {when}: scaling report, worth a look</title>" in page
    assert "<h1>simulated: scaling report</h1>" in page  # images are simulated_1_#####.cbf
    assert f'<p class="subject">simulated.expt, simulated.refl, {when}</p>' in page
    nameless = typed(summary | {"sample": None, "command": {}, "run": summary["run"] | {"finished": None}})
    assert "<title>scaling report, worth a look</title>" in report_html(nameless)


def test_sections_fold_and_the_first_screen_does_not(example_run):
    page = (example_run / "scale.html").read_text()
    before, first, *folded = re.split(r"<details class=.fold.", page)
    assert '<p class="sentence">' in before and 'id="table-one"' in before
    assert before.count("<figure") == 1 and '<figure id="cc-half"' in before
    assert len(folded) > 8 and "<figure" not in folded[-1]
    assert re.search(r'id="images">\s*<details class="fold">\s*<summary>.*class="look"', page)


def test_a_comb_of_many_sweeps_becomes_a_map(summary):
    """Beyond a dozen sweeps images and data sets are the axes of one map, with a choice of what it shows."""
    changed = copy.deepcopy(summary)
    n, table = 30, changed["by_image"]
    many = {name: (column * n if isinstance(column, list) else column) for name, column in table.items()}
    sets = len(changed["by_data_set"]["identifier"])
    size = len(table["first"])
    many["data_set"] = [d + sets * (k // size) for k, d in enumerate(many["data_set"])]
    columns = changed["by_data_set"]
    for name, column in columns.items():
        if isinstance(column, list) and name != "shell_limits":
            columns[name] = column * n
    columns["identifier"] = [f"x{k}" for k in range(n * sets)]
    changed["by_image"] = many
    (figure,) = (f for s in sections.sections(typed(changed)) if s.name == "images" for f in s.figures)
    assert figure.data[0]["type"] == "heatmap" and len(figure.data[0]["z"]) == n * sets
    assert len(figure.choices) == 7


def test_every_plot_has_numbers(example_run):
    page = (example_run / "scale.html").read_text()
    cards = re.findall(r'<figure id="([\w-]+)".*?</figure>', page, re.DOTALL)
    bodies = re.findall(r"<figure .*?</figure>", page, re.DOTALL)
    assert len(cards) > 30
    assert [n for n, body in zip(cards, bodies, strict=True) if "<table" not in body and "#table-" not in body] == []
    figures = json.loads(unpacked(page))
    assert sorted(figures) == sorted(cards)
    assert all(figure["data"] for figure in figures.values())


def test_a_plot_from_outside(summary, monkeypatch):
    """A function and its name in the list are enough: the plot is drawn with its numbers, or left out."""

    def toy(found):
        points = [line([1, 2], [found.outliers, 0], "outliers", "@blue")]
        return [Figure("toy", "A toy", "How to read it.", points, {}, Table("Toy numbers", ("n",), [[found.outliers]]))]

    first, *rest = sections.SECTIONS
    more = (replace(first, plots=(*first.plots, toy, lambda _: [])), *rest)
    monkeypatch.setattr(sections, "SECTIONS", more)
    page = report_html(typed(summary))
    assert '<figure id="toy"' in page and "Toy numbers" in page
    assert json.loads(unpacked(page))["toy"]["data"][0]["y"] == [summary["outliers"], 0]


def test_plotly_is_the_script_of_its_package(example_run):
    script = unpacked((example_run / "scale.html").read_text(), "plotly-packed")
    assert script == html._plotly_script() and len(script) > 3_000_000


def test_the_report_is_made_of_the_summary_alone(example_run, summary):
    assert report_html(typed(summary)) == (example_run / "scale.html").read_text()


def test_names_from_files_cannot_become_markup(summary):
    evil = "</script><img src=x onerror=alert(1)>"
    text = json.dumps(summary)
    for name in ("0", "1"):
        text = text.replace(f'"identifier": "{name}"', f'"identifier": "{evil}{name}"')
    hostile = json.loads(text)
    hostile["by_data_set"]["identifier"] = [evil + "0", evil + "1"]
    hostile["ledger"]["data_sets"] = {evil + k: v for k, v in hostile["ledger"]["data_sets"].items()}
    for group in hostile["worst_groups"]:
        group["data_set"] = [evil + name for name in group["data_set"]]
    hostile["command"]["arguments"] = [evil]
    hostile["data_sets"][0]["dropped"] = evil
    found = typed(hostile)
    page = report_html(structs.replace(found, verdict=verdict(found)), found, evil)
    assert "<img" not in page and page.count("</script>") == 3
    assert "<img" not in unpacked(page).decode()  # plotly reads markup in labels
    Structure(page)


def test_a_run_with_nothing_to_merge(summary):
    nothing = copy.deepcopy(summary)
    for field in fields(Sections):
        nothing[field.name] = None
    nothing |= {"statistics": None, "models": []}
    found = typed(nothing)
    assert "should not be used" in report_html(structs.replace(found, verdict=verdict(found)))


def test_many_data_sets_say_once_what_they_share(summary):
    """Beyond twenty, settings and entries of the models that are the first one's are written once; the same is read."""
    many = copy.deepcopy(summary)
    kept = [entry for entry in many["data_sets"] if "model" in entry]
    many["data_sets"] = [kept[k % 2] | {"identifier": f"x{k}"} for k in range(50)]
    many["models"] *= 25
    whole = typed(many)
    short = shortened(whole)
    # the map of the detector is stored with the first of two
    assert [sum(c.name == "modules" for c in entry.components) for entry in short.models] == 25 * [1, 0]
    assert {entry.component for entry in short.fit.components if entry.data_set == "1"} < {
        entry.component for entry in short.fit.components
    }
    assert len(summary_text(short)) < 0.5 * len(summary_text(whole))
    for d in (0, 1, 49):
        assert short.kind(d) == whole.kind(d) == "physical"
        for name in ("scale", "absorption"):
            one, two = short.stored(d, name), whole.stored(d, name)
            assert one.parameters == pytest.approx(two.parameters, rel=1e-6)
        assert short.shares(d, "absorption") == whole.shares(d, "absorption")
    assert short.data_sets[0] == whole.data_sets[0]
    assert shortened(typed(summary)) == typed(summary)


def test_unit_cells_that_differ_have_a_plot(summary):
    changed = copy.deepcopy(summary)
    table = changed["by_data_set"]
    for name, column in table.items():
        if isinstance(column, list) and name != "shell_limits":
            table[name] = (column * 20)[:40]
    table["identifier"] = [f"x{k}" for k in range(40)]
    table["unit_cell"] = [[50 + 0.1 * k, 60.0, 70.0, 90.0, 90.0 + 0.01 * k, 90.0] for k in range(40)]
    (figure,) = unit_cells(typed(changed))
    assert [name for name, *_ in figure.choices] == ["a / Å", "β / °"]
    assert sum(figure.data[0]["y"]) == 40
    assert figure.table.rows[0][3] == "x0" and figure.table.rows[0][5] == "x39"
    assert unit_cells(typed(summary)) == []


def test_differences_of_amplitudes_are_near_their_errors(summary):
    """The example has an anomalous signal where reflections are strong: |dF|/sigma is 0.8 without one."""
    known = [v for v in summary["anomalous"]["df_over_sigma"] if v is not None]
    assert len(known) > 5 and known[0] > 2.0 > known[-1] > 0.5


def test_hundreds_of_data_sets(summary):
    many = copy.deepcopy(summary)
    n = 500
    table = many["by_data_set"]
    for key, column in table.items():
        if isinstance(column, list) and key != "shell_limits":
            table[key] = (column * n)[:n]
    table["identifier"] = [f"crystal-{k:03}-of-many" for k in range(n)]
    kept = [entry for entry in many["data_sets"] if "model" in entry]
    many["data_sets"] = [kept[0] | {"identifier": name} for name in table["identifier"]]
    many["models"] = [many["models"][0]] * n
    many["ledger"]["data_sets"] = dict.fromkeys(table["identifier"], many["ledger"]["total"])
    found = typed(many)
    page = report_html(structs.replace(found, verdict=verdict(found)))
    assert len(page) < 3_000_000
    assert "The 300 of 500 data sets that agree worst with the rest" in page
    assert "Plots of 40 of 500 data sets" in page


# The command ------------------------------------------------------------------------------------------------


def test_two_runs_side_by_side(example_run, tmp_path):
    """The file that is compared with may be the one that this run replaces."""
    target = tmp_path / "scale.json"
    target.write_bytes((example_run / "scale.json").read_bytes())
    with chdir(tmp_path):
        assert main(["-q", *EXAMPLE, "exclude_images=1:205:240", "report.compare=scale.json"]) == 0
    page = (tmp_path / "scale.html").read_text()
    assert 'id="compare"' in page and "exclude_images=1:205:240" in page
    rows = re.search(r"This run and the other.*?</table>", page, re.DOTALL).group(0)
    cells = r"R_meas</td><td>0\.\d+</td><td>0\.\d+</td><td>-0\.\d+</td><td>-0\.\d+ to -0\.\d+</td><td[^>]*>better"
    assert re.search(cells, rows)
    # an interval that contains 0 is no improvement, whatever its sign
    judged = re.findall(r"<td>([+-][\d.]+) to ([+-][\d.]+)</td><td[^>]*>([a-z ]+)<", rows)
    assert len(judged) == 4
    assert all((float(low) <= 0 <= float(high)) == (word == "no difference") for low, high, word in judged)
    assert target.read_bytes() != (example_run / "scale.json").read_bytes()


def test_a_run_beside_itself_is_neither_better_nor_worse(summary):
    (table, _) = compare(typed(summary), typed(summary), "itself").tables
    assert {row[-1] for row in table.rows} == {"no difference", ""}
    assert len([row for row in table.rows if row[-1]]) >= 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "this is not JSON"),
        (b"\xff\xfe", "this is not JSON"),
        (b'{"schema": "\xff"}', "this is not JSON"),
        (b"[1]", "this is not a summary"),
        (b"[" * 100_000, "this is not a summary"),
        (b'{"schema": "something/1"}', "its schema is braggscale.scale/1"),
        (b'{"schema": "braggscale.scale/1"}', "entry program is missing"),
        (b'{"x": [1, -1e300]}', "a number that no run has, -1e300"),
        (b'{"x": 1' + b"0" * 400 + b"}", "a number that no run has"),
        (b'{"x": "1e300, :1e300"}', "schema"),
    ],
)
def test_a_file_that_cannot_be_compared(tmp_path, content, message):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_summary(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["statistics"].update(shells=[]), "entry statistics"),
        (lambda s: s["statistics"]["overall"].update(r_meas="<b>"), "entry statistics"),
        (lambda s: s["statistics"]["shells"][0].update(d_min=0), "entry statistics"),
        (lambda s: s["command"].update(arguments=[1]), "entry command"),
        (lambda s: s.update(error_models=[{"isa": "x"}]), "error_models"),
        (lambda s: s.update(data_sets=[3]), "data_sets"),
        (lambda s: s["by_image"]["r_merge"].append("x"), r"entry by_image.r_merge\[\d+\] is damaged"),
        (lambda s: s["models"][0]["components"][0].update(form="ball"), "entry models"),
        (lambda s: s.pop("fit"), "entry fit is missing"),
        (lambda s: s["statistics"]["intervals"]["blocks"].pop(), r"effects.r_meas has \d+ numbers for \d+ blocks"),
    ],
)
def test_a_damaged_summary_is_refused(tmp_path, summary, change, message):
    damaged = copy.deepcopy(summary)
    change(damaged)
    path = tmp_path / "other.json"
    path.write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=message):
        read_summary(str(path))


def test_compare_needs_a_file(tmp_path, capsys):
    with chdir(tmp_path):
        assert main([*EXAMPLE, "report.compare=nowhere.json"]) == 2
        (tmp_path / "x.json").write_text("{}")
        assert main(["-q", *EXAMPLE, "report.compare=x.json"]) == 1
    lines = capsys.readouterr().err
    assert "nowhere.json: no such file" in lines and "report.compare=x.json: it does not say" in lines
    assert not (tmp_path / "scaled.refl").exists()


def test_a_report_into_nowhere_is_refused_before_scaling(tmp_path, capsys):
    with chdir(tmp_path):
        assert main([*EXAMPLE, "output.html=no/scale.html"]) == 2
    assert "cannot write no/scale.html" in capsys.readouterr().err


def broken(name):
    def fail(*_args, **_options):
        raise OSError(28, "No space left on device") if name == "disk" else ZeroDivisionError("drawing")

    return fail


@pytest.mark.parametrize(
    ("where", "kind", "message"),
    [
        ("braggscale.report.page.html._plotly_script", "disk", "No space left on device"),
        ("braggscale.report.page.html._payload", "drawing", "internal error, ZeroDivisionError: drawing"),
    ],
)
def test_a_failed_report_leaves_the_data(tmp_path, capsys, monkeypatch, where, kind, message):
    monkeypatch.setattr(where, broken(kind))
    with chdir(tmp_path):
        assert main(["-q", *EXAMPLE, "restraints=fixed", "output.merged_mtz=merged.mtz"]) == 1
    error = capsys.readouterr().err
    assert "scale.html was not written" in error and message in error and "the scaled data are complete" in error
    written = sorted(os.listdir(tmp_path))
    assert written == ["merged.mtz", "scale.json", "scale.log", "scaled.expt", "scaled.refl"]
    assert "scale.html" not in (tmp_path / "scale.log").read_text().split("Written:")[1]


def test_a_section_that_fails_does_not_cost_the_others(summary, monkeypatch):
    def broken(_):
        raise ZeroDivisionError("drawing")

    first, *rest = sections.SECTIONS
    monkeypatch.setattr(sections, "SECTIONS", (replace(first, plots=(broken,)), *rest))
    failed = []
    page = report_html(typed(summary), failed=failed)
    assert failed == ["the section by resolution is missing: internal error, ZeroDivisionError: drawing"]
    assert failed[0] in page and 'id="images"' in page and 'id="resolution"' not in page
    with pytest.raises(ZeroDivisionError):
        report_html(typed(summary))
