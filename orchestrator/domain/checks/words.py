"""The words that joined the language later: that what they name exists, and that they make sense together.

Names are of the first pass (each by itself), the rest of the second.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from orchestrator.domain.checks.gate_places import placed
from orchestrator.domain.checks.problem import Key, Problem, in_policy, one_of
from orchestrator.domain.expectation_points import needed
from orchestrator.domain.gates import CareGate, EradicationGate, NoAlertGate, PartnerWitnessGate, PredecessorGate, SingleGate
from orchestrator.domain.network import Prefix, Site, ZoneKind
from orchestrator.domain.policy import Policy, Stage

INSIDE = (ZoneKind.INTERNAL, ZoneKind.DMZ)


def names(site: Site, policy: Policy) -> Iterator[Problem]:
    """Persons, zones, tests, stages and flows that the later words refer to."""
    known: Mapping[str, Collection[str]] = {
        "zone": [zone.name for zone in site.zones],
        "device": [device.name for device in site.devices],
        "application": [item.name for item in policy.applications],
        "partner": [item.name for item in policy.partners],
        "flow": [item.name for item in policy.flows],
        "care assertion": [item.name for item in policy.care],
        "profile": [item.name for item in policy.profiles],
        "stage": [item.name for item in policy.stages],
        "person": [item.name for item in policy.people],
        "test": [item.name for item in policy.tests],
    }
    for path, kind, name in _references(policy):
        if name not in known[kind]:
            yield in_policy(*path, message=f"unknown {kind} {name!r}", advice=one_of(name, known[kind]))


def timezone(site: Site, policy: Policy) -> Iterator[Problem]:
    """What weekly windows are written in is a time zone that computers know."""
    del site
    try:
        ZoneInfo(policy.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones, or a way out of it, is none either
        message = f"{policy.timezone!r} is no time zone of the IANA database"
        advice = (
            f"write it like Europe/Paris; {one_of(policy.timezone, available_timezones())}" if policy.timezone else "write Europe/Paris"
        )
        yield in_policy("timezone", message=message, advice=advice)


def _references(policy: Policy) -> Iterator[tuple[tuple[Key, ...], str, str]]:
    """(where it stands, what kind of thing it names, the name)"""
    for index, zone in enumerate(policy.compromised):
        yield ("compromised", index), "zone", zone
    for flow in policy.flows:
        here = ("flows", flow.name)
        yield from _maybe((*here, "owner"), "person", flow.owner)
        yield from _maybe((*here, "technical_owner"), "person", flow.technical_owner)
        if flow.ipsec is not None:
            yield from _maybe((*here, "ipsec", "terminates_on"), "device", flow.ipsec.terminates_on)
    for stage in policy.stages:
        start = ("stages", stage.name)
        yield from _each((*start, "checks"), "test", stage.checks)
        yield from _each((*start, "back_first"), "flow", stage.back_first)
        for index, needs in enumerate(stage.requires):
            yield from _each((*start, "requires", index, "flows"), "flow", needs.flows)
        for path, gate in placed(stage):
            yield from _of_gate(path, gate)
    for test in policy.tests:
        yield from _maybe(("tests", test.name, "profile"), "profile", test.profile)
        yield from _each(("tests", test.name, "after"), "stage", test.after)
        yield from _maybe(("tests", test.name, "until"), "stage", test.until)
    for lent in policy.delegations:
        yield ("delegations", lent.name, "giver"), "person", lent.giver
        yield ("delegations", lent.name, "taker"), "person", lent.taker
        yield from _each(("delegations", lent.name, "applications"), "application", lent.applications)
    for duty in policy.duties:
        for index, turn in enumerate(duty.turns):
            yield ("duties", duty.name, "turns", index, "person"), "person", turn.person
    for due in policy.obligations:
        yield from _each(("obligations", due.name, "flows"), "flow", due.flows)
        yield from _maybe(("obligations", due.name, "owner"), "person", due.owner)


def _of_gate(path: tuple[Key, ...], gate: SingleGate) -> Iterator[tuple[tuple[Key, ...], str, str]]:
    yield from _each((*path, "partners"), "partner", gate.partners)
    if isinstance(gate, PredecessorGate):
        yield (*path, "predecessor"), "stage", gate.predecessor
    elif isinstance(gate, PartnerWitnessGate):
        yield (*path, "partner_witness"), "stage", gate.partner_witness
        yield from _each((*path, "contacts_of"), "partner", gate.contacts_of)
    elif isinstance(gate, NoAlertGate):
        yield from _each((*path, "coverage"), "zone", gate.coverage)
    elif isinstance(gate, EradicationGate):
        yield from _each((*path, "eradication"), "zone", gate.eradication)
    elif isinstance(gate, CareGate):
        yield from _each((*path, "care"), "care assertion", gate.care)


def _each(path: tuple[Key, ...], kind: str, listed: tuple[str, ...]) -> Iterator[tuple[tuple[Key, ...], str, str]]:
    for index, name in enumerate(listed):
        yield (*path, index), kind, name


def _maybe(path: tuple[Key, ...], kind: str, name: str | None) -> Iterator[tuple[tuple[Key, ...], str, str]]:
    if name is not None:
        yield path, kind, name


# --- together --------------------------------------------------------------------------------------------------------


def compromised(site: Site, policy: Policy) -> Iterator[Problem]:
    """A compromised zone is one of the inside, and some profile cuts it off."""
    for index, name in enumerate(policy.compromised):
        where = ("compromised", index)
        if site.zone(name).kind not in INSIDE:
            message = f"the zone {name} is {site.zone(name).kind.value}: only zones of the inside can be called compromised"
            yield in_policy(*where, message=message, advice="name internal zones or DMZs")
        elif name in policy.compromised[:index]:
            yield in_policy(*where, message=f"{name} is named twice", advice="name each zone once")
        elif not any(name in profile.cuts for profile in policy.profiles):
            message = f"{name} is compromised, but no profile isolates it"
            yield in_policy(*where, message=message, advice=f"add {name} to the `cuts` of a profile, with a guard that separates it")


def stages(site: Site, policy: Policy) -> Iterator[Problem]:
    """Windows, how long an opening lasts, what goes back first, what a stage's gates and requirements are confined to."""
    del site
    for stage in policy.stages:
        here = ("stages", stage.name)
        yield from _window(policy, stage)
        yield from _lasting(stage)
        yield from _own(stage, (*here, "back_first"), stage.back_first, "goes back first")
        for index, needs in enumerate(stage.requires):
            yield from _own(stage, (*here, "requires", index, "flows"), needs.flows, f"waits for {needs.stage}")
        partners = {name for flow in stage.flows for name in policy.flow(flow).partners}
        if stage.partners is not None:
            partners &= set(stage.partners)
        for path, gate in placed(stage):
            for index, name in enumerate(gate.partners):
                if name not in partners:
                    message = f"the gate {gate.id} is for {name}, to whom {stage.name} opens nothing"
                    yield in_policy(*path, "partners", index, message=message, advice=one_of(name, partners))


