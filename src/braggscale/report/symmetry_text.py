"""Sentences on the check of the symmetry, for log and report."""

from __future__ import annotations

from braggscale.report.summary_checks import ElementEntry, SymmetryEntry
from braggscale.wording import some_of

STATES = ("holds", "denied", "missing", "no", "unknown")


def symmetry_sentences(found: SymmetryEntry, space_group: str) -> list[str]:
    """Absences first, then rotations.  ``space_group``: that of the run."""
    return [*_absences(found, space_group), *_rotations(found.elements, space_group)]


def _absences(found: SymmetryEntry, space_group: str) -> list[str]:
    if not found.absences:
        return []
    best = found.absences[0]
    names = " or ".join(best.space_groups[:4])
    seen = "" if best.i_over_sigma is None else f", whose mean I/sigma is {best.i_over_sigma:.2f}"
    if found.likely is None:
        return [
            f"Systematic absences do not decide: {names} is the most probable space group with "
            f"{best.probability:.2f}, then {' or '.join(found.absences[1].space_groups[:4])}."
        ]
    why = f"{best.forbidden} reflections{seen}" if best.forbidden else "no class of reflections"
    text = f"Systematic absences: {names} with probability {best.probability:.3f}; it forbids {why}."
    if space_group in best.space_groups:
        return [text]
    name = best.space_groups[0].replace(" ", "")
    return [
        f"{text} The scales are the same in {space_group} and {name}; scale export writes {name}, and so does a run "
        f"with space_group={name}."
    ]


def _rotations(elements: list[ElementEntry], space_group: str) -> list[str]:
    by_state = {state: [e for e in elements if e.state == state] for state in STATES}
    said = []
    if by_state["denied"]:
        said.append(
            f"The intensities do not have {_listed(by_state['denied'])}, which {space_group} has: merge with a lower "
            "symmetry (space_group=), or is the crystal indexed in two ways?"
        )
    if by_state["missing"]:
        said.append(
            f"The intensities also have {_listed(by_state['missing'])}, which {space_group} has not: a higher symmetry "
            "(space_group=), or a twin?"
        )
    holds, no, unknown = by_state["holds"], by_state["no"], by_state["unknown"]
    own, others = [e for e in unknown if e.used], [e for e in unknown if not e.used]
    if own and not by_state["denied"]:
        n = len(own) + len(holds)
        rotations = f"{'all of ' * bool(holds)}the {f'{n} rotations' if n > 1 else 'rotation'} of {space_group}"
        said.append(
            f"Whether the intensities have {rotations} cannot be told{_of_few(own)}: too few reflections that they "
            "relate were measured, or they are too weak."
        )
    elif holds and not by_state["denied"]:
        which = f"all {len(holds)} rotations" if len(holds) > 1 else "the rotation"
        said.append(f"The intensities have {which} of {space_group} ({_range(holds)}).")
    if no and not by_state["missing"] and not others:
        which = f"none of the {len(no)} further rotations" if len(no) > 1 else "not the further rotation"
        said.append(f"They have {which} that the lattice allows ({_range(no)}).")
    return said


def _of_few(elements: list[ElementEntry]) -> str:
    return f" ({_range(elements)})" if any(e.cc is not None for e in elements) else ""


def _listed(elements: list[ElementEntry]) -> str:
    return some_of([f"{e.operator} (CC {e.cc:.2f})" for e in elements], 4)


def _range(elements: list[ElementEntry]) -> str:
    known = sorted(e.cc for e in elements if e.cc is not None)
    low, high = (f"{cc:.3f}" for cc in (known[0], known[-1]))
    return f"CC {low}" if low == high else f"CC {low} to {high}"
