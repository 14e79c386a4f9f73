"""Write docs/options.md from the PHIL text: ``python docs/make_options.py``."""

from __future__ import annotations

from pathlib import Path

from braggscale.options.definitions import definitions
from braggscale.options.other_names import CHANGES_NOTHING, DIALS_ONLY, OLD_VALUES, RENAMED
from braggscale.options.values import Option, format_value

PAGE = Path(__file__).with_name("options.md")
INTRODUCTION = """\
# Options

Made from the program's own definitions by `python docs/make_options.py`; do not edit.

Write `name=value` on the command line, or `name = value` in a file that ends in `.phil`, `.param`, `.params`,
`.eff` or `.def`; later ones win. The last part of a name is enough where it is unique. A short name that several
models have (`decay_interval`) goes to the model that `model=` names, or to all that have it when the model is
automatic. *Level* is the expert level: `scale -h` shows level 0, `-hh` level 1, `-hhh` level 2. `None` means off or
no limit, `Auto` is decided from the data and logged. Lists take blanks or commas between their items.
"""
OTHERS = """
## Options that only dials.scale has

They are accepted with values that change nothing, so that a file with all parameters of dials.scale can be given; the
log names them. Other values are an error.

| option | accepted | nearest |
|---|---|---|"""


def page() -> str:
    """The text of the page."""
    master = definitions()
    parts = [INTRODUCTION]
    heading = None
    for path, option in master.options.items():
        top = path.split(".")[0] if "." in path else "General"
        if top != heading:
            heading = top
            about = master.scope_help.get(top, "")
            parts.append(f"\n## {top}\n\n" + (about + "\n\n" if about else "") + "| name | value | default | level | |")
            parts.append("|---|---|---|---|---|")
        parts.append(_row(option))
    parts.append(
        "\n## Names of 2018\n\nThey are read as today's names; the log says so.\n\n| then | today |\n|---|---|"
    )
    for old, new in RENAMED.items():
        values = {value.capitalize(): word for (name, value), word in OLD_VALUES.items() if name == old}
        shown = ", ".join(f"`{value}` is `{values[value]}`" for value in ("True", "False") if value in values)
        paths = ", ".join(f"`{path}`" for path in master.members(new))
        parts.append(f"| `{old}` | {paths}{': ' + shown if shown else ''} |")
    parts.append(OTHERS)
    foreign = {name: nearest for name, nearest in DIALS_ONLY.items() if not name.endswith(".*")}
    foreign |= {name: None for name in CHANGES_NOTHING if name not in foreign and name not in master.options}
    for name, nearest in foreign.items():
        parts.append(f"| `{name}` | {_accepted(name)} | {nearest or ''} |")
    return "\n".join(parts) + "\n"


def _accepted(name: str) -> str:
    """With which values an option of dials.scale is accepted, and why it changes nothing then."""
    harmless = CHANGES_NOTHING.get(name)
    if harmless is None:
        return ""
    return f"{' or '.join(word.capitalize() for word in harmless.values) or 'every value'}: {harmless.why}"


def _row(option: Option) -> str:
    default = format_value(option.default) if option.default != () else "None"
    cells = (f"`{option.path}`", option.type_text, f"`{default.strip(chr(39))}`", option.level, option.help)
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
