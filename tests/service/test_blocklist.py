"""The block list: who may be put on it, what it stops on live packets, and how something comes off it again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from orchestrator.api.views_subtractions import blocks
from orchestrator.domain.commands import BlockNetworks, GrantUnblock, RequestUnblock
from orchestrator.domain.events import EventType as E
from orchestrator.domain.making import stamp
from orchestrator.errors import IllegalTransition, InputError, NotAllowed, Refused, UnknownName, UsageError
from orchestrator.ports import Credential
from orchestrator.simulation.device import Fault
from tests.service.reopening import Reopening, after_the_cut

LIFELINES, MAIL, CARE = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange"
RELAY, PACS = "203.0.113.22", "10.20.22.10"
STRANGER = "198.51.100.10"  # internet-host
WHY = "beacons in the proxy's log"


def done(reopening: Reopening) -> None:
    assert reopening.stages.reisolating.wait(60)
    assert reopening.stages.reisolating.failures == []


def block(reopening: Reopening, *networks: str, by: str = "eng-1", **more: Any) -> None:
    reopening.stages.state()
    reopening.stages.reisolating.block(BlockNetworks(by, networks, WHY, **more))
    done(reopening)


def turn(reopening: Reopening) -> None:
    reopening.stages.reisolating.turn()
    done(reopening)


def unblock(reopening: Reopening, *networks: str, asks: str = "rssi", grants: str = "commander") -> None:
    state = reopening.stages.do(RequestUnblock(asks, networks, "given back"))
    reopening.stages.do(GrantUnblock(grants, list(state.unblockings)[-1]))
    reopening.stages.reisolating.lay()
    done(reopening)


def listed(reopening: Reopening) -> list[str]:
    return [str(network) for network in reopening.stages.state().blocklist]


def on_devices(reopening: Reopening) -> dict[str, list[str]]:
    keeping = reopening.stages.reisolating.subtracting.keep_a_list(reopening.stages.state())
    return {name: [str(network) for network in reopening.hospital.machines[name].blocked] for name in keeping}


def test_a_blocked_address_passes_nowhere_and_everybody_else_does() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    assert reopening.reaches("internet-host", RELAY, 25)
    block(reopening, STRANGER)
    assert not reopening.reaches("internet-host", RELAY, 25)
    assert reopening.reaches("gp", RELAY, 25)
    assert set(map(tuple, on_devices(reopening).values())) == {(f"{STRANGER}/32",)}
    assert {name: machine.blocked for name, machine in reopening.hospital.machines.items() if name.startswith("rtr")} == {
        "rtr-isp": (), "rtr-backup": (),
    }  # fmt: skip


def test_it_is_in_the_log_before_it_is_on_a_device_and_is_read_back_from_each() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    before = reopening.log.head().size
    block(reopening, STRANGER, "2001:db8:66::/48")
    events = list(reopening.log.read(before))
    assert events[0].type is E.BLOCKLIST_APPLIED
    assert events[0].body["takes"] == [[MAIL, "mail-in", "everyone"]]
    assert {event.device for event in events if event.type is E.BLOCKLIST_DEVICE_APPLIED} == set(on_devices(reopening))
    assert all(event.body["as_expected"] for event in events if event.type is E.BLOCKLIST_DEVICE_APPLIED)
    assert {credential for _, _, credential in reopening.hospital.sent[-7:]} == {Credential.CUT}


@pytest.mark.parametrize(
    ("network", "rule"),
    [
        ("10.20.250.10", "block-management"),
        ("0.0.0.0/0", "block-management"),
        ("::/0", "block-management"),
        ("10.20.21.10", "block-care"),
        ("2001:db8:20:22::/64", "block-care"),
        ("10.20.12.20", "block-inside"),
        ("203.0.113.20", "block-inside"),
        ("203.0.113.0/24", "block-inside"),
        ("198.51.100.35", "block-vital"),
        ("198.51.100.0/24", "block-vital"),
        ("2001:db8:100::37", "block-vital"),
    ],
)
def test_what_nobody_blocks(network: str, rule: str) -> None:
    reopening = after_the_cut(LIFELINES)
    with pytest.raises(Refused) as refusal:
        block(reopening, STRANGER, network)
    assert refusal.value.rule == rule
    assert network.partition("/")[0] in str(refusal.value)
    assert listed(reopening) == []


def test_a_kept_partner_is_blocked_by_somebody_who_names_it() -> None:
    reopening = after_the_cut(profile="internet")
    assert reopening.reaches("samu", "198.51.100.35", 5671)
    with pytest.raises(Refused):
        block(reopening, "198.51.100.35", although_vital=("efs",))
    with pytest.raises(UnknownName):
        block(reopening, "198.51.100.35", although_vital=("hub",))
    block(reopening, "198.51.100.35", although_vital=("hub-sante",))
    assert not reopening.reaches("samu", "198.51.100.35", 5671)


@pytest.mark.parametrize("text", ["198.51.100.300", "198.51.100.7/24", "everyone", "fe80::1%eth0", ""])
def test_what_is_no_address(text: str) -> None:
    reopening = after_the_cut()
    with pytest.raises(InputError):
        block(reopening, text)
    with pytest.raises(UsageError):
        reopening.stages.reisolating.block(BlockNetworks("eng-1", (STRANGER,), " "))
    with pytest.raises(NotAllowed):
        reopening.stages.reisolating.block(BlockNetworks("auditor", (STRANGER,), WHY))


def test_a_partner_on_the_list_is_not_planned_for_and_what_was_voted_on_is_stale() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, approved=CARE)
    block(reopening, "192.0.2.140", "2001:db8:60::140")
    assert reopening.status(CARE).state == "stale"
    with pytest.raises(Refused) as refusal:
        reopening.stages.plan("eng-1", CARE)
    assert refusal.value.rule == "blocked"
    assert "sister" in str(refusal.value)
    reopening.stages.plan("eng-1", CARE, ["ght-2"])
    unblock(reopening, "192.0.2.140", "2001:db8:60::140")
    reopening.stages.cancel("eng-1", CARE, "all of them again")
    reopening.stages.plan("eng-1", CARE)


def test_one_address_of_everybody_holds_no_stage_back_and_is_not_asked() -> None:
    reopening = after_the_cut(LIFELINES)
    block(reopening, STRANGER, "2001:db8:100::10")
    reopening.open(MAIL)
    assert not reopening.reaches("internet-host", RELAY, 25)
    assert reopening.reaches("gp", RELAY, 25)


def test_it_survives_cut_offs_the_closing_of_stages_and_reaches_devices_that_are_cut_later() -> None:
    reopening = after_the_cut(LIFELINES, profile="internet")
    block(reopening, STRANGER)
    assert reopening.hospital.machines["sw-dmz"].blocked == ()
    reopening.cut("total")
    turn(reopening)
    assert set(map(tuple, on_devices(reopening).values())) == {(f"{STRANGER}/32",)}
    assert {tuple(map(str, device.blocked)) for device in reopening.stages.state().devices.values()} == {(), (f"{STRANGER}/32",)}
    reopening.stages.plan("eng-1", LIFELINES)  # the log still holds, and the planner with it


def test_taking_it_off_takes_another_person_of_another_authority() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    block(reopening, STRANGER)
    reopening.stages.do(RequestUnblock("rssi", (STRANGER,), "given back"))
    assert not reopening.reaches("internet-host", RELAY, 25)
    for person in ("rssi", "rssi-deputy", "eng-2", "auditor"):
        with pytest.raises(NotAllowed):
            reopening.stages.do(GrantUnblock(person, "U1"))
    assert listed(reopening) == [f"{STRANGER}/32"]
    reopening.stages.do(GrantUnblock("director-duty", "U1"))
    reopening.stages.reisolating.lay()
    done(reopening)
    assert set(map(tuple, on_devices(reopening).values())) == {()}
    assert reopening.reaches("internet-host", RELAY, 25)
    with pytest.raises(IllegalTransition):
        reopening.stages.do(GrantUnblock("commander", "U1"))


def test_taking_it_off_lets_through_what_is_approved_and_no_more() -> None:
    reopening = after_the_cut(LIFELINES)
    block(reopening, STRANGER)
    unblock(reopening, STRANGER)
    assert not reopening.reaches("internet-host", RELAY, 25), "mail was never approved"


def test_a_part_of_a_block_can_be_taken_off() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    block(reopening, "198.51.100.8/29")
    block(reopening, "198.51.100.15/32")
    unblock(reopening, STRANGER)
    assert "198.51.100.10/32" not in listed(reopening)
    assert reopening.reaches("internet-host", RELAY, 25)
    assert not reopening.reaches("ght-2", RELAY, 25)
    with pytest.raises(UnknownName):
        reopening.stages.do(RequestUnblock("rssi", (STRANGER,), "again"))


def test_the_open_key_takes_it_off_under_the_epoch_of_the_device() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    block(reopening, STRANGER)
    reopening.hospital.sent.clear()
    unblock(reopening, STRANGER)
    assert {(verb, credential) for _, verb, credential in reopening.hospital.sent} == {
        ("unblock", Credential.OPEN), ("read_back", Credential.CUT),
    }  # fmt: skip
    machine = reopening.hospital.machines["fw-ext"]
    late = reopening.hospital.dialect_for("nftables").unblock(()).filled(epoch=1)
    block(reopening, STRANGER)
    with pytest.raises(Exception, match="stale epoch"):
        machine.execute(late.text, may_open=True)
    assert machine.blocked


def test_nothing_is_taken_off_a_device_that_is_not_as_the_log_says() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    block(reopening, STRANGER)
    machine = reopening.hospital.machines["fw-ext"]
    machine.opened.clear()
    unblock(reopening, STRANGER)
    assert machine.blocked
    assert "not as the log says" in reopening.stages.reisolating.still_owed(reopening.stages.state())["fw-ext"]
    assert reopening.hospital.machines["vpn"].blocked == ()


def test_a_device_that_does_not_answer_gets_it_later() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    now = [0.0]
    reopening.stages.reisolating.elapsed = lambda: now[0]
    machine = reopening.hospital.machines["fw-ext"]
    machine.faults.add(Fault.CONNECTION_REFUSED)
    block(reopening, STRANGER)
    shown = {item["device"]: item for item in blocks(reopening.stages, reopening.stages.state())["devices"]}
    assert (shown["fw-ext"]["state"], shown["vpn"]["state"]) == ("owed", "as listed")
    assert "connection refused" in shown["fw-ext"]["detail"]
    machine.faults.clear()
    now[0] += 20
    turn(reopening)
    assert not reopening.reaches("internet-host", RELAY, 25)


def test_what_cannot_keep_a_list_is_said_with_what_stands_behind_it() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    block(reopening, STRANGER)
    shown = {item["device"]: item for item in blocks(reopening.stages, reopening.stages.state())["devices"]}
    assert shown["rtr-isp"]["state"] == "cannot"
    assert "fw-ext" in shown["rtr-isp"]["behind"]
    assert shown["rtr-isp"]["detail"].startswith("behind it stand")


def test_a_block_with_an_end_ends_by_itself() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    block(reopening, "198.51.100.15")
    block(reopening, "198.51.100.8/29", until=stamp(reopening.clock.now() + timedelta(hours=2)))
    with pytest.raises(UsageError):
        block(reopening, STRANGER, until=stamp(reopening.clock.now() - timedelta(hours=2)))
    turn(reopening)
    assert not reopening.reaches("internet-host", RELAY, 25)
    reopening.clock.wait(7201)
    turn(reopening)
    assert reopening.reaches("internet-host", RELAY, 25)
    assert not reopening.reaches("ght-2", RELAY, 25), "another block holds it"
    assert listed(reopening) == ["198.51.100.15/32"]


def test_what_somebody_else_has_put_on_a_device_is_not_taken_off() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    machine = reopening.hospital.machines["fw-ext"]
    machine.execute(reopening.hospital.dialect_for("nftables").block(tuple(reopening.policy.partner("gps").networks)).text, may_open=False)
    block(reopening, STRANGER)
    unblock(reopening, STRANGER)
    turn(reopening)
    assert not reopening.reaches("gp", RELAY, 25)


def test_a_stage_finds_a_block_that_is_gone_from_a_device() -> None:
    reopening = after_the_cut(LIFELINES)
    block(reopening, STRANGER)
    reopening.hospital.machines["fw-ext"].blocked = ()
    reopening.approve(MAIL)
    status = reopening.apply(MAIL)
    assert status.state == "stale"
    assert f"not blocked: {STRANGER}/32" in status.detail
