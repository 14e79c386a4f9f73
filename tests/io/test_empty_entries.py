"""Experiment lists whose lists of models have entries that are empty."""

from __future__ import annotations

import json
from pathlib import Path

from io_samples import experiment_list, put

from braggscale.io.experiment_list import OutputExperiment, output_data, read_document, to_text
from braggscale.io.file_kind import open_source


def test_a_scan_that_is_null_is_no_scan(tmp_path: Path) -> None:
    data = experiment_list(2, ["a", "b"])
    data["scan"][1] = None
    document = read_document(open_source(put(tmp_path, "x.expt", data)))
    kept = [OutputExperiment(k, name, {"__id__": "KB"}, None, None) for k, name in enumerate("ab")]
    out = json.loads(to_text(output_data(document, kept, "now")))
    assert len(out["scan"]) == 1 and [entry["scan"] for entry in out["experiment"]] == [0, None]
