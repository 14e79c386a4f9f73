"""Completion of options and values in shells: a small script that a shell reads at its start.

The script holds the names of all options with a dash and of all parameters (the short name where that is enough), and
the values of those that have a choice. It starts no program while the user types. Files are completed as usual.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping

from braggscale.arguments import DIALS_NAME, PROGRAM, SCALE, command_parser
from braggscale.errors import CommandError
from braggscale.options.definitions import definitions

SHELLS = ("bash", "zsh", "fish")

BASH = """\
# Completion for {program}: put this into a file that bash reads, or run
#   source <({program} --completion bash)
_{program}_completion() {{
    local line="${{COMP_LINE:0:COMP_POINT}}" values=""
    local typed="${{line##*[[:space:]]}}"
    COMPREPLY=()
    case "$typed" in
        *=*)
            case "${{typed%%=*}}" in
{cases}
                *) compopt -o filenames; COMPREPLY=($(compgen -f -- "${{typed#*=}}")); return ;;
            esac
            COMPREPLY=($(compgen -W "$values" -- "${{typed#*=}}"))
            ;;
        -*) COMPREPLY=($(compgen -W {switches} -- "$typed")) ;;
        *)
            COMPREPLY=($(compgen -W {names} -- "$typed"))
            if [[ ${{#COMPREPLY[@]}} -gt 0 ]]; then compopt -o nospace; else compopt -o filenames; fi
            COMPREPLY+=($(compgen -f -- "$typed"))
            ;;
    esac
}}
complete -F _{program}_completion {commands}
"""
ZSH = """\
#compdef {commands}
# Completion for {program}: put this into a file that zsh reads after compinit, or run
#   source <({program} --completion zsh)
_{program}_completion() {{
    local typed="${{words[CURRENT]}}"
    local -a values
    case "$typed" in
        *=*)
            case "${{typed%%=*}}" in
{cases}
            esac
            compset -P '*='
            if (( ${{#values}} )); then compadd -a values; else _files; fi
            ;;
        -*) compadd -- {switches} ;;
        *)
            compadd -S '' -- {names}
            _files
            ;;
    esac
}}
compdef _{program}_completion {commands}
"""


def completion(shell: str) -> str:
    """The text of the script for a shell, one of ``SHELLS``.  Raises CommandError for another one."""
    if shell not in SHELLS:
        raise CommandError(f"--completion {shell}: choose one of {', '.join(SHELLS)}")
    values = values_by_name()
    if shell == "fish":
        return _fish(values)
    with_dash = [name for names, _ in _switches() for name in names]
    form = "values=({})" if shell == "zsh" else 'values="{}"'
    cases = "\n".join(
        f"                {name}) {form.format(' '.join(some))} ;;" for name, some in values.items() if some
    )
    names = [f"{name}=" for name in values]
    return (ZSH if shell == "zsh" else BASH).format(
        program=PROGRAM,
        commands=f"{PROGRAM} {DIALS_NAME}",
        cases=cases,
        switches=" ".join(with_dash) if shell == "zsh" else shlex.quote(" ".join(with_dash)),
        names=" ".join(names) if shell == "zsh" else shlex.quote(" ".join(names)),
    )


def values_by_name() -> dict[str, tuple[str, ...]]:
    """Names of the parameters as they are completed, and the words that can be their values, none for any other kind.

    A name is the last part of the full name where that is unique, and the full name.
    """
    master = definitions()
    choices: dict[str, tuple[str, ...]] = {}
    for path, option in master.options.items():
        words = option.choices or (("True", "False") if option.kind == "bool" else ())
        if words:
            words += ("Auto",) * option.auto + ("None",) * option.none
        for name in (master.short(master.key(path)), path):
            choices.setdefault(name, words)
    return choices


def _switches() -> list[tuple[list[str], str]]:
    """Names and help of the options with a dash."""
    actions: list[argparse.Action] = command_parser(SCALE)._actions
    return [(list(action.option_strings), action.help or "") for action in actions if action.option_strings]


def _fish(values: Mapping[str, tuple[str, ...]]) -> str:
    lines = [
        f"# Completion for {PROGRAM}: put this into ~/.config/fish/completions/{PROGRAM}.fish, or run",
        f"#   {PROGRAM} --completion fish | source",
    ]
    helps = {name: option.help for name, option in definitions().options.items()}
    for command in (PROGRAM, DIALS_NAME):
        for names, text in _switches():
            said = " ".join(f"-{'l' if name.startswith('--') else 's'} {name.lstrip('-')}" for name in names)
            lines.append(f"complete -c {command} {said} -d {_fish_quoted(text)}")
        for name, some in values.items():
            words = " ".join([f"{name}={word}" for word in some] or [f"{name}="])
            about = helps.get(name, "").split(". ")[0]
            lines.append(f"complete -c {command} -a {_fish_quoted(words)} -d {_fish_quoted(about)}")
    return "\n".join(lines) + "\n"


def _fish_quoted(text: str) -> str:
    """In single quotes, in which fish takes a backslash and a quote only after a backslash."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
