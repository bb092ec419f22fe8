"""Re-isolation of random stages whose flows overlap at random: it never opens, nothing of what was meant is left for
nobody, what others lose is named, and closing what is owed settles it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.domain import decide_reisolation
from orchestrator.domain.blocklist import touches, within
from orchestrator.domain.commands import Reisolate
from orchestrator.domain.conversation_states import ConversationState
from orchestrator.domain.events import Event
from orchestrator.domain.events import EventType as E
from orchestrator.domain.folding import apply, fold
from orchestrator.domain.layer import Element, Layer, ordered
from orchestrator.domain.making import EventMaker
from orchestrator.domain.needs import Needs, all_living
from orchestrator.domain.network import Site
from orchestrator.domain.owed import owed
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.plan import RenderedScript
from orchestrator.domain.planning import plan_stage
from orchestrator.domain.policy import Flow, Policy, Stage
from orchestrator.domain.profiles import layers_of
from orchestrator.domain.stages import StageState
from orchestrator.domain.state import DeviceStatus, Ratified, SiteState, StageStatus

NOW = datetime(2026, 6, 24, 8, tzinfo=UTC)
SILENT = RenderedScript(kind="shell", command="", text="")
PORTS = st.sampled_from(["tcp/100-110", "tcp/105-120", "tcp/101-106", "tcp/104-105", "tcp/1-65535"])
OUT = {"application": "card-payment", "direction": "out", "addresses": ["10.20.12.10"]}
GHT = {"application": "image-exchange", "direction": "in", "addresses": ["10.20.22.10"]}
PARTNERS = {
    "out": st.lists(st.sampled_from(["acquirer", "acquirer", "sms-operator", "everyone", "staff"]), min_size=1, max_size=2, unique=True),
    "in": st.lists(st.sampled_from(["sister", "ght-2"]), min_size=1, max_size=2, unique=True),
}


@cache
def valmont() -> tuple[Site, Policy, dict[str, tuple[Layer, ...]]]:
    root = Path(__file__).parents[2]
    site = read_inventory(root / "inventory/valmont.yml").site
    policy = read_policy(root / "policies/valmont", rehearsal=True).policy
    return site, policy, {layer.device: (layer,) for layer in layers_of(site, policy, "total")}


@st.composite
def flows(draw: st.DrawFn) -> list[Flow]:
    made = []
    for number in range(draw(st.integers(3, 6))):
        words: dict[str, Any] = draw(st.sampled_from([OUT, OUT, GHT]))
        services = draw(st.lists(PORTS, min_size=1, max_size=2, unique=True))
        made.append(
            Flow.model_validate({**words, "name": f"f{number}", "partners": draw(PARTNERS[words["direction"]]), "services": services})
        )
    return made


def opened(made: list[Flow], stages_of: list[int]) -> SiteState:
    """Cut off by `total`, then stages opened one after the other: each flow in the stage that its number says."""
    site, policy, layers = valmont()
    stages = []
    for number in sorted(set(stages_of)):
        names = [flow.name for flow, stage in zip(made, stages_of, strict=False) if stage == number]
        if names:
            words = {"name": f"S{number}", "title": {"en": "x", "fr": "x"}, "flows": names, "votes": {"network-engineer": 1}}
            gates = [{"evidence": "x", "title": {"en": "x", "fr": "x"}}]
            stages.append(Stage.model_validate({**words, "gates": gates, "observation": "1s"}))
    policy = policy.model_copy(update={"flows": tuple(made), "stages": tuple(stages), "keep": (), "tests": ()})
    devices = {name: DeviceStatus(name, slots={layer.slot: "" for layer in laid}, epoch=5) for name, laid in layers.items()}
    state = SiteState(ratified=Ratified(policy, site, "p", "i", "", "", 0), devices=devices, epoch=5)
    for stage in stages:
        plan = plan_stage(
            site, policy, stage, layers_in_force=layers, policy_digest="p", inventory_digest="i", render=lambda *_: (SILENT,) * 3,
            already_open={name: device.opened for name, device in state.devices.items()},
            already_released={name: device.released for name, device in state.devices.items()},
        )  # fmt: skip
        pairs = {(flow, partner) for flow in stage.flows for partner in policy.flow(flow).partners}
        status = StageStatus(stage.name, StageState.OPEN, plan, "d", conversations=dict.fromkeys(pairs, ConversationState.OPEN))
        held = dict(state.devices)
        for part in plan.devices:
            device, change = held[part.device], part.change
            elements = ordered((*change.elements, *(opening.element for opening in change.shared)))
            openings = {**device.openings, stage.name: elements} if elements else device.openings
            releases = {**device.releases, stage.name: change.releases} if change.releases else device.releases
            held[part.device] = replace(device, openings=openings, releases=releases)
        state = replace(state, devices=held, stages={**state.stages, stage.name: status})
    return state


def ordered_of(state: SiteState, what: Any, name: str) -> SiteState:
    events = decide_reisolation.order(state, Reisolate("rssi", what, name, "x", epoch=6), NOW, EventMaker(state, "rssi", NOW))
    return fold([Event(new.type, new.at, new.actor, new.body, new.stage, new.device, seq=n) for n, new in enumerate(events)], state)


def passes(state: SiteState) -> dict[str, tuple[Element, ...]]:
    """What each device holds open: by the log, less what is owed to be closed."""
    gone = {one.device: set(one.closes.elements) if one.closes else set() for one in owed(state)}
    return {name: tuple(e for e in device.opened if e not in gone.get(name, set())) for name, device in state.devices.items()}


def released(state: SiteState) -> dict[str, frozenset[str]]:
    gone = {one.device: set(one.closes.releases) if one.closes else set() for one in owed(state)}
    return {name: device.released - gone.get(name, set()) for name, device in state.devices.items()}


def settled(state: SiteState) -> SiteState:
    """After every device has closed what is owed, and was read back."""
    for one in owed(state):
        if one.fence is not None:
            state = apply(state, Event(E.DEVICE_FENCED, "t", "x", {"epoch": state.epoch, "step": "applied"}, None, one.device))
        for stage, change in one.settles.items():
            body = {"step": "applied", "as_expected": True, "settles": "narrow", "change": change.model_dump(mode="json")}
            state = apply(state, Event(E.DEVICE_READ_BACK, "t", "x", body, stage, one.device))
    return state


NAMES = st.sampled_from(
    [
        *(("partner", name) for name in ("acquirer", "acquirer", "everyone", "sister", "ght-2")),
        *(("flow", f"f{number}") for number in (0, 0, 0, 1, 1, 1, 2, 2, 3)),
        ("application", "card-payment"), ("application", "image-exchange"), ("zone", "ght"), ("zone", "internet"), ("zone", "dmz-out"),
    ]
)  # fmt: skip
CASES = given(made=flows(), stages_of=st.lists(st.integers(0, 2), min_size=6, max_size=6), named=NAMES)
FEW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def case(made: list[Flow], stages_of: list[int], named: tuple[str, str]) -> tuple[SiteState, SiteState] | None:
    what, name = named
    if what == "flow" and name not in {flow.name for flow in made}:
        return None
    before = opened(made, stages_of)
    return before, ordered_of(before, what, name)


@FEW
@CASES
def test_it_never_opens_and_leaves_nothing_open_for_nobody(made: list[Flow], stages_of: list[int], named: tuple[str, str]) -> None:
    pair = case(made, stages_of, named)
    if pair is None:
        return
    before, after = pair
    needs, living = Needs(after.ratified), all_living(after)  # type: ignore[arg-type]
    for device, elements in passes(after).items():
        now = packets_of(elements)
        assert now <= packets_of(before.device(device).opened)
        assert now <= packets_of(e for held in living for e in needs.elements(held.conversation, device)), device
        for port in released(after)[device]:
            assert port in before.device(device).released
            assert any(needs.crosses(held.conversation, device, port) for held in living), (device, port)


@FEW
@CASES
def test_what_others_lose_is_named(made: list[Flow], stages_of: list[int], named: tuple[str, str]) -> None:
    pair = case(made, stages_of, named)
    if pair is None:
        return
    before, after = pair
    needs, order = Needs(after.ratified), list(after.reisolations.values())[-1]  # type: ignore[arg-type]
    for device, elements in passes(after).items():
        had, has = packets_of(before.device(device).opened), packets_of(elements)
        for held in all_living(after):
            lost = (packets_of(needs.elements(held.conversation, device)) & had) - has
            assert bool(lost) == ((*held, device) in order.takes), (held, device, lost)
            for port in before.device(device).released - released(after)[device]:
                assert not needs.crosses(held.conversation, device, port)
        for stage, mine in before.device(device).openings.items():
            still = packets_of(e for held in all_living(after) if held.stage == stage for e in needs.elements(held.conversation, device))
            assert not [e for e in mine if e not in elements and packets_of([e]) <= still], "it was wholly needed by the stage"


@FEW
@CASES
def test_a_partner_passes_nowhere_any_more_unless_it_is_said(made: list[Flow], stages_of: list[int], named: tuple[str, str]) -> None:
    what, name = named
    pair = case(made, stages_of, named)
    if pair is None or what != "partner":
        return
    _, after = pair
    networks = after.ratified.policy.partner(name).networks  # type: ignore[union-attr]
    left = [e for elements in passes(after).values() for e in elements if touches(networks, (e.source, e.destination))]
    covered = within(networks, after.blocklist)
    said = list(after.reisolations.values())[-1].notes
    narrower = all(not within(networks, (end,)) for e in left for end in (e.source, e.destination))
    assert not left or covered or narrower or any("cannot be blocked" in note for note in said)


@FEW
@CASES
def test_closing_what_is_owed_settles_it_and_nothing_is_owed_twice(made: list[Flow], stages_of: list[int], named: tuple[str, str]) -> None:
    pair = case(made, stages_of, named)
    if pair is None:
        return
    _, after = pair
    left, shut = passes(after), released(after)
    end = settled(after)
    assert owed(end) == ()
    assert {name: ordered(elements) for name, elements in left.items()} == {name: device.opened for name, device in end.devices.items()}
    assert shut == {name: device.released for name, device in end.devices.items()}
    assert all((device.epoch or 0) >= 6 for device in end.devices.values())
