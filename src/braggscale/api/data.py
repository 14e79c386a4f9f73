"""Data sets as they were read, and which of them are to be scaled."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from braggscale.data.batches import assign_batches
from braggscale.data.data_set_names import choose_data_sets
from braggscale.data.image_selection import ImageRequest, choose_images
from braggscale.data.reindexing import AUTO as REINDEX_AUTO
from braggscale.errors import CommandError
from braggscale.io import Input
from braggscale.numerics.partitions import available_processors, threads
from braggscale.options.definitions import definitions
from braggscale.options.keywords import assignments_of, settled
from braggscale.options.phil import Assignment
from braggscale.run_warnings import Warned, warnings_heard
from braggscale.scale_files import as_asked, open_files

if TYPE_CHECKING:
    from braggscale.options.schema import Options

READING = "input."  # options of reading begin so; ``input.accept`` belongs to scaling


@dataclass(frozen=True, slots=True)
class Data:
    """Experiments with their reflections. Columns stay on disk until they are used.

    ``files``: where they come from.  ``excluded``: assignments that leave out images or data sets, or ask for
    operators that scaling finds (``reindex="auto"``).  ``warnings``: of reading.
    """

    input: Input
    files: tuple[str, ...]
    excluded: tuple[Assignment, ...] = ()
    warnings: tuple[Warned, ...] = ()

    @property
    def identifiers(self) -> list[str]:
        """Names of the data sets, in their order."""
        return [data_set.identifier for data_set in self.input.data_sets]

    def __len__(self) -> int:
        """Number of data sets."""
        return len(self.input.data_sets)

    def __repr__(self) -> str:
        sets = "1 data set" if len(self) == 1 else f"{len(self)} data sets"
        without = "".join(f", {made.origin}" for made in self.excluded)
        return f"<braggscale.Data: {sets}, {self.input.n_rows} reflections from {', '.join(self.files)}{without}>"

    def without(self, images: str | Sequence[str] = (), data_sets: str | Sequence[str] = ()) -> Data:
        """The same data without some images, or without whole data sets; ``self`` does not change.

        ``images``: ``"ID:first:last"``, ``"*:first:last"`` for every sweep, ``"first:last"`` for a single one, or
        several of these.  ``data_sets``: identifiers, or ``"#n"`` for the n-th.
        Raises CommandError for images or data sets that do not exist, and if no data would be left.
        """
        images, data_sets = _listed(images), _listed(data_sets)
        experiments = [data_set.experiment for data_set in self.input.data_sets]
        if images:
            choose_images(experiments, assign_batches(experiments), ImageRequest(exclude_images=images))
        if data_sets:
            choose_data_sets(self.identifiers, (), data_sets)
        words: dict[str, Any] = {}
        if images:
            words["exclude_images"] = images
        if data_sets:
            # a later value of this option replaces an earlier one
            before = [text for made in self.excluded if made.name == "exclude_datasets" for text, _ in made.words]
            words["exclude_datasets"] = [*before, *data_sets]
        return replace(self, excluded=(*self.excluded, *assignments_of(words)))


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def read(*files: str | os.PathLike[str], **options: Any) -> Data:
    """Read experiments and reflections, in any order and number; a format is recognised by the content of the file.

    ``options``: those of the section ``input`` of the command, for example ``space_group="P 21 21 21"``,
    ``unit_cell=(5.4, 8.1, 12.0, 90, 90, 90)``, ``reindex="k,h,-l"``.
    Raises CommandError for a wrong option and a file that cannot be read, InputError for one that is damaged and for
    files that do not belong together.
    """
    names = tuple(os.fspath(file) for file in files)
    if not names:
        raise CommandError("no input files: give experiments and reflections")
    made = assignments_of(options)
    refuse(made, lambda path: path.startswith(READING) and path != "input.accept", "not an option of reading")
    chosen: Options = settled(made).options
    with threads(chosen.nproc or available_processors()), warnings_heard() as warned:
        data = as_asked(open_files(names, chosen), chosen)
    # these operators follow from the intensities, so that scaling finds them
    later = [one for one in made if any(text.lower() == REINDEX_AUTO for text, _ in one.words)]
    return Data(data, names, tuple(later), warnings=tuple(warned))


def refuse(made: Sequence[Assignment], allowed: Callable[[str], bool], why: str) -> None:
    """Raises CommandError for options that are not allowed here; unknown names are left to ``settled``."""
    problems = []
    for one in made:
        try:
            paths = definitions().resolve(one.name).paths
        except CommandError:
            continue
        if not all(map(allowed, paths)):
            problems.append(f"{one.origin}: {why}")
    if problems:
        raise CommandError("\n".join(problems))
