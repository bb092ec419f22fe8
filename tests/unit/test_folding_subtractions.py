"""What fences, cut-offs and blocks that meet make of the state, in whatever order their events reach the log."""

from __future__ import annotations

from typing import Any

from orchestrator.domain.events import EventType as E
from orchestrator.domain.folding import fold
from tests.unit.test_state import applied, events, opened_on_fw_ext, ordered, verified


def raised(epoch: int, why: str = "re-isolation") -> tuple[E, dict[str, Any]]:
    return E.EPOCH_RAISED, {"epoch": epoch, "why": why}


def fenced(epoch: int, device: str, step: str = "applied") -> tuple[E, dict[str, Any], str, None]:
    return E.DEVICE_FENCED, {"epoch": epoch, "step": step}, device, None


def blocked(device: str, *networks: str, step: str = "applied") -> tuple[E, dict[str, Any], str, None]:
    return E.BLOCKLIST_DEVICE_APPLIED, {"networks": list(networks), "step": step, "as_expected": step == "applied"}, device, None


def test_a_cut_off_that_a_fence_overtook_still_counts_and_the_newer_epoch_stays() -> None:
    state = fold(events(ordered(5, "fw-ext"), raised(6), fenced(6, "fw-ext"), *opened_on_fw_ext(), applied(5, "fw-ext"), verified(5)))
    device = state.device("fw-ext")
    assert (device.epoch, device.laid_epoch, state.epoch) == (6, 5, 6)
    assert device.slots
    assert device.openings == {}, "the layer was laid: nothing of ours is open there"


def test_a_late_cut_off_of_before_the_last_one_changes_nothing() -> None:
    state = fold(events(ordered(5, "fw-ext"), applied(5, "fw-ext"), raised(6), fenced(6, "fw-ext"), *opened_on_fw_ext()))
    late = fold(events(applied(4, "fw-ext")), state)
    assert late.device("fw-ext").openings == state.device("fw-ext").openings != {}


def test_only_cut_offs_and_takeovers_stop_what_runs() -> None:
    state = fold(events(ordered(5, "fw-ext"), applied(5, "fw-ext"), verified(5)))
    assert state.run_epoch == 5
    assert fold(events(raised(6)), state).run_epoch == 5
    assert fold(events(raised(7, "takeover")), state).run_epoch == 7
    assert fold(events(ordered(8, "fw-ext")), state).run_epoch == 8


def test_a_fence_that_did_not_arrive_is_owed_still() -> None:
    state = fold(events(ordered(5, "fw-ext"), applied(5, "fw-ext"), raised(6), fenced(6, "fw-ext", "unknown")))
    assert (state.device("fw-ext").epoch, state.fence_epoch) == (5, 6)


def test_the_block_list_of_a_device_survives_a_cut_off_and_goes_with_the_layer() -> None:
    state = fold(events(ordered(5, "fw-ext"), applied(5, "fw-ext"), verified(5), blocked("fw-ext", "198.51.100.7/32")))
    assert fold(events(blocked("fw-ext", step="unknown")), state).device("fw-ext").blocked == state.device("fw-ext").blocked != ()
    assert fold(events(ordered(6, "fw-ext"), applied(6, "fw-ext")), state).device("fw-ext").blocked == state.device("fw-ext").blocked
    assert fold(events((E.LAYER_LIFTED, {}, "fw-ext", None)), state).device("fw-ext").blocked == ()
