"""Write docs/scale.1, the manual page, from the program's own help: ``python docs/make_man.py``."""

from __future__ import annotations

from pathlib import Path

from braggscale.arguments import SCALE, SCALE_EXPORT, Command, command_parser
from braggscale.options.definitions import definitions
from braggscale.options.values import Option, format_value

PAGE = Path(__file__).with_name("scale.1")
HEAD = """\
.\\" Made from the program's own definitions by python docs/make_man.py; do not edit.
.TH SCALE 1 "" "braggscale" "User Commands"
.SH NAME
scale \\- put the integrated intensities of a diffraction experiment on one common scale
.SH SYNOPSIS
.B scale
[\\fIoptions\\fR] \\fIFILE\\fR ... [\\fIname\\fR=\\fIvalue\\fR ...]
.br
.B scale export
[\\fIoptions\\fR] \\fIFILE\\fR ... \\fIname\\fR=\\fIvalue\\fR ...
.br
.B scale install\\-dials\\-name
\\fIFOLDER\\fR
.SH DESCRIPTION
"""
STATUS = """\
.SH EXIT STATUS
0: done. 1: the data cannot be scaled, a file is damaged, or the disk is full. 2: the command is wrong.
130: interrupted. 143: terminated. A status other than 0 comes with lines on standard error that say what, where and
what to do.
"""
FILES = """\
.SH FILES
.TP
scaled.expt, scaled.refl
Experiments with their scaling models, and scaled reflections.
.TP
scale.log, scale.json, scale.html
The log, the same for programs, and the report for a browser.
.SH SEE ALSO
.BR dials.scale (1),
.BR dials.merge (1)
"""


def page() -> str:
    """The text of the page, in the man macros of troff."""
    parts = [HEAD, _verbatim(SCALE), _switches(SCALE), ".SH PARAMETERS\n"]
    parts += [_parameter(option) for option in definitions().options.values()]
    parts += [".SH EXPORT\n", _verbatim(SCALE_EXPORT), STATUS, FILES]
    return "".join(parts)


def _escaped(text: str) -> str:
    """Text with its backslashes and hyphens as troff wants them, and no line that begins as a request."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in safe.splitlines())


def _verbatim(command: Command) -> str:
    examples = command.epilog.split("\n\nexit status")[0]
    return f"{_escaped(command.description)}\n.PP\n.nf\n{_escaped(examples)}\n.fi\n"


def _switches(command: Command) -> str:
    text = ".SH OPTIONS\n"
    for action in command_parser(command)._actions:
        if action.option_strings:
            names = ", ".join(action.option_strings) + (f" {action.metavar}" if action.metavar else "")
            text += f".TP\n.B {_escaped(names)}\n{_escaped(action.help or '')}\n"
    return text


def _parameter(option: Option) -> str:
    default = format_value(option.default).strip("'") if option.default != () else "None"
    about = f"{option.help} ({option.type_text}; default {default})"
    return f".TP\n.B {_escaped(option.path)}\n{_escaped(about)}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
