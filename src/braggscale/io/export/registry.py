"""The records of the kinds of exports, by the names of their options; the list is in ``options.export_files``."""

from __future__ import annotations

from importlib import import_module

from braggscale.io.export.export import Export
from braggscale.options.export_files import EXPORT_FILES

EXPORTS: dict[str, Export] = {
    name: import_module(f"{__package__}.{option.module}").EXPORT for name, option in EXPORT_FILES.items()
}
