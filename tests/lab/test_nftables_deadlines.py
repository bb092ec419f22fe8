"""Deadlines that the device keeps by itself: whoever laid an opening, or loosened the layer, is killed in between."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.dialects.base import Script
from orchestrator.domain.layer import Observed
from tests.lab.iptables_site import KINDS, IptablesSite, site_of
from tests.lab.nftables_site import FAMILIES, INSIDE, OUTSIDE, Site, inbound, layer, opening, talks

pytestmark = pytest.mark.lab
KEPT = layer(inbound(4, 8080), inbound(6, 8080))
CHANGE = opening(inbound(4, 443), inbound(6, 443))
WINDOW_S = 5


@pytest.fixture(params=KINDS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = site_of(request.param, tmp_path / "boot")
    try:
        made.up()
        for family in FAMILIES:
            for port in (443, 666, 8080, 9000):
                made.echo("i", family, port)
        yield made
    finally:
        made.down()


def cut(site: Site, epoch: int = 100) -> None:
    site.did(site.dialect.lay(KEPT), epoch=epoch)
    site.did(site.dialect.persist(KEPT), epoch=epoch)


def reached(site: Site, port: int) -> list[bool]:
    return [site.connection("o", family, INSIDE[family], port) is not None for family in FAMILIES]


def ends_within(site: Site, seconds: float, *ports: int) -> None:
    """Sleeps until then; nothing answers on the ports any more."""
    time.sleep(seconds)
    for port in ports:
        assert reached(site, port) == [False, False]


def run_and_die(site: Site, script: Script, **values: int) -> None:
    """The session that sent the script stays, and is killed once the script is done."""
    filled = site.filled(script, **values)
    done = site.boot.parent / "done"
    session = site.start(f"{filled.command}; [ $? = 0 ] && touch {done}; sleep 600", filled.text)
    given_up = time.monotonic() + 10
    while not done.exists():
        assert time.monotonic() < given_up, "the script was not done"
        time.sleep(0.02)
    done.unlink()
    os.killpg(session.pid, signal.SIGKILL)
    assert session.wait(timeout=10) == -signal.SIGKILL


def test_an_opening_and_its_session_die_with_the_window_though_nobody_lives_to_close_it(site: Site) -> None:
    cut(site)
    run_and_die(site, site.dialect.open(CHANGE), confirm=WINDOW_S)
    sessions = [site.connection("o", family, INSIDE[family], 443) for family in FAMILIES]
    assert all(talks(one) for one in sessions)
    ends_within(site, WINDOW_S, 443)
    assert not any(talks(one) for one in sessions)
    seen = site.observed()
    assert (seen.opened, seen.temporary, seen.foreign) == ((), (), ())


def test_an_approved_end_comes_though_nobody_lives_to_close_it(site: Site) -> None:
    cut(site)
    site.did(site.dialect.open(CHANGE), confirm=30)
    run_and_die(site, site.dialect.confirm(CHANGE, until=True), until=WINDOW_S)
    sessions = [site.connection("o", family, INSIDE[family], 443) for family in FAMILIES]
    assert all(talks(one) for one in sessions)
    ends_within(site, WINDOW_S, 443)
    assert not any(talks(one) for one in sessions)


def test_a_loosened_layer_lies_again_by_itself_with_what_was_open(site: Site) -> None:
    cut(site)
    site.did(site.dialect.open(CHANGE), confirm=60)
    inner = [site.connection("o", family, INSIDE[family], 443) for family in FAMILIES]
    before = site.observed()

    run_and_die(site, site.dialect.loosen(), confirm=WINDOW_S)

    loose = [site.connection("o", family, INSIDE[family], 9000) for family in FAMILIES]
    assert all(talks(one) for one in [*inner, *loose])
    assert reached(site, 666) == [False, False], "the site's own rules decide, its denies too"
    seen = site.observed()
    assert seen.loosened_s is not None
    assert 0 <= seen.loosened_s <= WINDOW_S
    assert (seen.present, seen.slots, seen.opened, seen.boots_with, seen.epoch, seen.foreign) == (
        False, {}, before.opened, (KEPT.slot,), 100, (),
    )  # fmt: skip
    ends_within(site, WINDOW_S, 9000, 666)
    assert not any(talks(one) for one in loose), "a session that began while it was loose dies with it"
    assert all(talks(one) for one in inner)
    assert reached(site, 8080) == reached(site, 443) == [True, True]
    seen = site.observed()
    assert (seen.slots, seen.opened, seen.loosened_s, seen.foreign) == (before.slots, before.opened, None, ())
    assert all(left < 60 for _, left in seen.temporary), "what is left of the deadlines went on"


def test_loosening_again_starts_anew_and_tightening_ends_it_at_once(site: Site) -> None:
    cut(site)
    site.did(site.dialect.loosen(), confirm=5)
    site.did(site.dialect.loosen(), confirm=300)
    left = site.observed().loosened_s
    assert left is not None
    assert left > 280
    late = site.connection("o", 4, INSIDE[4], 9000)
    assert talks(late)
    for _ in "twice":
        site.did(site.dialect.tighten())
        assert site.observed().slots == site.dialect.expected((KEPT,)).slots
        assert site.observed().loosened_s is None
    assert not talks(late)
    assert reached(site, 9000) == [False, False]


def test_a_block_list_waits_while_the_layer_is_loose_and_holds_when_it_lies_again(site: Site) -> None:
    cut(site)
    site.did(site.dialect.loosen(), confirm=300)
    blocked = tuple(inbound(family, 80).source for family in FAMILIES)
    site.did(site.dialect.block(blocked))
    seen = site.observed()
    assert (seen.blocked, seen.present, seen.foreign) == (blocked, False, ())
    assert reached(site, 8080) == [True, True], "nothing of the layer is asked"
    site.did(site.dialect.tighten())
    assert reached(site, 8080) == [False, False]


def test_a_cut_off_ends_the_loosening(site: Site) -> None:
    cut(site)
    site.did(site.dialect.loosen(), confirm=300)
    cut(site, epoch=200)
    seen = site.observed()
    assert (seen.slots, seen.loosened_s, seen.epoch, seen.foreign) == (site.dialect.expected((KEPT,)).slots, None, 200, ())
    assert reached(site, 9000) == [False, False]


def test_a_reboot_ends_windows_and_loosening_and_keeps_the_block_list(site: Site) -> None:
    cut(site)
    lying = site.dialect.expected((KEPT,)).slots
    site.did(site.dialect.open(CHANGE), confirm=300)
    site.reboot()
    assert (site.observed().slots, site.observed().opened) == (lying, ())
    assert reached(site, 443) == [False, False]
    site.did(site.dialect.loosen(), confirm=300)
    assert reached(site, 9000) == [True, True]
    site.did(site.dialect.block((inbound(4, 80).source,)))
    site.reboot()
    seen = site.observed()
    assert (seen.slots, seen.loosened_s, seen.blocked, seen.foreign) == (lying, None, (inbound(4, 80).source,), ())
    assert reached(site, 9000) == [False, False]
    assert reached(site, 8080) == [False, True], f"{OUTSIDE[4]} is blocked"


def test_tightening_lays_a_layer_that_somebody_flushed(site: Site) -> None:
    cut(site)
    if isinstance(site, IptablesSite):
        site.did(Script("for tool in iptables ip6tables; do $tool -F; $tool -X; done"))
    else:
        site.nft("flush ruleset\n")
    assert not site.observed().present
    assert reached(site, 9000) == [True, True]
    site.did(site.dialect.tighten())
    assert site.observed().slots == site.dialect.expected((KEPT,)).slots
    assert reached(site, 9000) == [False, False]


def test_lifting_a_loosened_layer_leaves_no_timer_and_everything_as_it_was(site: Site) -> None:
    before = site.did(site.dialect.snapshot())
    cut(site)
    site.did(site.dialect.block((inbound(4, 80).source,)))
    site.did(site.dialect.loosen(), confirm=2)
    site.did(site.dialect.lift())
    time.sleep(2.1)
    assert site.did(site.dialect.snapshot()) == before
    assert site.observed() == Observed(present=False)
    assert reached(site, 9000) == [True, True]
    site.did(site.dialect.tighten())
    assert site.did(site.dialect.snapshot()) == before
