"""Two stages share one opening on the real devices (a firewall's elements and a switch's port): one is closed, then the other.

What arrives is counted at the receiver, on one session of each family that began before the first of them was closed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.lab.streams import StreamSpec, start_streams
from tests.lab.cut_hospital import VALMONT, CutHospital, together
from tests.lab.reachability import assert_silent
from tests.lab.story import Story, serving

pytestmark = pytest.mark.lab

OK = 0
FIRST, SECOND = "S1-first", "S2-second"
FIREWALL, SWITCH = "fw-int", "sw-dmz"
PACS = ("10.20.22.10", "2001:db8:20:22::10")
DICOM = [("tcp", address, 104) for address in PACS]
SESSIONS = [
    StreamSpec(f"images-{address}", "ght-mpls", 6 if ":" in address else 4, "tcp", "sister", "pacs", address, 104) for address in PACS
]
TESTS = VALMONT / "tests.yaml"
FLOW = """
  {name}:
    application: image-exchange
    partners: [sister]
    direction: in
    services: [tcp/104]
    addresses: [10.20.22.10, "2001:db8:20:22::10"]
"""
STAGE = """
  {name}:
    title: {{en: Images, fr: Images}}
    flows: [{flow}]
    gates: [{{evidence: asked-for, title: {{en: Asked for, fr: Demandé}}}}]
    votes: {{network-engineer: 1, security-officer: 1}}
    observation: 1h
"""


def policy_with_both(folder: Path) -> Path:
    """Valmont, with two stages before all others that open the very same packets."""
    shutil.copytree(VALMONT, folder)
    first, second = (FLOW.format(name=name) for name in ("images-first", "images-second"))
    changes = {
        "flows.yaml": ("flows:", f"flows:{first}{second}"),
        "stages.yaml": (
            "stages:",
            "stages:" + STAGE.format(name=FIRST, flow="images-first") + STAGE.format(name=SECOND, flow="images-second"),
        ),
        # Its own test that images stay closed until P2.
        "tests.yaml": (next(line for line in TESTS.read_text(encoding="utf-8").splitlines() if line.startswith("  images-in-total:")), ""),
    }
    for name, (old, new) in changes.items():
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text, f"{name} is not what this test changes"
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def story(unwritten: CutHospital, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = policy_with_both(tmp_path_factory.mktemp("shared") / "policy")
    try:
        unwritten.ratify(folder)
        assert unwritten.cut("total", pack=unwritten.brief).code == OK
        with serving(unwritten, read_policy(folder, rehearsal=True).policy) as found:
            yield found
    finally:
        unwritten.lift()
        unwritten.ratify()


def test_what_two_stages_share_stays_with_the_second_and_goes_with_the_last(unwritten: CutHospital, story: Story) -> None:
    hospital, everywhere = unwritten.hospital, [device.name for device in unwritten.hospital.site.devices]
    cut = together(unwritten.observed, everywhere)
    assert_silent(hospital, "sister", DICOM)
    story.open(FIRST)
    (counted,) = [one for one in story.say("eng-1", "stage", "show", FIRST)["counted"] if one["device"] == FIREWALL]
    assert counted["packets"] >= counted["counting"] == counted["openings"] == 2, "both families of the probes went through it"
    one = together(unwritten.observed, (FIREWALL, SWITCH))
    assert one[FIREWALL].opened
    assert set(one[SWITCH].closed) < set(cut[SWITCH].closed)
    story.open(SECOND)
    both = together(unwritten.observed, (FIREWALL, SWITCH))
    assert both[FIREWALL].opened == one[FIREWALL].opened, "the very same elements, laid once"
    assert both[SWITCH].closed == one[SWITCH].closed

    with start_streams(hospital, SESSIONS, period_ms=20) as sessions:
        answer = story.say("eng-1", "stage", "revert", FIRST, "--reason", "not now", "--wait")
        reverted_ns = time.monotonic_ns()
        assert answer["state"] == "reverted"
        assert f"{FIREWALL} keeps what it shares with images-second with sister ({SECOND}) open" in answer["detail"]
        assert f"{SWITCH} keeps " in answer["detail"]
        assert f" released for {SECOND}" in answer["detail"]
        time.sleep(1.0)
        assert [result.name for result in sessions.snapshot() if result.last_ns <= reverted_ns] == [], "the same sessions, both ways"
        after = together(unwritten.observed, (FIREWALL, SWITCH))
        assert after[FIREWALL].opened == both[FIREWALL].opened
        assert after[SWITCH].closed == both[SWITCH].closed

        last = story.say("eng-1", "stage", "revert", SECOND, "--reason", "not now", "--wait")
        closed_ns = time.monotonic_ns()
        assert last["state"] == "reverted"
        assert "keeps" not in last["detail"]
        time.sleep(1.0)
        assert [result.name for result in sessions.snapshot() if result.last_ns > closed_ns] == []
    assert_silent(hospital, "sister", DICOM)
    for name, seen in together(unwritten.observed, everywhere).items():
        assert (seen.slots, seen.opened, seen.temporary, seen.closed) == (
            cut[name].slots, cut[name].opened, cut[name].temporary, cut[name].closed,
        )  # fmt: skip
