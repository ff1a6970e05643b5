"""Docstrings are plain text with ``code`` in it: a star in ``(N, C, *S)`` or a bar in |p − t| is no markup."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

CODE = re.compile(r"(``.+?``)")
MARKUP = re.compile(r"(?<!\\)([*|])")  # not where the author has escaped it already


def escape(lines: list[str]) -> list[str]:
    """The same lines with stars and bars escaped, except in code and in examples."""
    result = []
    in_example = False
    for line in lines:
        in_example = line.lstrip().startswith(">>>") or (in_example and line.strip() != "")
        if in_example:
            result.append(line)
        else:
            pieces = CODE.split(line)
            # Every second piece is code, because the pattern is a group.
            pieces[::2] = [MARKUP.sub(r"\\\1", piece) for piece in pieces[::2]]
            result.append("".join(pieces))
    return result


def _process(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    lines[:] = escape(lines)


def setup(app: Sphinx) -> dict[str, object]:
    # Before napoleon (500) turns the sections into markup of its own.
    app.connect("autodoc-process-docstring", _process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
