"""The pictures of a policy: what is in them, and that no title can break out of one."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import networkx as nx
import pytest

from orchestrator.adapters import flow_matrix, graphviz
from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.adapters.svg import SVG, clean
from orchestrator.cli.graph_mermaid import text_of
from orchestrator.domain.network import Site, ZoneKind
from orchestrator.domain.policy import Policy, Stage
from orchestrator.domain.policy_graph import Picture, flows_picture, picture, stages_picture, topology_picture
from orchestrator.errors import EnvironmentMissing
from tests.unit.hand_made import SITE, flow, policy, stage

ROOT = Path(__file__).parents[2]
HOSTILE = "\"]; </title><script>x</script> & &lt; %%{init: {}}%% \\N #quot; `a` <b>é|\x00\n]]>'"
WORDS = {"en": HOSTILE, "fr": HOSTILE}
DRAWN = {"svg", "g", "title", "polygon", "path", "text", "ellipse", "rect", "line", "polyline"}
FORMS = ("stages", "flows", "topology")


@lru_cache(maxsize=1)
def valmont() -> tuple[Site, Policy]:
    return read_inventory(ROOT / "inventory/valmont.yml").site, read_policy(ROOT / "policies/valmont").policy


def drawn(chosen: Picture) -> ElementTree.Element:
    text = flow_matrix.svg(chosen) if chosen.of == "flows" else graphviz.svg(chosen)
    assert "<!DOCTYPE" not in text
    assert "href" not in text
    assert not re.search(r"\burl\(|https?:(?!//www\.w3\.org/2000/svg\")", text)
    return ElementTree.fromstring(text)


def titles(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{{{SVG}}}title")]


# --- what is in them ------------------------------------------------------------------------------------------------


def test_stages_show_what_they_require_their_gates_votes_and_flows() -> None:
    _, valmont_policy = valmont()
    found = stages_picture(valmont_policy)
    assert {(edge.start, edge.end) for edge in found.edges} == {
        (needed.stage, one.name) for one in valmont_policy.stages for needed in one.requires
    }
    for vertex in found.vertices:
        one = valmont_policy.stage(vertex.id)
        assert all(name in vertex.title for name in one.flows)
        assert all(f"{count} {role}" in vertex.title for role, count in one.votes.items())
        assert sum(line.startswith("needs ") for line in vertex.lines) == len(one.gates)
    assert [vertex.id for vertex in found.vertices] == list(found.legend)
    assert next(edge.label for edge in found.edges if edge.start == "P4-images") == "open for 7d"


def test_joined_gates_are_written_with_and_and_or() -> None:
    a, b, c = ({"evidence": name, "title": WORDS} for name in "abc")
    gates = [{"any_of": [a, {"all_of": [b, c]}]}]
    (vertex,) = stages_picture(policy(flow(), stages=(stage("flow", gates=gates),))).vertices
    (line,) = [line for line in vertex.lines if line.startswith("needs ")]
    assert line == f"needs a: {HOSTILE} or (b: {HOSTILE} and c: {HOSTILE})"


def test_flows_are_one_edge_per_partner_with_their_direction_and_stage() -> None:
    _, valmont_policy = valmont()
    found = flows_picture(valmont_policy)
    stage_of = {name: one.name for one in valmont_policy.stages for name in one.flows}
    expected = []
    for one in valmont_policy.flows:
        for partner in one.partners:
            ends = [f"partner {partner}", f"application {one.application}"]
            expected.append((*(ends if one.direction == "in" else ends[::-1]), stage_of[one.name]))
    assert sorted((edge.start, edge.end, found.legend[edge.stage or 0]) for edge in found.edges) == sorted(expected)
    group = {vertex.id: vertex.group for vertex in found.vertices}
    assert group["application mail"] == "zone dmz-in"
    assert group["partner sister"] == "zone ght"


def test_topology_holds_every_zone_device_and_exit_and_nothing_of_management() -> None:
    site, _ = valmont()
    found = topology_picture(site)
    ids = {vertex.id for vertex in found.vertices} | {group.id for group in found.groups}
    for zone in site.zones:
        assert (f"zone {zone.name}" in ids) is (zone.kind is not ZoneKind.MANAGEMENT)
    assert {f"device {device.name}" for device in site.devices} <= ids
    words = {vertex.id: vertex.lines for vertex in found.vertices}
    assert "grain port+flow" in words["device sw-dmz"]
    assert not any("oob" in edge.start + edge.end for edge in found.edges)
    graph: nx.Graph[str] = nx.Graph()
    graph.add_edges_from((edge.start, edge.end) for edge in found.edges)
    for exit_ in site.exits:  # an exit is what stands between its device and the outside
        neighbours = set(graph.neighbors(f"exit {exit_.name}"))
        assert f"device {exit_.device}" in neighbours
        assert len(neighbours) == 2
        assert f"grain {'+'.join(grain.value for grain in site.device(exit_.device).grain)}" in words[f"exit {exit_.name}"]


@pytest.mark.parametrize("of", FORMS)
def test_every_node_and_edge_of_valmont_is_drawn_with_its_title(of: str) -> None:
    chosen = picture(of, *valmont())
    found = titles(drawn(chosen))
    assert found[0] == chosen.title
    assert {vertex.title for vertex in chosen.vertices} <= set(found)
    assert {edge.title for edge in chosen.edges} <= set(found)


@pytest.mark.parametrize("of", FORMS)
def test_mermaid_names_every_node_and_edge_once(of: str) -> None:
    chosen = picture(of, *valmont())
    text = text_of(chosen)
    assert text.startswith("flowchart ")
    lines = [line.strip() for line in text.splitlines()]
    assert len([line for line in lines if re.match(r"v\d+[\[({]", line)]) == len(chosen.vertices)
    assert len([line for line in lines if re.match(r"v\d+ --[->]", line)]) == len(chosen.edges)
    assert lines.count("end") == len(chosen.groups)


# --- titles that would rather be something else ---------------------------------------------------------------------


def hostile() -> Policy:
    one: Stage = stage("flow", title=WORDS, gates=[{"evidence": "e", "title": WORDS}])
    applications = [
        {"name": "app", "title": WORDS, "zone": "inside", "owner": "o", "criteria": {"care": "high", "volume": "low", "risk": "low"}}
    ]
    return policy(flow(), stages=(one,), applications=applications)


def hostile_site() -> Site:
    segments = tuple(item.model_copy(update={"description": HOSTILE}) for item in SITE.segments)
    return SITE.model_copy(update={"segments": segments})


@pytest.mark.parametrize("of", FORMS)
def test_no_title_breaks_out_of_an_svg(of: str) -> None:
    root = drawn(picture(of, hostile_site(), hostile()))
    assert {element.tag.removeprefix(f"{{{SVG}}}") for element in root.iter()} <= DRAWN
    assert any(clean(HOSTILE) in title for title in titles(root))


def test_what_is_written_in_a_box_is_the_title_itself() -> None:
    root = drawn(stages_picture(hostile()))
    written = " ".join((element.text or "").strip("\N{NO-BREAK SPACE} ") for element in root.iter(f"{{{SVG}}}text"))
    assert " ".join(clean(HOSTILE).split()) in " ".join(written.split())


@pytest.mark.parametrize("of", FORMS)
def test_no_title_breaks_out_of_a_mermaid_label(of: str) -> None:
    text = text_of(picture(of, hostile_site(), hostile()))
    labels = re.findall(r'"([^"]*)"', text)
    assert text.count('"') == 2 * len(labels)
    for label in labels:
        for piece in label.split("<br/>"):
            assert re.fullmatch(r"(?:[\w .,:()/+\-'’→←–·\ufffd]|#\d+;)*", piece), piece
    assert "%%" not in text
    if of == "stages":  # the other two write names and services only; titles are for the SVG
        back = [re.sub(r"#(\d+);", lambda found: chr(int(found[1])), label) for label in labels]
        assert any(clean(HOSTILE) in label for label in back)


# --- Graphviz -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["dot-that-is-not-here", "false"])
def test_without_graphviz_it_says_what_to_install_and_what_works_without(program: str) -> None:
    with pytest.raises(EnvironmentMissing) as refusal:
        graphviz.svg(stages_picture(hostile()), program=program)
    assert program in str(refusal.value)
    assert "apt-get install graphviz" in refusal.value.advice
    assert "mermaid" in refusal.value.advice
