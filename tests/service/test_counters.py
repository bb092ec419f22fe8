"""What devices counted through a stage's openings: recorded and told as further evidence; nothing hangs on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.api import views
from orchestrator.cli.stage_text import counted
from orchestrator.dialects import dialect_for as real
from orchestrator.dialects.base import Dialect
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import Observed
from orchestrator.errors import DeviceUnknown
from orchestrator.service.stages import Stages
from orchestrator.simulation.dialect import SimulatedDialect, dialect_for
from tests.service.reopening import PLANNER, Reopening, after_the_cut

LIFELINES = "P0-lifelines"
CUT_SHORT = -1  # instead of packets: the read-back after the probes cannot be understood


class Counting(SimulatedDialect):
    """A platform that counts; every opening that lies has let so many packets through."""

    def __init__(self, platform: str, packets: int) -> None:
        super().__init__(platform)
        self.traits = replace(self.traits, counts=platform == "nftables")
        self.packets = packets

    def parse(self, output: str) -> Observed:
        seen = super().parse(output)
        counted_here = len(seen.opened) > 0 and len(seen.temporary) > 0 and self.traits.counts
        if counted_here and self.packets == CUT_SHORT and self.asked():
            raise DeviceUnknown("the read-back is cut off")
        return seen.model_copy(update={"counted": tuple((element, max(self.packets, 0)) for element in seen.opened)})

    def asked(self) -> bool:
        """Every second reading: the first is the one that must be right."""
        self.readings = getattr(self, "readings", 0) + 1
        return self.readings % 2 == 0


def applied(packets: int) -> tuple[Reopening, dict[str, Any]]:
    reopening = after_the_cut(approved=LIFELINES)
    dialects: dict[str, Dialect] = {}

    def counting(platform: str) -> Dialect:
        return dialects.setdefault(platform, Counting(platform, packets) if platform == "nftables" else dialect_for(platform))

    reopening.stages = Stages(replace(reopening.stages.collaborators, dialect_for=counting), PLANNER)
    assert reopening.apply(LIFELINES).state == "open"
    (recorded,) = [event for event in reopening.log.read() if event.type is E.COUNTERS_READ]
    state = reopening.stages.state()
    stage = views.stage(state, reopening.policy.stage(LIFELINES), reopening.clock.now())
    body = {name: recorded.body[name] for name in ("counted", "unread")}
    return reopening, {"body": body, "text": "\n".join(counted(stage)), "stage": stage}


def test_packets_are_recorded_before_it_is_made_lasting() -> None:
    reopening, found = applied(3)
    openings = len(reopening.stages.state().device("fw-ext").opened)
    assert openings
    assert found["body"] == {
        "counted": {"fw-ext": {"openings": openings, "counting": openings, "packets": 3 * openings, "silent": []}}, "unread": {},
    }  # fmt: skip
    assert found["text"] == f"  counted by fw-ext: {3 * openings} packets through {openings} of {openings} openings"
    types = [event.type for event in reopening.log.read() if event.stage == LIFELINES]
    assert types.index(E.COUNTERS_READ) < types.index(E.STAGE_OBSERVING)
    assert found["stage"]["counted"] == [
        {"device": "fw-ext", "openings": openings, "counting": openings, "packets": 3 * openings, "unread": ""}
    ]


def test_a_way_past_the_device_is_told() -> None:
    _, found = applied(0)
    assert len(found["body"]["counted"]["fw-ext"]["silent"]) == min(20, found["body"]["counted"]["fw-ext"]["openings"])
    assert "NOTHING" in found["text"]


def test_a_counter_that_cannot_be_read_is_recorded_and_holds_nothing_up() -> None:
    _, found = applied(CUT_SHORT)
    assert found["body"] == {"counted": {}, "unread": {"fw-ext": "the read-back is cut off"}}
    assert "could not be read: the read-back is cut off" in found["text"]


@pytest.mark.parametrize("platform", ["openvswitch", "nftables"])
def test_who_counts_says_so(platform: str) -> None:
    assert real(platform).traits.counts
    assert not real("frr").traits.counts
