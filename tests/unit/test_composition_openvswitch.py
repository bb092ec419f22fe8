"""The compile chain with the entries of an Open vSwitch switch (see test_composition_chain)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hypothesis import given

from orchestrator.dialects import dialect_for
from orchestrator.dialects.openvswitch_flow_readback import read_entry
from orchestrator.dialects.openvswitch_flows import Entry, element_of
from orchestrator.domain.composition import Composition
from orchestrator.domain.layer import Element
from orchestrator.domain.network import Platform
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.policy import Policy
from tests.unit import composition_cases as cases
from tests.unit.composition_texts import EPOCH
from tests.unit.hand_made import laid
from tests.unit.test_composition_chain import SOME, assert_composes, opening, words_of


def openflow_elements(lines: Iterable[str]) -> tuple[Element, ...]:
    """The elements that OpenFlow entries in a script are, by their cookies."""
    found: dict[int, list[Entry]] = {}
    for line in lines:
        plain = re.sub(r"table=(\$table|@THIS@)", "table=100", line.removeprefix("add ").replace("check_overlap,", ""))
        entry = read_entry(plain.replace(",actions=", " actions="))
        found.setdefault(entry.cookie, []).append(entry)
    elements = [element_of(entries) for entries in found.values()]
    assert None not in elements, "an opening that is no element"
    return tuple(element for element in elements if element is not None)


@SOME
@given(cases.policies(), cases.SITES)
def test_resubmit_on_openvswitch(chosen: Policy, site: list[cases.SiteRule]) -> None:
    dialect = dialect_for("openvswitch")
    assert dialect.traits.composition is Composition.RESUBMIT
    script = opening(cases.planned(chosen, words_of(dialect), Platform.OPENVSWITCH, Composition.RESUBMIT))
    sent = script.filled(epoch=EPOCH, confirm=300).text.splitlines() if script is not None else []
    opened = openflow_elements(line for line in sent if line.startswith("add check_overlap"))
    (layer,) = laid(chosen, "all")[cases.DEVICE]
    file = re.search(r"<<'LAYER'[^\n]*\n(.*?)\nLAYER$", dialect.lay(layer).text, re.S | re.M)
    assert file is not None
    kept = openflow_elements(line for line in file[1].splitlines() if re.search(r",priority=(29|30),", line))
    assert packets_of(kept) == packets_of(layer.keep)
    assert_composes(Composition.RESUBMIT, chosen, (*kept, *opened), site)