def _window(policy: Policy, stage: Stage) -> Iterator[Problem]:
    closing = [name for name in stage.flows if policy.flow(name).on_expiry == "close"]
    if stage.window is not None and len(closing) < len(stage.flows):
        other = next(name for name in stage.flows if name not in closing)
        message = f"{stage.name} opens in dated windows, but {other} does not close by itself"
        advice = f"say `on_expiry: close` on {other}, or open it in a stage of its own"
        yield in_policy("stages", stage.name, "window", message=message, advice=advice)
    if stage.window is None and stage.open_for is not None and 0 < len(closing) < len(stage.flows):
        other = next(name for name in stage.flows if name not in closing)
        message = f"after {_told(stage.open_for)}, {closing[0]} closes by itself and {other} does not: one plan cannot do both"
        advice = f"open {closing[0]} in a stage of its own, or say the same `on_expiry` on both"
        yield in_policy("stages", stage.name, "flows", stage.flows.index(closing[0]), message=message, advice=advice)
    if stage.window is None and stage.open_for is None and closing:
        message = f"{closing[0]} closes by itself, but {stage.name} opens in no dated window, and for no time"
        advice = "add `window: {longest: 8h}` or `open_for: 8h` to the stage, or remove `on_expiry: close` from the flow"
        yield in_policy("stages", stage.name, "flows", stage.flows.index(closing[0]), message=message, advice=advice)
    if stage.window is not None and stage.window.longest <= stage.confirm_window:
        message = f"the longest window of {stage.name} is over before the opening is confirmed ({_told(stage.confirm_window)})"
        yield in_policy("stages", stage.name, "window", "longest", message=message, advice="make it longer than `confirm_window`")


