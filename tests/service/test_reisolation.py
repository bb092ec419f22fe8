"""Re-isolation on the simulated hospital: what closes, what stays, what runs meanwhile, and who cannot be reached."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from orchestrator.dialects.base import Script
from orchestrator.domain.commands import Reisolate
from orchestrator.domain.conversation_states import ConversationState as C
from orchestrator.domain.events import EventType as E
from orchestrator.domain.owed import owed
from orchestrator.domain.resumption import candidates
from orchestrator.domain.stages import StageState
from orchestrator.domain.subtractions import Reisolation, What
from orchestrator.errors import LogUnavailable, NotAllowed, UnknownName, UsageError
from orchestrator.ports import Credential, Outcome, Target
from orchestrator.simulation.device import Fault
from orchestrator.simulation.hospital import SimulatedHospital
from tests.service.reopening import Reopening, after_the_cut

LIFELINES, MAIL, CARE, IMAGES, OUTBOUND = "P0-lifelines", "P1-inbound-mail", "P2-care-exchange", "P4-images", "P3-outbound-mail"
PACS, PORTAL, RELAY = "10.20.22.10", "203.0.113.20", "203.0.113.22"


def reisolate(reopening: Reopening, what: What, name: str, by: str = "eng-1", **more: Any) -> Reisolation:
    """The order, carried out as far as the devices let it."""
    reopening.stages.state()
    _, made = reopening.stages.reisolating.order(Reisolate(by, what, name, "an indicator of compromise", epoch=0, **more))
    assert reopening.stages.reisolating.wait(60)
    assert reopening.stages.runner.wait(60)
    assert reopening.stages.reisolating.failures == []
    return reopening.stages.state().reisolations[made.id]


def turn(reopening: Reopening) -> None:
    """One turn of the server's chore, and all that it begins."""
    reopening.stages.reisolating.turn()
    assert reopening.stages.reisolating.wait(60)
    assert reopening.stages.reisolating.failures == []


def bodies(reopening: Reopening, type_: E) -> list[Mapping[str, Any]]:
    return [event.body for event in reopening.log.read() if event.type is type_]


def log_equals_devices(reopening: Reopening) -> None:
    state = reopening.stages.state()
    for name, machine in reopening.hospital.machines.items():
        assert set(machine.observed().opened) == set(state.device(name).opened), name
        assert set(machine.released) == state.device(name).released, name
        assert machine.epoch == state.device(name).epoch, name


def test_one_partner_is_closed_and_the_others_of_the_stage_stay() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    assert reopening.reaches("sister", PACS, 104)
    before = reopening.stages.state().epoch
    made = reisolate(reopening, "partner", "sister")
    assert not reopening.reaches("sister", PACS, 104)
    assert reopening.reaches("ght-2", PACS, 104)
    status = reopening.status(CARE)
    assert status.state == "partially-open"
    assert {pair for pair, held in status.conversations.items() if held is C.REISOLATED} == {
        ("dicom-in", "sister"),
        ("dicom-out", "sister"),
    }
    assert (made.checked, made.leaks) == ("successful", ())
    assert made.epoch == reopening.stages.state().epoch == before + 1
    log_equals_devices(reopening)


@pytest.mark.parametrize(
    ("what", "name", "closed", "left"),
    [
        ("application", "image-exchange", [("sister", PACS, 104), ("ght-2", PACS, 104)], [("emergency", "198.51.100.38", 443)]),
        ("flow", "dictation", [("emergency", "198.51.100.38", 443)], [("sister", PACS, 104)]),
        ("zone", "ght", [("sister", PACS, 104), ("ght-2", PACS, 104)], [("emergency", "198.51.100.38", 443)]),
        ("zone", "imaging", [("sister", PACS, 104)], [("record", "198.51.100.36", 443)]),
    ],
)
def test_everything_that_the_name_means_and_nothing_else(
    what: What, name: str, closed: list[tuple[str, str, int]], left: list[tuple[str, str, int]]
) -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    assert all(reopening.reaches(*question) for question in (*closed, *left))
    reisolate(reopening, what, name)
    assert [question for question in closed if reopening.reaches(*question)] == []
    assert [question for question in left if not reopening.reaches(*question)] == []
    log_equals_devices(reopening)


