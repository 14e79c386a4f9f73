"""Results as text: the same tables are printed and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from accuracy import Accuracy
from bench.engine import Timing
from bench.measure import FIXED, Measured, Result
from bench.process import Spread

NOTHING = "-"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with aligned columns, the first to the left."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join(("-" * (w + 1) + (":" if i else "-")) for i, w in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def _wall(found: Measured | None) -> str:
    if found is None:
        return NOTHING
    return found.stop if found.wall is None else found.wall.text()


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None or value != value else f"{value:.{digits}f}"


def _peak(found: Measured | None) -> str:
    return NOTHING if found is None or found.peak is None else f"{found.peak.high:.0f}"


def time_table(results: Sequence[Result]) -> str:
    """Time and memory of each case, beside the peer."""
    head = (
        "set",
        "rows",
        "parameters",
        "wall s",
        "CPU s",
        "peak MB",
        "us/row",
        "to 1M",
        "peer s",
        "peer MB",
        "peer/ours",
    )
    per_row = {r.name: 1e6 * wall.median / r.rows for r in results if (wall := r.ours[FIXED].wall)}
    rows = []
    for r in results:
        mine = r.ours[FIXED]
        if mine.wall is None or mine.cpu is None:
            continue
        relative = per_row[r.name] / per_row["s1m"] if "s1m" in per_row else None
        rows.append(
            (
                r.title, str(r.rows), str(r.parameters), mine.wall.text(), mine.cpu.text(), _peak(mine),
                f"{per_row[r.name]:.1f}", _number(relative, 2), _wall(r.peer), _peak(r.peer), _number(r.ratio(), 1),
            )
        )  # fmt: skip
    return markdown(head, rows)


def _share(r: Result, variant: str) -> float | None:
    """Median wall time of a variant by that of fixed restraints."""
    mine, other = r.ours[FIXED].wall, r.ours.get(variant)
    return None if mine is None or other is None or other.wall is None else other.wall.median / mine.median


def _stage(found: Measured | None, name: str) -> Spread | None:
    return None if found is None else found.stages.get(name)


def variant_table(results: Sequence[Result]) -> str:
    """What nproc, estimated restraints and all reflections do to the time."""
    head = (
        "set",
        "nproc=1 s",
        "1/all",
        "1/all scaling",
        "same bytes",
        "estimated s",
        "est./fixed",
        "all s",
        "all/subset",
    )
    rows = []
    for r in results:
        one, estimated, everything = (r.ours.get(name) for name in ("one", "estimated", "all"))
        slow, fast = _stage(one, "scaling"), _stage(r.ours[FIXED], "scaling")
        gain = None if slow is None or fast is None else slow.median / fast.median
        rows.append(
            (
                r.title, _wall(one), _number(_share(r, "one"), 2), _number(gain, 2),
                NOTHING if r.same is None else ("yes" if r.same else "NO"),
                _wall(estimated), _number(_share(r, "estimated"), 2),
                _wall(everything), _number(_share(r, "all"), 2),
            )
        )  # fmt: skip
    return markdown(head, rows)


def stage_table(results: Sequence[Result]) -> str:
    """Seconds of each stage with fixed restraints, and in brackets how many times the limit that is."""
    stages = list(dict.fromkeys(stage for r in results for stage in r.ours[FIXED].stages))
    head = ("set", *stages, "limit s", "wall/limit")
    rows = []
    for r in results:
        mine = r.ours[FIXED]
        cells = []
        for stage in stages:
            spent, limit = mine.stages.get(stage), r.limit.get(stage, 0.0)
            if spent is None:
                cells.append(NOTHING)
            else:
                cells.append(f"{spent.median:.2f}" + (f" ({spent.median / limit:.0f}x)" if limit > 0 else ""))
        total = sum(r.limit.values())
        wall = None if mine.wall is None else mine.wall.median / total
        rows.append((r.title, *cells, f"{total:.3f}", _number(wall, 0)))
    return markdown(head, rows)


def accuracy_table(results: Sequence[Result]) -> str:
    """How near the merged intensities are to the truth."""
    head = ("set", "scales from", "rows", "R", "CC_anom", "rms ln g", "chi2", ">10 s found", "lost %")
    rows = []
    for r in results:
        found: list[tuple[str, Accuracy | None]] = [("truth (noise limit)", r.oracle)]
        found += [(name, m.accuracy) for name, m in r.ours.items() if name != "one"]
        found.append(("dials.scale", None if r.peer is None else r.peer.accuracy))
        for name, a in found:
            if a is not None:
                rows.append(
                    (
                        r.title, name, str(a.rows), _number(a.r, 4), _number(a.cc_anom, 4), _number(a.rms_ln_g, 4),
                        _number(a.chi2, 3), _number(a.found_10, 3), _number(100 * a.lost, 3),
                    )
                )  # fmt: skip
    return markdown(head, rows)


def engine_table(timings: Sequence[Timing]) -> str:
    """One evaluation and one normal matrix."""
    head = ("", "rows", "parameters", "1 thread ms", "all threads ms", "threads", "gain", "limit ms", "all/limit")
    rows = [
        (
            t.name, str(t.rows), str(t.parameters), t.one.text(1), t.many.text(1), str(t.threads), f"{t.gain:.2f}",
            f"{t.limit:.1f}", f"{t.many.low / t.limit:.1f}",
        )
        for t in timings
    ]  # fmt: skip
    return markdown(head, rows)


def start_table(start: Mapping[str, Spread]) -> str:
    """Start-up times."""
    return markdown(("command", "s"), [(name, spread.text(3)) for name, spread in start.items()])


def report(
    facts: Mapping[str, object],
    note: str,
    triads: Mapping[int, float],
    start: Mapping[str, Spread],
    timings: Sequence[Timing],
    results: Sequence[Result],
) -> str:
    """The whole page."""
    speeds = ", ".join(f"{1e-9 * speed:.1f} GB/s on {n}" for n, speed in triads.items())
    listed = {**facts, "memory bandwidth (triad)": f"{speeds} threads"}
    parts = [
        "# Benchmark",
        "Median (smallest-largest) of repeated runs. What each figure means: docs/benchmarks.md.",
        *([f"**{note}**"] if note else []),
        "\n".join(f"* {name.replace('_', ' ')}: {value}" for name, value in listed.items()),
        "## Start",
        start_table(start),
    ]
    if timings:
        parts += ["## Engine", engine_table(timings)]
    if results:
        parts += ["## Time and memory", time_table(results)]
        if any(len(r.ours) > 1 for r in results):
            parts += ["## Processors, restraints, subset", variant_table(results)]
        parts += ["## Stages", stage_table(results)]
    if any(r.oracle for r in results):
        parts += ["## Accuracy", accuracy_table(results)]
    return "\n\n".join(parts) + "\n"
