"""A picture as Mermaid text: many editors and web pages draw it, and it needs no program here.

Inside a label everything but letters, digits and harmless signs is written as its number (`#34;`): Mermaid looks for
directives (`%%{`), links and markup even between quotes.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.adapters.svg import clean, colour_of
from orchestrator.domain.policy_graph import Edge, Picture, Vertex

_HARMLESS = frozenset(" .,:()/+-_'’→←–·")
_SHAPES = {
    "stage": ("(", ")"), "lift": ("([", "])"), "application": ("[", "]"), "partner": ("(", ")"), "zone": ("([", "])"),
    "segment": ("([", "])"), "device": ("[", "]"), "exit": ("{{", "}}"), "outside": ("[/", "/]"),
}  # fmt: skip


def text_of(picture: Picture) -> str:
    """One Mermaid flowchart."""
    return "\n".join([*_lines(picture), ""])


def _lines(picture: Picture) -> Iterator[str]:
    ids = {vertex.id: f"v{number}" for number, vertex in enumerate(picture.vertices)}
    yield f"flowchart {'TB' if picture.of == 'stages' else 'LR'}"
    yield f"  accTitle: {clean(picture.title)}"
    for number, group in enumerate(picture.groups):
        yield f'  subgraph g{number}["{_escaped(group.title)}"]'
        yield from (f"    {_vertex(vertex, ids)}" for vertex in picture.vertices if vertex.group == group.id)
        yield "  end"
    yield from (f"  {_vertex(vertex, ids)}" for vertex in picture.vertices if vertex.group is None)
    yield from (f"  {_edge(edge, ids)}" for edge in picture.edges)
    for stage in sorted({vertex.stage for vertex in picture.vertices if vertex.stage is not None}):
        yield f"  classDef s{stage} fill:{colour_of(stage)},stroke:#666,color:#000"
        yield f"  class {','.join(ids[vertex.id] for vertex in picture.vertices if vertex.stage == stage)} s{stage}"


def _vertex(vertex: Vertex, ids: dict[str, str]) -> str:
    opens, closes = _SHAPES[vertex.kind]
    return f'{ids[vertex.id]}{opens}"{"<br/>".join(map(_escaped, vertex.lines))}"{closes}'


def _edge(edge: Edge, ids: dict[str, str]) -> str:
    label = f'|"{_escaped(edge.label)}"|' if edge.label else ""
    return f"{ids[edge.start]} {'-->' if edge.directed else '---'}{label} {ids[edge.end]}"


def _escaped(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in _HARMLESS else f"#{ord(letter)};" for letter in clean(text)) or " "
