"""``{command-help}``: the help texts of the command line, as the commands themselves print them."""

from __future__ import annotations

import contextlib
import io
import os

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from segcrit import cli


class CommandHelp(SphinxDirective):
    """``segcrit --help``, then a section for each command."""

    def run(self) -> list[nodes.Node]:
        result: list[nodes.Node] = [_terminal("--help")]
        for command in cli.available_commands():
            title = f"segcrit {command.name}"
            section = nodes.section(ids=[nodes.make_id(title)], names=[title])
            section += nodes.title(text=title)
            section += _terminal(command.name, "--help")
            result.append(section)
        return result


def _terminal(*words: str) -> nodes.literal_block:
    """What ``segcrit WORDS`` prints on a terminal of fixed width."""
    os.environ["COLUMNS"] = "96"
    with contextlib.redirect_stdout(io.StringIO()) as output:
        code = cli.main(list(words))
    if code != 0:
        raise RuntimeError(f"segcrit {' '.join(words)} left with exit code {code}")
    text = output.getvalue().strip()
    return nodes.literal_block(text, text, language="text", classes=["terminal"])


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
