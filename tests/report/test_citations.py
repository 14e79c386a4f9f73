"""The papers at the end of the log are those of the run, and all of them are in CITATION.cff."""

import re
from pathlib import Path

from braggscale import __version__
from braggscale.models import MODELS
from braggscale.report.text.citations import MODEL_PAPERS, papers

CITATION = (Path(__file__).parents[2] / "CITATION.cff").read_text()


def test_every_paper_of_the_log_is_in_the_citation_file():
    entries = [
        (
            re.search(r"family-names: (\S+)", entry)[1],
            re.search(r"year: (\d+)", entry)[1],
            re.search(r"start: (\d+)", entry)[1],
        )
        for entry in CITATION.split("- type: article")[1:]
    ]
    for _, paper in papers(MODELS, True, True):
        first, year, page = re.fullmatch(r"([\w-]+)\W.*\((\d+)\).*, (\d+)", paper).groups()
        assert (first, year, page) in entries, paper


def test_every_kind_of_model_has_a_paper():
    assert set(MODEL_PAPERS) == set(MODELS)


def test_only_what_was_used_is_cited():
    assert "estimated restraints" not in dict(papers({"array"}, False, True))
    assert "error model" not in dict(papers({"KB"}, True, False))
    methods = dict(papers({"KB", "physical"}, True, True))
    assert "KB and physical model" in methods and "estimated restraints" in methods


def test_the_log_names_them_before_the_files(example_run):
    log = (example_run / "scale.log").read_text()
    assert "Wood & Fasiolo (2017)" in log and "Kabsch" not in log
    assert log.index("Please cite") < log.index("Written: ")


def test_the_version_is_that_of_the_package():
    assert f"\nversion: {__version__}\n" in CITATION
