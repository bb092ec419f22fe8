"""Ratifying a policy: who may, what they sign, what the log and the cut pack hold afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from orchestrator.adapters import sshsig
from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.adapters.pack_file import keep_pack
from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.adapters.site_key import public_line
from orchestrator.adapters.sshsig import SshSignatures
from orchestrator.dialects import dialect_for
from orchestrator.domain.canonical import canonical
from orchestrator.domain.digests import inventory_digest, policy_digest
from orchestrator.domain.events import EventType, NewEvent
from orchestrator.domain.folding import fold
from orchestrator.domain.layer import Layer
from orchestrator.domain.making import stamp
from orchestrator.domain.network import Site
from orchestrator.domain.pack import NAMESPACE as PACK
from orchestrator.domain.policy import Policy
from orchestrator.domain.policy_words import Role
from orchestrator.domain.probes import Probe, Purpose
from orchestrator.domain.ratification import NAMESPACE
from orchestrator.domain.signers import fingerprint_of_text
from orchestrator.errors import EnvironmentMissing, NotAllowed, Refused
from orchestrator.service.cutoff_pack import checked, load_pack
from orchestrator.service.ratify import Ratification, ratify, statement_now, write_pack, write_ratified_pack

NOW = datetime(2026, 6, 23, 9, 0, tzinfo=UTC)
ENOUGH = ("rssi", "eng-1", "commander")


@cache
def valmont() -> tuple[Site, Policy]:
    root = Path(__file__).parents[2]
    return read_inventory(root / "inventory/valmont.yml").site, read_policy(root / "policies/valmont").policy


@cache
def key_of(person: str) -> Ed25519PrivateKey:
    """Made for this run; the same person keeps the same key within it."""
    del person  # it is the cache's key
    return Ed25519PrivateKey.generate()


class StandingClock:
    def now(self) -> datetime:
        return NOW


def signers(people: Iterable[str]) -> str:
    return "".join(f"{person} {public_line(key_of(person))}\n" for person in people)


@dataclass
class Desk:
    """Where a policy is ratified: a log, a directory for the pack, everybody's keys."""

    place: Path
    log: MemoryLog = field(default_factory=MemoryLog)
    allowed_signers: str = ""

    def __post_init__(self) -> None:
        self.allowed_signers = self.allowed_signers or signers(person.name for person in valmont()[1].people)

    @property
    def around(self) -> Ratification:
        site, _ = valmont()
        return Ratification(
            log=self.log,
            clock=StandingClock(),
            signatures=lambda text: SshSignatures(text, key_of("the site")),
            allowed_signers=self.allowed_signers,
            host_keys={str(device.management): (f"ssh-ed25519 {device.name}",) for device in site.devices},
            dialect_for=dialect_for,
            keep_pack=lambda envelope: keep_pack(self.place / "cut-pack.json", self.place / "cut-pack.previous.json", envelope),
        )

    def ratify(self, *people: str, policy: Policy | None = None, statement: str | None = None, by: Mapping[str, str] | None = None) -> Any:
        """`by`: whose key really signs for a person."""
        site, standing = valmont()
        chosen = policy or standing
        text = statement if statement is not None else statement_now(self.around, site, chosen)
        keys = by or {}
        made = {person: sshsig.sign(key_of(keys.get(person, person)), NAMESPACE, text.encode()) for person in people}
        return ratify(self.around, site, chosen, signatures=made, statement=text, actor=people[0])

    def pack(self, name: str = "cut-pack.json") -> dict[str, Any]:
        envelope: dict[str, Any] = json.loads((self.place / name).read_text(encoding="utf-8"))
        return envelope


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def rule_of(refusal: pytest.ExceptionInfo[Refused]) -> str:
    return refusal.value.rule


def changed(policy: Policy) -> Policy:
    """Another policy: the default profile is another one."""
    # its own tests are about the cut that it names by default: another default, another set of tests and of stages' checks
    stages = tuple(stage.model_copy(update={"checks": ()}) for stage in policy.stages)
    return policy.model_copy(update={"default_profile": "total", "tests": (), "stages": stages})


