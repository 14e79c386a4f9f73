"""From the plain text of docstrings to reStructuredText, for the API reference of the site.

Docstrings of this project are plain text that reads well in an editor: paragraphs, ``name`` for what stands in the
code, formulas and tables indented by four blanks or more, now and then a list whose items begin with a star or a
number.  Every other sign means itself.
"""

from __future__ import annotations

import re

# What stays as it is: ``code`` and cross references such as :func:`name`.
_KEPT = re.compile(r"``.+?``|:(?:func|class|mod|meth|attr):`[^`]+`")
_REFERENCE = re.compile(r"(:(?:func|class|mod|meth|attr):`)(?=\w+`)")
_SPECIAL = re.compile(r"([\\*`|]|_(?![A-Za-z0-9])|(?<!\S)[-+](?= )|(?<=\d)\.(?= )|(?<=\d)\)(?= )|:(?=:$))")
_ITEM = re.compile(r"(?:\*|\d+\.) ")
# "``name``: ..." or "``a``, ``b``: ..." at the beginning of a sentence says what an argument or a field is.
_FIELD = re.compile(r"(?:^|(?<=[.:;)] ))\s*(?=``[\w*.]+``(?:(?:,| and) ``[\w*.]+``)*: )")
_RESULT = re.compile(r"(?<=[.:;)] )\s*(?=(?:Returns?|Raises?|Yields?) )")
_DEEP = 4
_EXAMPLE = (">>> ", "... ")  # of an interactive session


def to_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText that renders the same text.

    Indented lines and examples become literal blocks, sentences that begin with ``name``: become the items of a list.
    """
    out: list[str] = []
    for literal, block in _blocks(lines):
        if literal:
            out += ["::", "", *("    " + line for line in block), ""]
        else:
            out += _text(block)
    return out


def _blocks(lines: list[str]) -> list[tuple[bool, list[str]]]:
    """Runs of lines that belong together: (whether they are literal, lines without common indentation)."""
    blocks: list[tuple[bool, list[str]]] = []
    item = False  # inside a list, deeper lines continue the item
    fresh = True
    for line in lines:
        if not line.strip():
            fresh = True
            continue
        indent = len(line) - len(line.lstrip())
        literal = line.startswith(_EXAMPLE) or (indent >= _DEEP and not (item and not fresh))
        if not literal and (indent == 0 or _ITEM.match(line.strip())):
            item = bool(_ITEM.match(line.strip()))
        if blocks and blocks[-1][0] == literal and (literal or not fresh) and not (item and indent == 0):
            if fresh:
                blocks[-1][1].append("")
            blocks[-1][1].append(line)
        else:
            blocks.append((literal, [line]))
        fresh = False
    return [(literal, _dedent(block) if literal else block) for literal, block in blocks]


def _dedent(block: list[str]) -> list[str]:
    least = min(len(line) - len(line.lstrip()) for line in block if line)
    return [line[least:] for line in block]


def _text(block: list[str]) -> list[str]:
    """A paragraph or one item of a list, with its fields as a list."""
    text = " ".join(line.strip() for line in block)
    marker = _ITEM.match(text)
    if marker:
        sign = "#." if marker.group()[0].isdigit() else "*"
        return [f"{sign} {_escape(text[marker.end() :])}", ""]
    out: list[str] = []
    for sentence in _RESULT.split(text):
        for k, part in enumerate(_FIELD.split(sentence)):
            if part := part.strip():
                out += [("* " if k else "") + _escape(part), ""]
    return out


def _escape(text: str) -> str:
    """Every sign that reStructuredText would take for markup, quoted."""
    out, end = [], 0
    for kept in _KEPT.finditer(text):
        # a backslash and a blank end the markup where no blank or punctuation does
        before = "\\ " if kept.start() and re.match(r"[\w]", text[kept.start() - 1]) else ""
        after = "\\ " if re.match(r"\w", text[kept.end() : kept.end() + 1]) else ""
        out += [_SPECIAL.sub(r"\\\1", text[end : kept.start()]), before, _REFERENCE.sub(r"\1.", kept.group()), after]
        end = kept.end()
    return "".join([*out, _SPECIAL.sub(r"\\\1", text[end:])])
