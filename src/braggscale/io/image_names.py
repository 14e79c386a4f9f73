"""Names of the image files of each data set from the experiments, and the name of the sample that they suggest."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import PureWindowsPath
from typing import Any

LONGEST = 200
_NUMBER = re.compile(r"[#\d]*$")


def image_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The template of the images of each experiment, such as ``lcys_04_#####.cbf``, without folders; '' if unknown.

    ``document``: an experiment list as JSON.  Of a still it is the name of its image.
    """
    sets = document.get("imageset")
    entries = document.get("experiment")
    if not isinstance(sets, Sequence) or not isinstance(entries, Sequence):
        return ()
    names = [_name(entry) for entry in sets]
    first_names = []
    for entry in entries:
        place = entry.get("imageset") if isinstance(entry, Mapping) else None
        known = isinstance(place, int) and 0 <= place < len(names)
        first_names.append(names[place] if known and place is not None else "")
    return tuple(first_names)


def _name(entry: object) -> str:
    if not isinstance(entry, Mapping):
        return ""
    images = entry.get("images")
    first = images[0] if isinstance(images, Sequence) and not isinstance(images, str) and images else ""
    text = entry.get("template") or entry.get("master") or first
    # paths may be those of any system
    return PureWindowsPath(text).name[:LONGEST] if isinstance(text, str) else ""


def sample_name(names: Sequence[str]) -> str:
    """The common beginning of all names without numbers and separators at its end: ``lcys``; '' if it is too short."""
    known = [name for name in names if name]
    if not known:
        return ""
    stems = [_NUMBER.sub("", name.rsplit(".", 1)[0]) for name in known]
    common = os.path.commonprefix(stems)
    if len(set(stems)) > 1:
        common = _NUMBER.sub("", common)
    common = common.strip(" _-.#")
    return common if len(common) > 1 else ""