def test_the_log_alone_tells_what_is_in_force(desk: Desk) -> None:
    site, policy = valmont()
    outcome = desk.ratify(*ENOUGH)
    assert outcome.votes == {"rssi": "security-officer", "eng-1": "network-engineer", "commander": "incident-commander"}
    state = fold(desk.log.read())
    assert state.ratified is not None
    assert (state.ratified.policy, state.ratified.site) == (policy, site)
    assert state.ratified.policy_digest == policy_digest(policy) == outcome.policy_digest
    (event,) = desk.log.read()
    body = event.body
    for vote in body["votes"]:  # years later, from the log alone
        known = SshSignatures(body["allowed_signers"], key_of("the site"))
        assert known.verify(body["namespace"], body["statement"].encode(), vote["signature"], at=NOW) == vote["person"]
    assert json.loads(body["statement"])["inventory_digest"] == inventory_digest(site)


@pytest.mark.parametrize("people", [("rssi",), ("rssi", "eng-1"), ("eng-1", "eng-2", "commander")])
def test_too_few_votes_put_nothing_in_force(desk: Desk, people: tuple[str, ...]) -> None:
    with pytest.raises(NotAllowed) as refusal:
        desk.ratify(*people)
    assert rule_of(refusal) == "ratification-votes"
    assert desk.log.head().size == 0
    assert not (desk.place / "cut-pack.json").exists()


def test_only_the_genesis_set_ratifies_the_first_policy_and_everybody_the_next(desk: Desk) -> None:
    with pytest.raises(NotAllowed) as refusal:
        desk.ratify("rssi", "eng-3", "commander")
    assert rule_of(refusal) == "not-genesis"
    desk.ratify(*ENOUGH)
    desk.ratify("rssi-deputy", "eng-3", "commander", policy=changed(valmont()[1]))
    assert [event.type for event in desk.log.read()] == [EventType.POLICY_RATIFIED] * 2


def test_a_new_policy_does_not_elect_its_own_voters(desk: Desk) -> None:
    policy = valmont()[1]
    desk.ratify(*ENOUGH)
    promoted = policy.model_copy(
        update={
            "people": tuple(
                p.model_copy(update={"roles": (*p.roles, Role.NETWORK_ENGINEER)}) if p.name == "owner-sms" else p for p in policy.people
            )
        }
    )
    with pytest.raises(NotAllowed) as refusal:
        desk.ratify("rssi", "owner-sms", "commander", policy=promoted)
    assert rule_of(refusal) == "ratification-votes"


def test_keys_put_into_the_file_count_only_once_they_are_ratified(desk: Desk) -> None:
    desk.ratify(*ENOUGH)
    swapped = Desk(
        desk.place, desk.log, signers(p.name for p in valmont()[1].people if p.name != "rssi") + f"rssi {public_line(key_of('thief'))}\n"
    )
    with pytest.raises(Refused) as refusal:
        swapped.ratify(*ENOUGH, policy=changed(valmont()[1]), by={"rssi": "thief"})
    assert rule_of(refusal) == "signature"
    swapped.ratify(*ENOUGH, policy=changed(valmont()[1]))  # by the keys in force, the new file is put in force


def test_a_signature_is_its_person_s_of_this_text_in_this_namespace(desk: Desk) -> None:
    site, policy = valmont()
    with pytest.raises(Refused) as refusal:
        desk.ratify(*ENOUGH, by={"rssi": "eng-2"})
    assert rule_of(refusal) == "signature"
    text = statement_now(desk.around, site, policy)
    for namespace, message in (("reconnect-approval@v1", text), (NAMESPACE, text + " ")):
        made = {person: sshsig.sign(key_of(person), namespace, message.encode()) for person in ENOUGH}
        with pytest.raises(Refused) as refusal:
            ratify(desk.around, site, policy, signatures=made, statement=text, actor="rssi")
        assert rule_of(refusal) == "signature"


def test_a_statement_about_other_files_or_another_log_is_refused(desk: Desk) -> None:
    site, policy = valmont()
    about_another = statement_now(desk.around, site, changed(policy))
    with pytest.raises(Refused) as refusal:
        desk.ratify(*ENOUGH, statement=about_another)
    assert rule_of(refusal) == "digest-moved"
    elsewhere = Desk(desk.place)
    elsewhere.log.append([NewEvent(EventType.LOGBOOK_ENTERED, "2026-06-23T08:00:00.000Z", "eng-1", {"text": "another log"})])
    with pytest.raises(Refused) as refusal:
        desk.ratify(*ENOUGH, statement=statement_now(elsewhere.around, site, policy))
    assert rule_of(refusal) == "log-head"
    desk.log.append([NewEvent(EventType.LOGBOOK_ENTERED, "2026-06-23T08:00:00.000Z", "eng-1", {"text": "our own"})])
    with pytest.raises(Refused) as refusal:
        desk.ratify(*ENOUGH, statement=statement_now(elsewhere.around, site, policy))
    assert rule_of(refusal) == "log-head"


