"""Radiation damage: agreement of observations by the images between them."""

from __future__ import annotations

from braggscale.report.page.figure import BLUE, COLOURS, GREY, Figure, Section, Table, axis, line, short, shown
from braggscale.report.summary_document import Summary


def damage(summary: Summary) -> Section:
    """Whether the crystal changed while it was measured."""
    return Section(
        "damage",
        "Radiation damage",
        "Pairs of equivalent observations within one sweep. If the crystal changes, those far apart agree worse.",
    )


def damage_curves(summary: Summary) -> list[Figure]:
    """R_d and R_cp."""
    found, figures = summary.radiation_damage, []
    if found is None:
        return []
    limits = found.range_limits
    ranges = [f"{a:.2f} – {b:.2f} Å" for a, b in zip(limits[:-1], limits[1:], strict=True)]
    for key, at, values, by_range, title, text, label in (
        (
            "r_d",
            found.difference,
            found.r_d,
            found.r_d_by_range,
            "R_d against the difference of images",
            "Decay R factor. A horizontal line means no damage; a rise, most at high resolution, means that late "
            "images "
            "differ from early ones. Leaving out the end of each sweep then helps.",
            "images between the two observations",
        ),
        (
            "r_cp",
            found.image,
            found.r_cp,
            found.r_cp_by_range,
            "R_cp against the number of images",
            "Cumulative pairwise R factor: agreement of everything collected up to this image. It levels out without "
            "damage and keeps rising with it.",
            "image, from the first of the sweep",
        ),
    ):
        hover = "%{y:.3f}<extra>%{fullData.name}</extra>"
        data = [line(at, values, "all", BLUE, hovertemplate=hover)]
        for name, one, colour in zip(ranges, by_range, COLOURS[1:], strict=False):
            data.append(line(at, one, name, colour, hovertemplate=hover, width=1, size=3))
        if key == "r_d" and found.trend:
            trend = found.trend
            ends = [0.0, max(at)]
            fit = [trend.start, trend.start + trend.rise]
            data.append(line(ends, fit, "straight line", GREY, mode="lines", dash="dash", width=1, hoverinfo="skip"))
        header = (label, "all", *ranges)
        rows = [[short(v, 4), *(shown(c[i], 3) for c in (values, *by_range))] for i, v in enumerate(at)]
        name = key.replace("_", "-")
        y = axis(title.split()[0], rangemode="tozero")
        figures.append(Figure(name, title, text, data, {"xaxis": axis(label), "yaxis": y}, Table(title, header, rows)))
    return figures