def test_the_log_tells_the_order_before_the_first_command_and_every_outcome() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    made = reisolate(reopening, "partner", "ght-2")
    told = [(event.type, event.device) for event in reopening.log.read(made.seq)]
    assert [type_ for type_, _ in told[:3]] == [E.REISOLATION_ORDERED, E.EPOCH_RAISED, E.STAGE_NARROWED]
    assert told.index((E.DEVICE_CHANGE_INTENDED, "fw-int")) < told.index((E.DEVICE_CHANGED, "fw-int")) < told.index((E.DEVICE_READ_BACK, "fw-int"))  # fmt: skip  # noqa: E501
    assert {device for type_, device in told if type_ is E.DEVICE_FENCED} == set(reopening.hospital.machines)
    assert [type_ for type_, _ in told[-2:]] == [E.CHECK_RAN, E.REISOLATION_CHECKED]


def test_only_the_cut_key_is_used() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    reopening.hospital.sent.clear()
    reisolate(reopening, "zone", "internet")
    assert reopening.hospital.sent
    assert {credential for _, _, credential in reopening.hospital.sent} == {Credential.CUT}


def test_a_stage_of_which_nothing_is_left_is_suspended_and_holds_nothing() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    reisolate(reopening, "flow", "mail-in")
    status = reopening.status(MAIL)
    assert (status.state, set(status.conversations.values())) == ("suspended", {C.REISOLATED})
    assert not reopening.reaches("internet-host", RELAY, 25)
    assert all(MAIL not in {*device.openings, *device.releases} for device in reopening.stages.state().devices.values())
    log_equals_devices(reopening)


def test_a_released_guard_that_another_stage_needs_is_handed_over_to_it() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    state = reopening.stages.state()
    assert state.device("rtr-isp").releases.keys() == {LIFELINES}
    for name in {pair[1] for pair in state.stage(LIFELINES).conversations}:
        reisolate(reopening, "partner", name)
    state = reopening.stages.state()
    assert state.stage(LIFELINES).state == "suspended"
    assert state.device("rtr-isp").releases.keys() == {MAIL}
    assert reopening.reaches("internet-host", RELAY, 25), "the mail is still approved, and its way is still there"
    reisolate(reopening, "flow", "mail-in")
    assert reopening.stages.state().device("rtr-isp").released == frozenset()
    assert reopening.hospital.machines["rtr-isp"].released == {}
    log_equals_devices(reopening)


def test_a_revert_hands_over_what_another_stage_needs_as_well() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    reopening.stages.revert("eng-1", LIFELINES, "not now")
    assert reopening.stages.runner.wait(60)
    assert reopening.status(LIFELINES).state == "reverted"
    assert reopening.reaches("internet-host", RELAY, 25)
    assert not reopening.reaches("record", "198.51.100.36", 443)
    log_equals_devices(reopening)


def test_a_partner_in_somebody_elses_broader_opening_goes_on_the_block_list_and_it_is_said() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    assert reopening.reaches("gp", RELAY, 25)
    made = reisolate(reopening, "partner", "gps")
    assert not reopening.reaches("gp", RELAY, 25)
    assert reopening.reaches("internet-host", RELAY, 25)
    assert any("mail-in with everyone" in note for note in made.notes)
    assert (MAIL, "mail-in", "everyone", "block list") in made.takes
    assert [str(network) for network in reopening.stages.state().blocklist] == ["198.51.100.20/32", "2001:db8:100::20/128"]


def test_everyone_cannot_be_blocked_and_it_is_said() -> None:
    reopening = after_the_cut(LIFELINES, MAIL)
    made = reisolate(reopening, "partner", "everyone")
    assert not reopening.reaches("internet-host", RELAY, 25)
    assert reopening.stages.state().blocklist == ()
    assert made.stages.keys() == {MAIL}


