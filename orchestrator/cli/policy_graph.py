"""`orchestrator policy graph`: the stages, the flows or the topology as a picture (SVG, Mermaid) or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import exit_codes
from orchestrator.settings import inventory_path, policy_path

if TYPE_CHECKING:
    from orchestrator.domain.policy_graph import Picture

PICTURES = {
    "stages": "what requires what, with gates, votes and flows",
    "flows": "application by partner, and the stage that opens each",
    "topology": "zones, devices with their grain, exits",
}


def add_verb(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `policy graph`."""
    from orchestrator.cli.policy import add_sources

    graph = verbs.add_parser("graph", help="draw the stages, the flows or the topology", description=__doc__)
    add_sources(graph)
    listed = "; ".join(f"{name}: {what}" for name, what in PICTURES.items())
    graph.add_argument("--of", choices=tuple(PICTURES), default="stages", help=f"{listed} (default: stages)")
    form = graph.add_mutually_exclusive_group()
    form.add_argument("--format", choices=("svg", "mermaid"), help="default: svg for --out FILE.svg, else mermaid")
    form.add_argument("--json", action="store_true", help="its nodes and edges as one JSON object")
    graph.add_argument("--out", type=Path, metavar="FILE", help="write there instead of standard output")
    graph.set_defaults(func=run_graph)


def run_graph(arguments: argparse.Namespace) -> int:
    """Exit 0. Raises PolicyError; EnvironmentMissing for an SVG where there is no Graphviz; InputError for --out."""
    from orchestrator.adapters.site_files import read_checked
    from orchestrator.domain.policy_graph import picture

    files = (arguments.inventory or inventory_path(), arguments.policy or policy_path())
    read = read_checked(*files, rehearsal=arguments.rehearsal, untested=True)  # a failing test is what a picture helps to understand
    drawn = picture(arguments.of, read.site, read.policy)
    svg = arguments.format == "svg" or (arguments.format is None and arguments.out is not None and arguments.out.suffix == ".svg")
    text = json.dumps(_as_json(drawn), ensure_ascii=False, indent=2) + "\n" if arguments.json else _drawn(drawn, svg=svg)
    if arguments.out is None:
        sys.stdout.write(text)
    else:
        _write(arguments.out, text)
    return exit_codes.OK


def _drawn(picture: Picture, *, svg: bool) -> str:
    if not svg:
        from orchestrator.cli.graph_mermaid import text_of

        return text_of(picture)
    if picture.of == "flows":
        from orchestrator.adapters import flow_matrix

        return flow_matrix.svg(picture)
    from orchestrator.adapters import graphviz

    return graphviz.svg(picture)


def _write(path: Path, text: str) -> None:
    from orchestrator.errors import UsageError

    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", advice="name a file in a folder that is there") from error


def _as_json(picture: Picture) -> dict[str, Any]:
    return {
        "verb": "policy graph",
        "of": picture.of,
        "title": picture.title,
        "order": list(picture.legend),
        "groups": [{"id": group.id, "title": group.title} for group in picture.groups],
        "nodes": [
            {"id": item.id, "kind": item.kind, "lines": list(item.lines), "title": item.title, "group": item.group, "stage": item.stage}
            for item in picture.vertices
        ],
        "edges": [
            {"from": item.start, "to": item.end, "label": item.label, "title": item.title, "directed": item.directed, "stage": item.stage}
            for item in picture.edges
        ],
    }