def _lasting(stage: Stage) -> Iterator[Problem]:
    if stage.open_for is None:
        return
    where = ("stages", stage.name, "open_for")
    if stage.lifts:
        message = f"{stage.name} lifts the layer: there is no opening that could end"
        yield in_policy(*where, message=message, advice="remove `open_for`")
    elif stage.window is not None:
        message = f"{stage.name} says twice how long it is open: `window` and `open_for`"
        yield in_policy(*where, message=message, advice="keep `window`: its end is announced with each opening")
    elif stage.open_for <= max(stage.observation, stage.confirm_window):
        message = (
            f"{stage.name} is open for {_told(stage.open_for)}, which is over before it has been observed ({_told(stage.observation)})"
        )
        yield in_policy(*where, message=message, advice="make it longer than `observation`")


def _own(stage: Stage, where: tuple[Key, ...], listed: tuple[str, ...], what: str) -> Iterator[Problem]:
    for index, name in enumerate(listed):
        if name not in stage.flows:
            message = f"{name} {what}, but {stage.name} does not open it"
            yield in_policy(*where, index, message=message, advice=one_of(name, stage.flows))
        elif name in listed[:index]:
            yield in_policy(*where, index, message=f"{name} is named twice", advice="name each flow once")


def tests(site: Site, policy: Policy) -> Iterator[Problem]:
    """A test asks at a point that there is, and a stage's `checks` ask what is known of that point."""
    del site
    for test in policy.tests:
        if test.until is not None and test.until in needed(policy, test.after):
            message = f"{test.name} asks until {test.until}, but after {', '.join(test.after)}, which {test.until} comes before"
            yield in_policy("tests", test.name, "until", message=message, advice="name a later stage, or an earlier `after`")
    known = {test.name: test for test in policy.tests}
    for stage in policy.stages:
        there = needed(policy, (stage.name,))
        for index, name in enumerate(stage.checks):
            where, test = ("stages", stage.name, "checks", index), known[name]
            later = sorted(needed(policy, test.after) - there)
            if later:
                message = f"the test {name} is about {later[0]}, which need not be open when {stage.name} is verified"
                yield in_policy(*where, message=message, advice=f"name a test whose `after` is {stage.name} or earlier")
            elif test.until in there:
                message = f"the test {name} ends with {test.until}, which is open when {stage.name} is verified"
                yield in_policy(*where, message=message, advice="name a test that holds afterwards as well")


def kinds(site: Site, policy: Policy) -> Iterator[Problem]:
    """What a partner's kind says: who can sign an attestation, who may be everybody, whose visits end by themselves."""
    del site
    for partner in policy.partners:
        here = ("partners", partner.name)
        for key, asked in (("attestation", partner.attestation), ("our_attestation", partner.our_attestation)):
            if asked and partner.kind in ("patients", "public", "staff"):
                message = f"{partner.name} ({partner.kind}) is nobody who could sign or take an attestation"
                yield in_policy(*here, key, message=message, advice="remove it, or name the organisation behind it as a partner")
            elif asked and not partner.contact:
                message = f"{partner.name} has an attestation to deal with, but no contact"
                yield in_policy(*here, key, message=message, advice="add `contact:` with who signs for them")
        for index, network in enumerate(partner.networks):
            if network.prefixlen == 0 and partner.kind not in ("public", "staff"):
                message = f"{network} is everybody, but {partner.name} is of kind {partner.kind}"
                yield in_policy(*here, "networks", index, message=message, advice="name their networks; `kind: public` is everybody")
    yield from _twice(policy)
    vendors = {partner.name for partner in policy.partners if partner.kind == "vendor"}
    for flow in policy.flows:
        if flow.direction == "in" and flow.on_expiry != "close" and vendors & set(flow.partners):
            message = f"{flow.name} lets the vendor {sorted(vendors & set(flow.partners))[0]} in for good"
            yield in_policy("flows", flow.name, "partners", message=message, advice="add `on_expiry: close`: maintenance ends by itself")


def _twice(policy: Policy) -> Iterator[Problem]:
    """Two partners with one network: what is opened to one is open to the other, whatever that one has attested."""
    known: dict[tuple[str, Prefix], str] = {}
    for partner in policy.partners:
        for index, network in enumerate(partner.networks):
            first = known.setdefault((partner.zone, network), partner.name)
            if network.prefixlen and (first != partner.name or network in partner.networks[:index]):
                message = f"{network} is {first}'s and {partner.name}'s" if first != partner.name else f"{network} is named twice"
                advice = "correct the one that is wrong, or make one partner of the two"
                yield in_policy("partners", partner.name, "networks", index, message=message, advice=advice)


def _told(duration: timedelta) -> str:
    seconds = int(duration.total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
