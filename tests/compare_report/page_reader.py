"""Reads a report as a strict parser would: every tag closed, and what is on the page by section and table."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "hr", "link", "wbr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def find(self, tag: str, **attributes: str) -> list[Element]:
        """All elements below this one, in the order of the page; ``class_`` looks for one of the classes."""
        wanted_class = attributes.pop("class_", None)
        found = []
        for child in self.children:
            if isinstance(child, str):
                continue
            fits = child.tag == tag and all(child.attributes.get(key) == value for key, value in attributes.items())
            if fits and (wanted_class is None or wanted_class in child.attributes.get("class", "").split()):
                found.append(child)
            found += child.find(tag, **attributes, **({} if wanted_class is None else {"class_": wanted_class}))
        return found

    def everything(self) -> list[Element]:
        found = [self]
        for child in self.children:
            if not isinstance(child, str):
                found += child.everything()
        return found


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("document", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # In SVG <path/> is closed; in HTML a "/" would be ignored.
        assert any(element.tag == "svg" for element in self.open), f"<{tag}/> outside an svg"
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read_page(text: str) -> Element:
    """The page as a tree; fails where a tag is not closed in order."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert [element.tag for element in reader.open] == ["document"], "not every element is closed"
    return reader.root


def table_rows(table: Element) -> list[list[str]]:
    """The texts of a table's cells, white space folded."""
    return [
        [" ".join(cell.text.split()) for cell in row.children if isinstance(cell, Element) and cell.tag in ("th", "td")]
        for row in table.find("tr")
    ]
