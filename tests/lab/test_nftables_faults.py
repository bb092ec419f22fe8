"""What is broken on a device while we talk to it: each with its outcome, its message, and what the device then does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.dialects.base import Script
from orchestrator.domain.layer import Observed
from tests.lab.iptables_site import KINDS, IptablesSite, site_of
from tests.lab.nftables_site import FAMILIES, INSIDE, TCP, Site, box, inbound, layer, opening, run

pytestmark = pytest.mark.lab
KEPT = layer(inbound(4, 8080), inbound(6, 8080))
CHANGE = opening(inbound(4, 443), inbound(6, 443))
ENDS = tuple(inbound(family, 80).source for family in FAMILIES)


@pytest.fixture(params=KINDS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = site_of(request.param, tmp_path / "boot")
    try:
        made.up()
        for family in FAMILIES:
            for port in (443, 8080):
                made.echo("i", family, port)
        yield made
    finally:
        made.down()


@pytest.fixture
def full_disk(site: Site) -> Iterator[None]:
    """The boot directory on a disk of its own, with the layer on it and nothing left."""
    site.boot.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(site.boot))
    try:
        site.did(site.dialect.lay(KEPT))
        site.did(site.dialect.persist(KEPT))
        with contextlib.suppress(OSError), (site.boot / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(b"\0" * 4096)
        yield
    finally:
        run("umount", str(site.boot))


def reached(site: Site, port: int) -> list[bool]:
    return [site.connection("o", family, INSIDE[family], port) is not None for family in FAMILIES]


def refused(site: Site, script: Script, word: str, **values: int) -> None:
    status, said = site.on_router(script, **values)
    assert status != 0, said
    assert word in said


def break_tools(site: Site, *, families: tuple[int, ...] = FAMILIES) -> None:
    """The program that changes rules answers no, and still reads."""
    broken = '#!/bin/sh\ncat > /dev/null\necho "netlink: Error: cache initialization failed: Operation not permitted" >&2\nexit 1\n'
    if not isinstance(site, IptablesSite):
        site.put_program("nft", '#!/bin/sh\ncase "$*" in *list*) exec /usr/sbin/nft "$@" ;; esac\n' + broken.split("\n", 1)[1])
        return
    for family, tool in ((4, "iptables-restore"), (6, "ip6tables-restore")):
        if family in families:
            site.put_program(tool, broken)


def mend_tools(site: Site, *, families: tuple[int, ...] = FAMILIES) -> None:
    if not isinstance(site, IptablesSite):
        site.take_program("nft")
        return
    for family, tool in ((4, "iptables-restore"), (6, "ip6tables-restore")):
        if family in families:
            site.restore_tool(tool)


def test_a_tool_that_fails_is_refused_and_changes_nothing(site: Site) -> None:
    dialect = site.dialect
    site.did(dialect.lay(KEPT))
    site.did(dialect.persist(KEPT))
    site.did(dialect.block((inbound(4, 80).source,)))
    before = site.observed()
    break_tools(site)
    other = layer(slot="total-22222222")
    said_by_the_tool = "Operation not permitted"
    for script in (
        dialect.open(CHANGE), dialect.loosen(), dialect.unblock(()), dialect.lift(), dialect.lay(other), dialect.persist(other),
    ):  # fmt: skip
        refused(site, script, said_by_the_tool)
    refused(site, dialect.block(ENDS), "nothing")
    refused(site, dialect.fence(), "late commands still count", epoch=200)
    mend_tools(site)
    seen = site.observed()
    assert seen.model_copy(update={"foreign": ()}) == before.model_copy(update={"foreign": ()})
    assert seen.boots_with == (KEPT.slot,)
    assert reached(site, 443) == [False, False]


@pytest.mark.parametrize("site", ["nftables"], indirect=True)
def test_a_transaction_that_the_kernel_refuses_opens_nothing_of_it(site: Site) -> None:
    site.did(site.dialect.lay(KEPT))
    broad = box("198.51.100.0/24", "10.20.11.0/24", TCP, 400, 500)
    site.did(site.dialect.open(opening(broad)))
    site.did(site.dialect.confirm(opening(broad)))
    refused(site, site.dialect.open(opening(inbound(4, 443), inbound(6, 443))), "File exists")
    assert site.observed().opened == (broad,)
    assert reached(site, 443) == [True, False]


def test_a_rule_that_the_device_does_not_know_is_refused(site: Site) -> None:
    """A match, or a prefix, that its own parser does not take: the whole change is refused, with what the tool said."""
    site.did(site.dialect.lay(KEPT))
    script = site.dialect.open(CHANGE)
    text = (
        script.text.replace("--ctproto", "--ctnone")
        if isinstance(site, IptablesSite)
        else script.text.replace("10.20.11.10", "10.20.11.10/77")
    )
    assert text != script.text
    status, said = site.on_router(Script(script.command, text))
    assert status != 0, said
    assert "unknown option" in said or "Invalid" in said or "error" in said.lower()
    assert site.observed().opened == ()
    assert reached(site, 443) == [False, False]


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_leaves_what_runs_tight_and_says_what_the_reboot_would_lack(site: Site) -> None:
    dialect = site.dialect
    second = layer(slot="total-22222222")
    site.did(dialect.lay(second))
    refused(site, dialect.persist(second), "No space left on device")
    assert site.observed().boots_with == (KEPT.slot,), "laid, and not applied: the device would not boot with it"
    refused(site, dialect.block(ENDS), "blocked for now, but the device would boot without it: make room")
    seen = site.observed()
    assert seen.blocked == ENDS
    assert seen.foreign == ("the device would boot with another block list than runs",)
    assert reached(site, 8080) == [False, False]
    refused(site, dialect.fence(), "raised for now, but the device would boot with an older generation: make room", epoch=200)
    assert site.observed().epoch == 200
    assert site.on_router(dialect.open(CHANGE), epoch=100)[0] != 0
    assert not [file.name for file in site.boot.iterdir() if file.name.endswith(".new")], "nothing half written is left"

    (site.boot / "ballast").unlink()
    for script in (dialect.persist(second), dialect.block(ENDS), dialect.fence()):
        site.did(script, epoch=200)
    seen = site.observed()
    assert (seen.boots_with, seen.foreign, seen.epoch) == ((KEPT.slot, second.slot), (), 200)
    site.reboot()
    assert (site.observed().blocked, site.observed().epoch) == (ENDS, 200)


def test_a_disk_without_room_for_links_keeps_a_layer_from_being_lifted_halfway(site: Site) -> None:
    """The list of what to remove cannot be made: then nothing is lifted."""
    site.did(site.dialect.lay(KEPT))
    site.did(site.dialect.persist(KEPT))
    site.put_program("ln", "#!/bin/sh\necho 'ln: No space left on device' >&2\nexit 1\n")
    refused(site, site.dialect.lift(), "No space left on device")
    seen = site.observed()
    assert (seen.present, seen.boots_with, seen.foreign) == (True, (KEPT.slot,), ())
    site.take_program("ln")
    site.did(site.dialect.lift())
    assert site.observed() == Observed(present=False)


@pytest.mark.parametrize("site", KINDS[1:], indirect=True)
def test_one_family_that_fails_leaves_nothing_open_in_the_other(site: Site) -> None:
    dialect = site.dialect
    break_tools(site, families=(6,))
    refused(site, dialect.lay(KEPT), "Operation not permitted")
    seen = site.observed()
    assert seen.foreign, "IPv4 lies, IPv6 does not: that is no layer"
    assert [site.connection("o", family, INSIDE[family], 443) is None for family in FAMILIES] == [True, False]
    mend_tools(site, families=(6,))
    site.did(dialect.lay(KEPT))
    site.did(dialect.persist(KEPT))
    site.did(dialect.block(ENDS))
    before = site.observed()
    assert before.foreign == ()

    break_tools(site, families=(6,))
    refused(site, dialect.open(CHANGE), "Operation not permitted")
    refused(site, dialect.loosen(), "IPv4 is tight again")
    refused(site, dialect.unblock(()), "IPv4 blocks again")
    mend_tools(site, families=(6,))
    assert site.observed() == before
    assert reached(site, 443) == reached(site, 8080) == [False, False]

    site.did(dialect.unblock(()))
    break_tools(site, families=(6,))
    refused(site, dialect.block(ENDS), "IPv6: nothing more is blocked")
    assert reached(site, 8080) == [False, True], "the family that works is blocked"
    refused(site, dialect.fence(), "IPv6: the generation that runs could not be raised", epoch=200)
    mend_tools(site, families=(6,))
    for epoch in (100, 200):
        assert site.on_router(dialect.open(CHANGE), epoch=epoch)[0] != 0, "generations that differ let nothing be opened"
    assert site.observed().opened == ()
    for script in (dialect.fence(), dialect.block(ENDS)):
        site.did(script, epoch=200)
    assert (site.observed().foreign, site.observed().epoch) == ((), 200)

    break_tools(site, families=(6,))
    refused(site, dialect.lift(), "IPv6 was not lifted", epoch=200)
    mend_tools(site, families=(6,))
    assert reached(site, 443) == [False, False], "IPv4 is laid again"
    site.did(dialect.lay(KEPT), epoch=300)
    assert site.observed().foreign == ()
