"""The report of a run, as an object that a notebook displays."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass

from braggscale.io.atomic_files import write_alone
from braggscale.report.summary_document import Summary, summary_text


@dataclass(frozen=True, slots=True)
class Report:
    """``html``: the page, which needs no other file.  ``summary``: its numbers, as in ``scale.json``."""

    html: str
    summary: Summary

    def __repr__(self) -> str:
        return f"<braggscale.Report of {len(self.html)} characters; save(path) writes it>"

    def _repr_html_(self) -> str:
        """For notebooks: the page in its own frame, so that its style does not change that of the notebook."""
        page = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 800px; border: 0"></iframe>'

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the page.  Raises OutputError."""
        write_alone(os.fspath(path), self.html.encode())

    def save_json(self, path: str | os.PathLike[str]) -> None:
        """Write the numbers, in the form of ``scale.json``.  Raises OutputError."""
        write_alone(os.fspath(path), summary_text(self.summary).encode())