def test_a_statement_stays_good_while_the_log_grows_but_not_after_another_ratification(desk: Desk) -> None:
    site, policy = valmont()
    early, other = statement_now(desk.around, site, policy), statement_now(desk.around, site, changed(policy))
    desk.log.append([NewEvent(EventType.LOGBOOK_ENTERED, "2026-06-23T08:00:00.000Z", "eng-1", {"text": "meanwhile"})])
    desk.ratify(*ENOUGH, statement=early)
    with pytest.raises(Refused) as refusal:
        desk.ratify(*ENOUGH, policy=changed(policy), statement=other)
    assert rule_of(refusal) == "ratified-since"


def test_what_the_check_refuses_cannot_be_ratified(desk: Desk) -> None:
    broken = valmont()[1].model_copy(update={"default_profile": "nosuch"})
    with pytest.raises(Refused) as refusal:
        desk.ratify(*ENOUGH, policy=broken)
    assert rule_of(refusal) == "policy-findings"


def test_the_pack_is_signed_by_the_site_and_is_what_the_cut_off_reads(desk: Desk) -> None:
    desk.ratify(*ENOUGH)
    envelope = desk.pack()
    site_only = f"site {public_line(key_of('the site'))}\n"
    assert SshSignatures(site_only, key_of("the site")).verify(PACK, canonical(envelope["body"]), envelope["signature"], at=NOW) == "site"

    def verify(body: dict[str, Any], signature: str) -> None:
        sshsig.check(PACK, canonical(body), signature)

    def render(_profile: str | None) -> dict[str, Any]:
        raise AssertionError("the pack is good: the files on disk are not needed")

    loaded = load_pack([("cut pack", desk.place / "cut-pack.json")], verify=verify, render=render)
    assert loaded.warnings == ()
    assert loaded.body["policy_digest"] == policy_digest(valmont()[1])


def test_the_pack_holds_every_profile_with_all_that_cutting_needs(desk: Desk) -> None:
    site, policy = valmont()
    desk.ratify(*ENOUGH)
    body = checked(desk.pack()["body"])
    assert body["default_profile"] == "internet"
    assert set(body["profiles"]) == {profile.name for profile in policy.profiles}
    for name, profile in body["profiles"].items():
        assert {device["device"] for device in profile["devices"]} == set(policy.profile(name).layers)
        for device in profile["devices"]:
            layer = Layer.model_validate(device["layer"])
            assert tuple(device["guards"]) == layer.guard == policy.profile(name).layers[device["device"]]
            assert device["host_keys"] == [f"ssh-ed25519 {device['device']}"]
            assert device["address"] == str(site.device(device["device"]).management)
            assert "{epoch}" in device["lay"]["text"] + device["lay"]["command"]
            assert layer.slot in device["expected"]["slots"]
        probes = [Probe.model_validate(item) for item in profile["probes"]]
        assert len({probe.id for probe in probes}) == len(probes)
        given_up = {sacrifice.care for sacrifice in policy.profile(name).sacrifices}
        assert {probe.about for probe in probes if probe.purpose is Purpose.CARE} == {care.name for care in policy.care} - given_up
        assert any(probe.purpose is Purpose.NEGATIVE for probe in probes)
    assert body["profiles"]["total"]["failover_s"] == 5
    assert body["profiles"]["vendors"]["failover_s"] == 0
    assert any("rtr-isp: unplug up0" in step for step in body["profiles"]["total"]["manual"])
    assert "10.20.21.0/24" in body["internal"]
    assert "0.0.0.0/0" not in body["internal"]
    assert body["people"]["rssi"] == ["security-officer"]
    assert body["vantage_points"]["sister"]["address"] == "10.20.250.121"


def test_the_pack_before_is_kept(desk: Desk) -> None:
    desk.ratify(*ENOUGH)
    first = desk.pack()
    desk.ratify(*ENOUGH, policy=changed(valmont()[1]))
    assert desk.pack()["body"]["default_profile"] == "total"
    assert desk.pack("cut-pack.previous.json") == first
    assert sorted(path.name for path in desk.place.iterdir()) == ["cut-pack.json", "cut-pack.previous.json"]


