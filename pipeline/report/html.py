"""HTML as text that is escaped unless it was made here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from pipeline.text import printable

VOID = frozenset({"br", "img", "link", "meta"})  # elements that have no end tag


class Markup(str):
    """HTML; any other text is escaped when it becomes part of some."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element: `tag("th", label, scope="row")`.

    Parameters
    ----------
    name : str
    *children
        `Markup` stays as it is, None is nothing, lists and the like are taken one by one; the text of
        anything else is escaped, what controls a terminal or turns the direction of writing is spelled out.
    **attributes
        `class_` is `class`, `aria_label` is `aria-label`; None and False are left out, True is a name alone.
    """
    given = "".join(_attribute(key, value) for key, value in attributes.items() if value not in (None, False))
    return Markup(f"<{name}{given}>" if name in VOID else f"<{name}{given}>{join(*children)}</{name}>")


def join(*children: object) -> Markup:
    """Children as of `tag`, one after the other."""
    return Markup("".join(map(_text, children)))


def table(caption: str, header: Sequence[object], rows: Iterable[Sequence[object]], *, class_: str = "") -> Markup:
    """A table whose first column names the rows; on a narrow screen it scrolls by itself.

    A cell that is a `td` already stays as it is.
    """
    head = tag("thead", tag("tr", [tag("th", cell, scope="col") for cell in header]))
    body = tag(
        "tbody", [tag("tr", tag("th", first, scope="row"), [_cell(cell) for cell in rest]) for first, *rest in rows]
    )
    whole = tag("table", tag("caption", caption), head, body, class_=class_ or None)
    return tag("div", whole, class_="scroll", role="region", aria_label=caption, tabindex="0")


def _cell(cell: object) -> Markup:
    return cell if isinstance(cell, Markup) and cell.startswith("<td") else tag("td", cell)


def _text(child: object) -> str:
    if child is None or isinstance(child, Markup):
        return child or ""
    if isinstance(child, Iterable) and not isinstance(child, str):
        return join(*child)
    return _escaped(child)


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_escaped(value)}"'


def _escaped(value: object) -> str:
    return html.escape(printable(str(value)))