def test_what_the_layer_keeps_is_said_to_pass_and_is_blocked_only_by_who_names_it() -> None:
    reopening = after_the_cut(profile="internet")
    assert reopening.reaches("samu", "198.51.100.35", 5671)
    made = reisolate(reopening, "partner", "hub-sante")
    assert reopening.reaches("samu", "198.51.100.35", 5671)
    assert any("keeps samu-hub with hub-sante" in note for note in made.notes)
    reisolate(reopening, "partner", "hub-sante", although_vital=("hub-sante",))
    assert not reopening.reaches("samu", "198.51.100.35", 5671)


def test_plans_that_include_it_lose_their_votes_and_others_keep_theirs() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, approved=CARE)
    reisolate(reopening, "partner", "anssi")
    assert reopening.status(CARE).state == "approved"
    reisolate(reopening, "partner", "ght-2")
    status = reopening.status(CARE)
    assert (status.state, status.votes) == ("stale", {})
    assert "R2" in status.detail


class AtVerb:
    """Calls `then` in the middle of a run: when this verb has just been carried out for the first time."""

    def __init__(self, reopening: Reopening, verb: str, then: Callable[[], None]) -> None:
        hospital, self.done = reopening.hospital, False

        class Interrupting(SimulatedHospital):
            def __init__(self) -> None:
                self.__dict__.update(hospital.__dict__)

            def run(
                inner, scripts: Mapping[Target, Sequence[Script]], *, credential: Credential, deadline_s: float, verb: str
            ) -> Iterator[tuple[Outcome, ...]]:  # fmt: skip
                yield from super().run(scripts, credential=credential, deadline_s=deadline_s, verb=verb)
                if verb == wanted and not self.done:
                    self.done = True
                    then()

        wanted = verb
        reopening.hospital = Interrupting()


@pytest.mark.parametrize("verb", ["open", "confirm"])
def test_a_running_stage_that_it_concerns_goes_back_as_a_whole(verb: str) -> None:
    reopening = after_the_cut(LIFELINES, MAIL, approved=CARE)
    orders: list[Reisolation] = []
    service = reopening.stages

    def order() -> None:
        orders.append(service.reisolating.order(Reisolate("rssi", "partner", "sister", "now", epoch=0))[1])

    AtVerb(reopening, verb, order)
    status = reopening.apply(CARE)
    assert service.reisolating.wait(60)
    assert status.state == "reverted"
    assert orders[0].stages[CARE]
    for question in (("sister", PACS, 104), ("ght-2", PACS, 104), ("emergency", "198.51.100.38", 443)):
        assert not reopening.reaches(*question)
    log_equals_devices(reopening)


def test_a_stage_under_observation_goes_back_at_its_next_look() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, approved=CARE)
    ordered = threading.Event()

    def wait(seconds: float) -> None:
        reopening.clock.wait(seconds)
        if reopening.status(CARE).state is StageState.OBSERVING and not ordered.is_set():
            ordered.set()
            reopening.stages.reisolating.order(Reisolate("rssi", "partner", "sister", "now", epoch=0))

    reopening.wait = wait
    reopening.stages = reopening.server()
    assert reopening.apply(CARE).state == "reverted"
    assert reopening.stages.reisolating.wait(60)
    assert ordered.is_set()
    assert not reopening.reaches("ght-2", PACS, 104)
    log_equals_devices(reopening)


@pytest.mark.parametrize("verb", ["open", "confirm"])
def test_a_running_stage_that_it_does_not_concern_goes_on_under_the_new_epoch_or_goes_back(verb: str) -> None:
    """Between two of its commands it goes on; only a command that is on its way when the fence arrives fails."""
    reopening = after_the_cut(LIFELINES, MAIL, approved=CARE)
    service = reopening.stages

    def order() -> None:
        service.reisolating.order(Reisolate("rssi", "flow", "anssi-collection", "now", epoch=0))
        assert service.reisolating.wait(60)

    AtVerb(reopening, verb, order)
    assert reopening.apply(CARE).state == "open"
    assert reopening.reaches("sister", PACS, 104)
    assert not reopening.reaches("core1", "198.51.100.40", 443)
    log_equals_devices(reopening)


