"""The whole compile chain, for every composition: policy → plan → rendered text → parsed back → equal set.

Random small policies, random rules of the site. What is parsed back must be exactly what the policy means, and what the
device then lets through exactly that and what the site lets, by looking at every packet of a small universe alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings

from orchestrator.dialects import dialect_for, ios_acl
from orchestrator.dialects.base import Dialect, Script
from orchestrator.domain.composition import Composition
from orchestrator.domain.composition_programs import passes, program_of
from orchestrator.domain.composition_proof import prove
from orchestrator.domain.layer import DeviceChange, Element
from orchestrator.domain.network import Device, Platform
from orchestrator.domain.packet_elements import box_of, packets_of
from orchestrator.domain.plan import Plan, RenderedScript
from orchestrator.domain.planning import Render
from orchestrator.domain.policy import Policy
from orchestrator.domain.rule_lists import accepted
from tests.unit import composition_cases as cases
from tests.unit.composition_texts import EPOCH, IptablesChains, NftTable
from tests.unit.hand_made import laid

SOME = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def words_of(dialect: Dialect) -> Render:
    """`inner` speaks this dialect, the others their own."""

    def render(device: Device, change: DeviceChange, until: bool) -> tuple[RenderedScript, RenderedScript, RenderedScript]:
        words = dialect if device.name == cases.DEVICE else dialect_for(device.platform)
        scripts = words.open(change), words.confirm(change, until=until), words.close(change)
        opening, confirming, closing = (RenderedScript(kind=one.kind, command=one.command, text=one.text) for one in scripts)
        return opening, confirming, closing

    return render


def opening(plan: Plan) -> Script | None:
    """What the plan sends to open on `inner`; None when everything passes already."""
    found = next((item.open for item in plan.devices if item.device == cases.DEVICE), None)
    return None if found is None else Script(found.command, found.text, found.kind)


def layer_of(chosen: Policy) -> tuple[Element, ...]:
    (layer,) = laid(chosen, "all")[cases.DEVICE]
    return layer.keep


def assert_composes(composition: Composition, chosen: Policy, layer: Sequence[Element], site: Sequence[cases.SiteRule]) -> None:
    """`layer` was parsed back. It is what the policy means, and the device lets through that and what the site lets."""
    parsed = packets_of(layer)
    assert cases.in_set(parsed) == cases.meant(chosen)
    rules = [rule.rule() for rule in site]
    program = program_of(composition, [box_of(element) for element in layer], rules)
    assert cases.in_set(passes(program)) == cases.meant(chosen) & cases.let_by_site(site)
    prove(program, parsed, accepted(rules), device=cases.DEVICE)


@SOME
@given(cases.policies(), cases.SITES)
def test_and_on_nftables(chosen: Policy, site: list[cases.SiteRule]) -> None:
    dialect = dialect_for("nftables")
    script = opening(cases.planned(chosen, words_of(dialect), Platform.NFTABLES, dialect.traits.composition))
    layers = laid(chosen, "all")[cases.DEVICE]
    table = NftTable()
    table.run(dialect.lay(layers[0]))
    if script is not None:
        table.run(script)
    seen = table.read_back()
    assert (seen.epoch, seen.foreign) == (EPOCH, ())
    assert seen.slots == dialect.expected(layers).slots
    assert dialect.traits.composition is Composition.AND
    assert_composes(Composition.AND, chosen, (*layers[0].keep, *seen.opened), site)


@SOME
@given(cases.policies(), cases.SITES)
def test_complement_on_iptables(chosen: Policy, site: list[cases.SiteRule]) -> None:
    dialect = dialect_for("iptables")
    script = opening(cases.planned(chosen, words_of(dialect), Platform.IPTABLES, dialect.traits.composition))
    layers = laid(chosen, "all")[cases.DEVICE]
    chains = IptablesChains()
    chains.lay(dialect.lay(layers[0]))
    now = int(datetime(2026, 6, 23, 21, 0, 0, tzinfo=UTC).timestamp())
    if script is not None:
        chains.change(script, "2026-06-23T21:04:59")
    seen = chains.read_back(now)
    assert (seen.epoch, seen.foreign) == (EPOCH, ())
    assert seen.slots == dialect.expected(layers).slots
    assert [left for _, left in seen.temporary] == [300] * len(seen.opened)
    assert chains.read_back(now + 300).opened == ()
    assert dialect.traits.composition is Composition.COMPLEMENT
    assert not any("ACCEPT" in rule for family in chains.chains.values() for rules in family.values() for rule in rules)
    assert_composes(Composition.COMPLEMENT, chosen, (*layers[0].keep, *seen.opened), site)


@SOME
@given(cases.policies(), cases.SITES)
def test_intersection_as_an_access_list(chosen: Policy, site: list[cases.SiteRule]) -> None:
    plan = cases.planned(chosen, words_of(dialect_for("nftables")), Platform.NFTABLES, Composition.INTERSECTION)
    change = next((item.change for item in plan.devices if item.device == cases.DEVICE), None)
    layer = (*layer_of(chosen), *(change.elements if change else ()))
    passing = set()
    for family in (4, 6):
        # A list without a line lets everything through (test_composition_ios.py); these have one.
        own = [rule for rule in site if rule.source.version == family] or [cases.deny_all(family)]
        text = f"{'ip access-list extended' if family == 4 else 'ipv6 access-list'} SITE\n" + "".join(f"{rule.ios()}\n" for rule in own)
        rendered = ios_acl.compose("CONTAINMENT", family, layer, text)
        passing |= cases.in_set(ios_acl.prove_list(rendered, family, layer, text, device=cases.DEVICE))
    assert passing == cases.meant(chosen) & cases.let_by_site(site)
    assert_composes(Composition.INTERSECTION, chosen, layer, site)


@SOME
@given(cases.policies(), cases.SITES, cases.SITES)
def test_close_only_on_a_router_with_the_firewall_behind_it(
    chosen: Policy, routers: list[cases.SiteRule], firewalls: list[cases.SiteRule]
) -> None:
    plan = cases.planned(chosen, words_of(dialect_for("nftables")), Platform.NFTABLES, Composition.AND)
    router = [rule.rule() for rule in routers]
    assert not passes(program_of(Composition.CLOSE_ONLY, [], router))
    released = {name for item in plan.devices if item.device == "rtr" for name in item.open.command.split()[4:]}
    order = {item.device: item.order for item in plan.devices}
    if cases.meant(chosen):
        assert released == {"up0"} == {name for item in plan.devices if item.device == "rtr" for name in item.change.releases}
        assert all(order["rtr"] > order[name] for name in order if name != "rtr")
    through = passes(program_of(Composition.CLOSE_ONLY, [], router, released=bool(released)))
    change = next((item.change for item in plan.devices if item.device == cases.DEVICE), None)
    pinholes = [box_of(element) for element in (*layer_of(chosen), *(change.elements if change else ()))]
    behind = passes(program_of(Composition.AND, pinholes, [rule.rule() for rule in firewalls]))
    let = cases.meant(chosen) & cases.let_by_site(routers) & cases.let_by_site(firewalls)
    assert cases.in_set(through & behind) == (let if released else set())
