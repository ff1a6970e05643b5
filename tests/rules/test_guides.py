"""What the guides and the README show is true: their Python runs, their commands parse.

Blocks of one file share their names and run from top to bottom, as a reader would type them. ```` ```python ````
blocks are executed, ```` ```pycon ```` blocks are compared with the output they show, and commands that start
with ``$ segcrit`` in ```` ```console ```` blocks are given to the command line's parser, and run where that is
quick. A block that cannot run (it trains a network, it needs a file of the reader) stands below a comment
``<!-- not run: REASON -->``.
"""

from __future__ import annotations

import doctest
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from segcrit import cli
from segcrit.cli._parser import join_negative_numbers
from tests.rules.source import REPOSITORY

FENCE = re.compile(r"^```(?P<language>[a-z]*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: .+ -->\s*\Z")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int
    run: bool


def _pages() -> list[Path]:
    docs = REPOSITORY / "docs"
    pages = [page for page in docs.rglob("*.md") if not {"_build", "generated"} & set(page.parts)]
    return [REPOSITORY / "README.md", *sorted(pages)]


def blocks_of(text: str) -> list[Block]:
    return [
        Block(
            language=match["language"],
            text=match["text"],
            line=text[: match.start("text")].count("\n") + 1,
            run=NOT_RUN.search(text[: match.start()]) is None,
        )
        for match in FENCE.finditer(text)
    ]


def run_blocks(name: str, blocks: list[Block]) -> None:
    """Execute the Python of one page; a failure shows the page and its line."""
    names: dict[str, object] = {"__name__": "__main__"}
    parser = doctest.DocTestParser()
    for block in blocks:
        if not block.run:
            continue
        if block.language == "python":
            # Empty lines in front make the line numbers of a traceback those of the page.
            exec(compile("\n" * (block.line - 1) + block.text, name, "exec"), names)
        elif block.language == "pycon":
            examples = parser.get_doctest(block.text, names, name, name, block.line - 1)
            runner = doctest.DebugRunner(optionflags=OPTIONS, verbose=False)
            runner.run(examples, clear_globs=False)
            names |= examples.globs


def commands_of(blocks: list[Block]) -> list[list[str]]:
    """The words after ``segcrit`` of every command that the page shows."""
    commands = []
    for block in blocks:
        if block.language != "console" or not block.run:
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True) if line.startswith("$ ") else []
            if words[:1] == ["segcrit"]:
                commands.append(words[1:])
    return commands


PAGES = {str(page.relative_to(REPOSITORY)): blocks_of(page.read_text(encoding="utf-8")) for page in _pages()}


@pytest.mark.parametrize("page", [page for page, blocks in PAGES.items() if blocks])
def test_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_blocks(page, PAGES[page])


COMMANDS = [(page, command) for page, blocks in PAGES.items() for command in commands_of(blocks)]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{p}: {shlex.join(w)}" for p, w in COMMANDS])
def test_command_of_a_page_is_understood(page: str, words: list[str]) -> None:
    parser = cli.build_parser([words[0]])
    _, unknown = parser.parse_known_args(join_negative_numbers(words))
    assert not unknown


# These need neither data nor time, unless a placeholder in capitals (DATA, ID) stands among their words.
QUICK = {"explain", "losses", "doctor"}
RUNNABLE = [words for _, words in COMMANDS if words[0] in QUICK and not any(word.isupper() for word in words)]


@pytest.mark.parametrize("words", RUNNABLE, ids=shlex.join)
def test_quick_command_of_a_page_runs(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 0
    assert capsys.readouterr().out.strip()


def test_a_wrong_page_is_noticed() -> None:
    wrong = "```python\nassert 1 == 2\n```\n"
    with pytest.raises(AssertionError):
        run_blocks("wrong.md", blocks_of(wrong))
    run_blocks("skipped.md", blocks_of("<!-- not run: wrong on purpose -->\n" + wrong))
    with pytest.raises(doctest.DocTestFailure):
        run_blocks("wrong.md", blocks_of("```pycon\n>>> 1 + 1\n3\n```\n"))
    assert commands_of(blocks_of("```console\n$ segcrit losses ce  # one loss\n$ make demo\n```\n")) == [
        ["losses", "ce"]
    ]