def test_a_command_that_hung_and_arrives_after_the_re_isolation_is_refused_by_the_device() -> None:
    """Frozen: it has left us, and the device has not seen it. Released after the fence."""
    reopening = after_the_cut(LIFELINES, MAIL, approved=CARE)
    frozen: list[tuple[str, str]] = []
    hospital, service = reopening.hospital, reopening.stages

    class Freezing(SimulatedHospital):
        def __init__(self) -> None:
            self.__dict__.update(hospital.__dict__)

        def run(self, scripts: Any, *, credential: Credential, deadline_s: float, verb: str) -> Iterator[tuple[Outcome, ...]]:
            if verb == "open" and not frozen:
                frozen.extend((target.device, listed[0].text) for target, listed in scripts.items())
                service.reisolating.order(Reisolate("rssi", "partner", "sister", "now", epoch=0))
                assert service.reisolating.wait(60)
                return
            yield from super().run(scripts, credential=credential, deadline_s=deadline_s, verb=verb)

    reopening.hospital = Freezing()
    assert reopening.apply(CARE).state == "reverted"
    assert frozen
    before = {name: machine.observed().opened for name, machine in hospital.machines.items()}
    for device, text in frozen:
        with pytest.raises(Exception, match="stale epoch"):
            hospital.machines[device].execute(text, may_open=True)
    assert {name: machine.observed().opened for name, machine in hospital.machines.items()} == before
    assert not reopening.reaches("sister", PACS, 104)


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.CONNECTION_REFUSED, Fault.LOST_OUTCOME, Fault.GARBAGE])
def test_a_device_that_cannot_be_reached_is_said_and_tried_again_until_it_is_closed(fault: Fault) -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    now = [0.0]
    reopening.stages.reisolating.elapsed = lambda: now[0]
    reopening.hospital.machines["fw-int"].faults.add(fault)
    made = reisolate(reopening, "partner", "sister")
    owing = reopening.stages.reisolating.still_owed(reopening.stages.state())
    assert owing.keys() == {"fw-int"}
    assert owing["fw-int"]
    assert made.checked == ""
    assert not reopening.reaches("internet-host", PACS, 104)
    tried = len(reopening.hospital.sent)
    turn(reopening)
    assert len(reopening.hospital.sent) == tried, "not at once again"
    reopening.hospital.machines["fw-int"].faults.clear()
    now[0] += 11
    turn(reopening)
    assert reopening.stages.reisolating.still_owed(reopening.stages.state()) == {}
    assert not reopening.reaches("sister", PACS, 104)
    assert reopening.stages.state().reisolations["R1"].checked == "successful"
    log_equals_devices(reopening)


def test_the_pauses_between_tries_grow() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    now = [0.0]
    reopening.stages.reisolating.elapsed = lambda: now[0]
    reopening.hospital.machines["fw-int"].faults.add(Fault.CONNECTION_REFUSED)
    reisolate(reopening, "partner", "sister")
    tries = []
    for second in range(400):
        now[0] = float(second)
        before = len(reopening.hospital.sent)
        turn(reopening)
        if len(reopening.hospital.sent) > before:
            tries.append(second)
    assert tries == [10, 30, 70, 150, 310]


def test_a_server_that_comes_after_a_crash_owes_the_same() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    reopening.hospital.machines["fw-int"].faults.add(Fault.HANG)
    reisolate(reopening, "partner", "sister")
    reopening.hospital.machines["fw-int"].faults.clear()
    reopening.stages = reopening.server()
    turn(reopening)
    assert not reopening.reaches("sister", PACS, 104)
    log_equals_devices(reopening)
    events = reopening.log.head().size
    turn(reopening)
    assert reopening.log.head().size == events, "a second turn changes nothing"