def test_a_pack_that_cannot_be_written_leaves_the_policy_in_force_and_can_be_written_again(desk: Desk) -> None:
    def no_room(_: Mapping[str, Any]) -> None:
        raise EnvironmentMissing("no space left")

    site, policy = valmont()
    full = replace(desk.around, keep_pack=no_room)
    text = statement_now(full, site, policy)
    made = {person: sshsig.sign(key_of(person), NAMESPACE, text.encode()) for person in ENOUGH}
    with pytest.raises(EnvironmentMissing):
        ratify(full, site, policy, signatures=made, statement=text, actor="rssi")
    assert fold(desk.log.read()).ratified is not None
    body = write_ratified_pack(desk.around)
    assert desk.pack()["body"] == body
    assert body["ratified"] is True


def test_a_pack_of_files_that_nobody_ratified_says_so(desk: Desk) -> None:
    site, policy = valmont()
    with pytest.raises(Refused) as refusal:
        write_ratified_pack(desk.around)
    assert rule_of(refusal) == "not-ratified"
    write_pack(desk.around, site, policy, digests=(policy_digest(policy), inventory_digest(site)), ratified=False, now=NOW)
    assert desk.pack()["body"]["ratified"] is False
    assert desk.log.head().size == 0


def test_a_pack_on_disk_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    current, previous = tmp_path / "state/cut-pack.json", tmp_path / "state/cut-pack.previous.json"
    keep_pack(current, previous, {"body": {"n": 1}, "signature": "a"})
    assert not previous.exists()
    keep_pack(current, previous, {"body": {"n": 2}, "signature": "b"})
    assert json.loads(previous.read_text())["body"] == {"n": 1}
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with pytest.raises(EnvironmentMissing, match="cannot be written"):
        keep_pack(blocked / "cut-pack.json", previous, {})


def test_a_revoked_key_ratifies_nothing_and_comes_back_with_no_file(desk: Desk) -> None:
    desk.ratify(*ENOUGH)
    mark = fingerprint_of_text(signers(["eng-1"]))
    desk.log.append([NewEvent(EventType.KEY_REVOKED, stamp(NOW), "rssi", {"person": "eng-1", "fingerprint": mark, "reason": "stolen"})])
    with pytest.raises(Refused) as refusal:
        desk.ratify("rssi", "eng-2", "commander", policy=changed(valmont()[1]))
    assert rule_of(refusal) == "keys-behind"
    desk.allowed_signers = desk.allowed_signers.replace(signers(["eng-1"]), "")
    with pytest.raises(Refused) as refusal:
        desk.ratify(*ENOUGH, policy=changed(valmont()[1]))
    assert rule_of(refusal) == "signature"
    desk.ratify("rssi", "eng-2", "commander", policy=changed(valmont()[1]))
    assert in_force_of(desk) == desk.allowed_signers


def test_a_key_that_others_have_added_is_not_lost_by_an_old_file(desk: Desk) -> None:
    desk.ratify(*ENOUGH)
    new = public_line(key_of("eng-2 new"))
    asked = {"change": "c", "action": "add-key", "person": "eng-2", "adds": [new], "removes": [], "reason": "x", "signatures": []}
    body = {"change": "c", "person": "eng-2", "adds": [new], "removes": []}
    desk.log.append(
        [
            NewEvent(EventType.PEOPLE_CHANGE_REQUESTED, stamp(NOW), "rssi", {**asked, "in_force_at": stamp(NOW)}),
            NewEvent(EventType.PEOPLE_CHANGE_IN_FORCE, stamp(NOW), "orchestrator", body),
        ]
    )
    with pytest.raises(Refused) as refusal:
        desk.ratify(*ENOUGH, policy=changed(valmont()[1]))
    assert rule_of(refusal) == "keys-behind"
    desk.allowed_signers = in_force_of(desk)  # `orchestrator people keys --out FILE`
    desk.ratify("rssi", "eng-2", "commander", policy=changed(valmont()[1]), by={"eng-2": "eng-2 new"})
    assert in_force_of(desk) == desk.allowed_signers


def in_force_of(desk: Desk) -> str:
    return fold(desk.log.read()).keys.effective
