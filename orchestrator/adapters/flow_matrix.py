"""The flows as a matrix: a row per application, a column per partner, in each cell the stage that opens it.

A matrix needs no layout program: rows and columns stand where they are counted. `←` comes in, `→` goes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from xml.etree.ElementTree import Element, SubElement

from orchestrator.adapters.svg import FONT, NO_STAGE, SVG, as_document, clean, colour_of
from orchestrator.domain.policy_graph import Edge, Picture, Vertex

CELL, LINE, HEAD, MARGIN = 46, 18, 16, 12  # pixels: width of a cell, height of a line in it, height of a zone's head
LETTER = 6.6  # width of a letter at 12 pixels, rounded up
ARROWS = {True: "←", False: "→"}


def svg(picture: Picture) -> str:
    """The picture of the flows as one SVG document."""
    rows = [item for item in picture.vertices if item.kind == "application"]
    columns = [item for item in picture.vertices if item.kind == "partner"]
    cells = _cells(picture)
    left = MARGIN + max((_width(item.id) for item in rows), default=0)
    top = MARGIN + HEAD + max((_width(item.id) for item in columns), default=0)
    width = left + CELL * len(columns) + MARGIN
    root = Element(f"{{{SVG}}}svg", {"font-family": FONT, "font-size": "12"})
    background = _add(root, "rect", fill=NO_STAGE, x=0, y=0)
    _columns(root, columns, left, top)
    y: float = top
    for zone, members in groupby(rows, key=lambda item: item.group):
        _add(root, "rect", x=MARGIN, y=y, width=width - 2 * MARGIN, height=HEAD, fill="#e8e8e8")
        _write(root, MARGIN + 4, y + HEAD - 4, zone or "", fill="#444444")
        y += HEAD
        for row in members:
            height = LINE * max([1, *(len(cells.get((row.id, column.id), ())) for column in columns)])
            _row(root, row, columns, cells, left, y, height)
            y += height
    y = _legend(root, picture.legend, y + MARGIN, width)
    for element in (root, background):
        element.set("width", f"{width:.0f}")
        element.set("height", f"{y + MARGIN:.0f}")
    root.set("viewBox", f"0 0 {width:.0f} {y + MARGIN:.0f}")
    return as_document(root, picture.title)


def _cells(picture: Picture) -> dict[tuple[str, str], list[Edge]]:
    found: dict[tuple[str, str], list[Edge]] = {}
    for edge in picture.edges:
        ends = (edge.start, edge.end) if edge.start.startswith("application ") else (edge.end, edge.start)
        found.setdefault(ends, []).append(edge)
    return found


def _columns(root: Element, columns: Sequence[Vertex], left: float, top: float) -> None:
    x = left
    for zone, members in groupby(columns, key=lambda item: item.group):
        listed = list(members)
        _add(root, "rect", x=x + 1, y=MARGIN, width=CELL * len(listed) - 2, height=HEAD, fill="#e8e8e8")
        _write(root, x + 4, MARGIN + HEAD - 4, zone or "", fill="#444444", room=CELL * len(listed) - 6)
        for column in listed:
            middle = x + CELL / 2 + 4
            _titled(_write(root, middle, top - 6, _name(column), transform=f"rotate(-90 {middle:.0f} {top - 6:.0f})"), column.title)
            x += CELL


def _row(
    root: Element, row: Vertex, columns: Sequence[Vertex], cells: dict[tuple[str, str], list[Edge]], left: float, y: float, height: float
) -> None:
    _titled(_write(root, MARGIN + 4, y + height / 2 + 4, _name(row)), row.title)
    _add(root, "line", x1=MARGIN, x2=left + CELL * len(columns), y1=y + height, y2=y + height, stroke="#cccccc")
    for number, column in enumerate(columns):
        flows = cells.get((row.id, column.id), [])
        for place, edge in enumerate(flows):
            group = SubElement(root, f"{{{SVG}}}g")
            _titled(group, edge.title)
            x, part = left + CELL * number, height / len(flows)
            _add(group, "rect", x=x + 1, y=y + part * place + 1, width=CELL - 2, height=part - 2, fill=colour_of(edge.stage), rx=3)
            text = f"{ARROWS[edge.end == row.id]} {edge.label.partition(' ')[0] if edge.stage is not None else '?'}"
            _write(group, x + CELL / 2, y + part * place + part / 2 + 4, text, room=CELL - 4, **{"text-anchor": "middle"})


def _legend(root: Element, stages: Sequence[str], y: float, width: float) -> float:
    """The stages with their colours, in lines as wide as the matrix. Returns where it ends."""
    x: float = MARGIN
    for number, name in enumerate(stages):
        needed = 24 + LETTER * len(name) + 16
        if x + needed > width and x > MARGIN:
            x, y = MARGIN, y + LINE + 4
        _add(root, "rect", x=x, y=y, width=18, height=LINE - 4, fill=colour_of(number), stroke="#888888", rx=3)
        _write(root, x + 24, y + LINE - 7, name)
        x += needed
    return y + LINE


def _name(vertex: Vertex) -> str:
    return vertex.lines[0]


def _width(vertex_id: str) -> float:
    return LETTER * len(vertex_id.partition(" ")[2]) + 14


def _add(parent: Element, tag: str, **attributes: str | float) -> Element:
    return SubElement(parent, f"{{{SVG}}}{tag}", dict(_written(attributes)))


def _written(attributes: dict[str, str | float]) -> Iterator[tuple[str, str]]:
    yield from ((name, value if isinstance(value, str) else f"{value:g}") for name, value in attributes.items())


def _write(parent: Element, x: float, y: float, text: str, *, room: float | None = None, **attributes: str) -> Element:
    """Text; squeezed when it is longer than its room."""
    element = _add(parent, "text", x=x, y=y, **attributes)
    element.text = clean(text)
    if room is not None and LETTER * len(element.text) > room:
        element.set("textLength", f"{room:g}")
        element.set("lengthAdjust", "spacingAndGlyphs")
    return element


def _titled(element: Element, title: str) -> None:
    SubElement(element, f"{{{SVG}}}title").text = clean(title)