def test_one_device_that_refuses_the_fence_is_closed_all_the_same() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    machine = reopening.hospital.machines["fw-int"]
    execute = machine.execute

    def refusing(text: str, *, may_open: bool) -> str:
        if '"fence"' in text:
            from orchestrator.simulation.device import Rejected

            raise Rejected("no such command")
        return execute(text, may_open=may_open)

    machine.execute = refusing  # type: ignore[method-assign]
    reisolate(reopening, "partner", "sister")
    assert not reopening.reaches("sister", PACS, 104)
    assert "epoch" in reopening.stages.reisolating.still_owed(reopening.stages.state())["fw-int"]


def test_what_passes_all_the_same_is_named() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    machine = reopening.hospital.machines["fw-int"]
    machine.lets_through = lambda *_: True  # type: ignore[method-assign]
    made = reisolate(reopening, "flow", "dicom-in")
    assert made.checked == "failed"
    assert any("sister" in leak for leak in made.leaks)


def test_after_a_cut_off_it_leaves_the_stage_out_of_the_resumption() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    reopening.cut()
    assert CARE in reopening.stages.state().interrupted
    made = reisolate(reopening, "partner", "sister")
    assert made.stages[CARE]
    assert CARE not in reopening.stages.state().interrupted
    assert MAIL in reopening.stages.state().interrupted
    assert CARE not in {item.stage for item in candidates(reopening.stages.state())}


def test_a_partner_that_was_isolated_again_is_opened_by_a_supplement_with_votes_of_its_own() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    reisolate(reopening, "flow", "dictation")
    reopening.stages.plan("eng-1", CARE, ["dictation-provider"])
    assert reopening.status(f"{CARE}+2").state == "planned"
    reopening.vote("eng-2", f"{CARE}+2")
    reopening.vote("rssi", f"{CARE}+2")
    assert reopening.apply(f"{CARE}+2").state == "open"
    assert reopening.reaches("emergency", "198.51.100.38", 443)
    assert reopening.status(CARE).state == "open"
    assert owed(reopening.stages.state()) == ()
    log_equals_devices(reopening)


def test_who_and_what_is_refused() -> None:
    reopening = after_the_cut(LIFELINES)
    order = reopening.stages.reisolating.order
    with pytest.raises(NotAllowed):
        order(Reisolate("auditor", "partner", "sister", "x", epoch=0))
    with pytest.raises(UnknownName):
        order(Reisolate("rssi", "partner", "nobody", "x", epoch=0))
    with pytest.raises(UnknownName):
        order(Reisolate("rssi", "zone", "admin", "x", epoch=0))
    with pytest.raises(UsageError):
        order(Reisolate("rssi", "partner", "sister", " ", epoch=0))
    for person in ("eng-4", "owner-mail", "director-duty", "commander"):
        order(Reisolate(person, "partner", "vendor-1", "one person of any deciding role", epoch=0))
    assert reopening.stages.reisolating.wait(60)


def test_with_a_log_that_cannot_be_written_it_closes_all_the_same_and_says_that_nothing_is_recorded() -> None:
    reopening = after_the_cut(LIFELINES, MAIL, CARE)
    size = reopening.log.head().size

    def full(*_: Any, **__: Any) -> Any:
        raise LogUnavailable("the disk is full")

    reopening.log.append = full  # type: ignore[method-assign]
    with pytest.raises(LogUnavailable, match="nothing of this re-isolation is recorded; it is closed on every device"):
        reopening.stages.reisolating.order(Reisolate("rssi", "partner", "sister", "now", epoch=0))
    assert reopening.log.head().size == size
    assert not reopening.reaches("sister", PACS, 104)
    assert reopening.reaches("ght-2", PACS, 104)
    assert {machine.epoch for machine in reopening.hospital.machines.values()} == {reopening.epoch}
