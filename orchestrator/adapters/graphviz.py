"""Pictures laid out by Graphviz (`dot`), as SVG that stands by itself.

`dot` gets names of ours (`v0`, `e0`) and every text escaped as XML inside a label, so that no title can end a label or
begin something else. Its answer is read as XML; what it calls a title (our `v0`) is replaced by the title for people.
"""

from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Iterable, Iterator
from html import escape
from xml.etree import ElementTree

from orchestrator.adapters.svg import FONT, SVG, as_document, clean, colour_of
from orchestrator.domain.policy_graph import Edge, Picture, Vertex
from orchestrator.errors import EnvironmentMissing

LONGEST_S = 60.0
WIDTH = 46  # characters of a line in a box
_SHAPES = {
    "stage": 'shape=box, style="rounded,filled"', "lift": 'shape=box, style="rounded,filled,bold"',
    "application": 'shape=box, style="filled"', "partner": 'shape=box, style="rounded,filled"',
    "zone": 'shape=ellipse, style="filled", fillcolor="#eef3ea"', "segment": 'shape=ellipse, style="filled", fillcolor="#ffffff"',
    "device": 'shape=box, style="filled", fillcolor="#d9e6f7"', "exit": 'shape=box, style="rounded,filled", fillcolor="#f6c6c6"',
    "outside": 'shape=box, style="dashed"',
}  # fmt: skip


def svg(picture: Picture, *, program: str = "dot") -> str:
    """The picture as one SVG document. Raises EnvironmentMissing when `dot` is not there or does not do it."""
    advice = "apt-get install graphviz, or ask for --format mermaid, which needs nothing"
    try:
        answer = subprocess.run(
            [program, "-Tsvg"], input=dot_of(picture), capture_output=True, text=True, encoding="utf-8", timeout=LONGEST_S, check=False
        )
    except FileNotFoundError:
        raise EnvironmentMissing(f"there is no `{program}` (Graphviz) on this machine to lay the picture out", advice=advice) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentMissing(f"`{program}` (Graphviz) did not lay the picture out: {error}", advice=advice) from error
    if answer.returncode != 0:
        why = answer.stderr.strip() or f"exit code {answer.returncode}"
        raise EnvironmentMissing(f"`{program}` (Graphviz) did not lay the picture out: {why}", advice=advice)
    return as_document(_titled(ElementTree.fromstring(answer.stdout), picture), picture.title)


def dot_of(picture: Picture) -> str:
    """The picture in the language of `dot`."""
    ids = {vertex.id: f"v{number}" for number, vertex in enumerate(picture.vertices)}
    groups = {group.id: f"g{number}" for number, group in enumerate(picture.groups)}
    found = ["digraph picture {"]
    direction = "TB" if picture.of == "stages" else "LR"
    found.append(f'  graph [rankdir={direction}, newrank=true, fontname="{FONT}", fontsize=11, ranksep=0.45, nodesep=0.2, pad=0.2]')
    found.append(f'  node [fontname="{FONT}", fontsize=11, margin="0.12,0.07"]')
    found.append(f'  edge [fontname="{FONT}", fontsize=10, color="#444444"]')
    for group in picture.groups:
        name = groups[group.id]
        found.append(f'  subgraph cluster_{name} {{ id="{name}"; label=<{_text(group.title)}>; style="rounded"; color="#888888"')
        found += [f"    {line}" for line in _vertices(picture, ids, group.id)]
        found.append("  }")
    found += [f"  {line}" for line in _vertices(picture, ids, None)]
    found += [f"  {_edge(edge, ids, f'e{number}')}" for number, edge in enumerate(picture.edges)]
    return "\n".join([*found, "}", ""])


def _vertices(picture: Picture, ids: dict[str, str], group: str | None) -> Iterator[str]:
    for vertex in picture.vertices:
        if vertex.group == group:
            colour = f', fillcolor="{colour_of(vertex.stage)}"' if vertex.stage is not None else ""
            yield f'{ids[vertex.id]} [id="{ids[vertex.id]}", {_SHAPES[vertex.kind]}{colour}, label=<{_label(vertex)}>]'


def _label(vertex: Vertex) -> str:
    """The name in bold, then the other lines; long ones go on in the next line."""
    name, *rest = vertex.lines
    if vertex.kind not in ("stage", "lift"):
        return "<BR/>".join([f"<B>{_text(name)}</B>", *map(_text, rest)])
    wrapped = [piece for line in rest for piece in _wrapped(line)]
    return f'<B>{_text(name)}</B><BR ALIGN="LEFT"/>' + "".join(f'{_text(line)}<BR ALIGN="LEFT"/>' for line in wrapped)


def _wrapped(line: str) -> Iterable[str]:
    return textwrap.wrap(clean(line), WIDTH, subsequent_indent="\N{NO-BREAK SPACE}" * 4, break_on_hyphens=False) or [" "]


def _edge(edge: Edge, ids: dict[str, str], name: str) -> str:
    label = f", label=<{_text(edge.label)}>" if edge.label else ""
    return f'{ids[edge.start]} -> {ids[edge.end]} [id="{name}"{label}{"" if edge.directed else ", dir=none"}]'


def _text(text: str) -> str:
    """As XML, which is what a label between < and > is; `dot` puts our names in the place of \\N, \\G and others even there."""
    return escape(clean(text), quote=True).replace("\\", "\\\\") or " "


def _titled(root: ElementTree.Element, picture: Picture) -> ElementTree.Element:
    """With the titles for people in place of the names that `dot` knows."""
    titles = {f"v{number}": vertex.title for number, vertex in enumerate(picture.vertices)}
    titles |= {f"e{number}": edge.title for number, edge in enumerate(picture.edges)}
    titles |= {f"g{number}": group.title for number, group in enumerate(picture.groups)}
    for element in root.iter(f"{{{SVG}}}g"):
        title = element.find(f"{{{SVG}}}title")
        if title is not None:
            title.text = clean(titles.get(element.get("id", ""), picture.title))
    return root
