"""Write docs/scale.schema.json from the structs of the summary: ``python docs/make_schema.py``."""

from __future__ import annotations

import json
from pathlib import Path

from braggscale.report.summary_document import json_schema

PAGE = Path(__file__).with_name("scale.schema.json")


def page() -> str:
    """The text of the file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
