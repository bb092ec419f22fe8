"""What colleagues do at night on the real rehearsal hospital: found, told in packets, repaired; what is not ours is told by section.

All of it is done at once, found by one look and repaired by one command: a look reads seven devices.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import pytest

from orchestrator.dialects.nftables_rules import box_set, box_words
from orchestrator.domain.layer import Element
from tests.lab.cut_hospital import ROOT, CutHospital, together
from tests.lab.small_device import eventually

pytestmark = pytest.mark.lab

OK, PARTIAL = 0, 2
BY_HAND = Element(source=ip_network("198.51.100.99/32"), destination=ip_network("10.20.11.20/32"), protocol=6, ports=(80, 80))
FIREWALL, FLUSHED, INSERTED, ROUTER, SWITCH = "fw-ext", "fw-int", "vpn", "rtr-backup", "sw-core"


@dataclass(frozen=True)
class Watched:
    """The hospital after a total cut-off, a server that watches it, and an engineer who has logged in."""

    cut: CutHospital

    def drift(self, *words: str, expect: int) -> dict[str, Any]:
        done = self.cut.run("drift", "--as", "eng-1", "--json", *words)
        assert done.returncode == expect, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def found(self, expect: int = PARTIAL) -> dict[str, list[dict[str, Any]]]:
        return {device["device"]: device["found"] for device in self.drift(expect=expect)["devices"]}


@pytest.fixture(scope="module")
def watched(unwritten: CutHospital) -> Iterator[Watched]:
    assert unwritten.cut("total", pack=unwritten.brief).code == OK
    server = subprocess.Popen(
        unwritten.command("serve"), cwd=ROOT, env=unwritten.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        assert eventually(lambda: (unwritten.state.root / "api.sock").exists() or server.poll() is not None, 30)
        unwritten.must("login", "--as", "eng-1", "--key", str(unwritten.directory / "people" / "eng-1"))
        yield Watched(unwritten)
    finally:
        unwritten.run("drift", "--as", "eng-1", "--repair")  # whatever a test has left: a layer is lifted from where it lies
        server.terminate()
        server.wait(30)
        unwritten.lift()


def test_everything_that_colleagues_did_in_one_night(watched: Watched) -> None:
    cut = watched.cut
    assert {name: found for name, found in watched.found(expect=OK).items() if found} == {}, "nothing has drifted yet"
    before = cut.snapshots()
    guard = cut.observed(ROUTER).closed[0]
    port = cut.observed(SWITCH).closed[0]
    chain = cut.on(
        INSERTED, "nft list table inet containment | awk '$1 == \"chain\" { name = $2 } /hook forward/ { print name; exit }'"
    ).strip()
    site_rules = cut.on(FLUSHED, "grep -v '^flush' /etc/nftables.conf")
    night = {
        FIREWALL: f"nft add element inet containment {box_set('open', BY_HAND)} '{{ {box_words(BY_HAND)} }}' && "
        "nft add rule inet nat prerouting ip daddr 203.0.113.27 tcp dport 8080 dnat ip to 10.20.11.20:80",
        FLUSHED: "nft flush ruleset",
        INSERTED: f"nft insert rule inet containment {chain} accept && ip route add 10.99.0.0/16 via 203.0.113.1",
        ROUTER: f"vtysh -c 'configure terminal' -c 'interface {guard}' -c 'no shutdown'",
        SWITCH: f"ovs-vsctl remove port {port} vlan_mode dot1q-tunnel -- remove port {port} tag 4094 -- set port {port} tag=30",
    }
    together(lambda name: cut.on(name, night[name]), night)

    found = watched.found()
    assert {name for name, items in found.items() if items} == set(night)
    kinds = {name: {item["kind"] for item in items} for name, items in found.items()}
    assert kinds[FIREWALL] == {"open", "beside"}
    (opened, translated) = sorted(found[FIREWALL], key=lambda item: item["kind"] == "beside")
    assert opened["appears"] == ["198.51.100.99/32 → 10.20.11.20/32 tcp/80"]
    assert translated["section"] == "translation"
    assert translated["diff"] == ["+\t\tip daddr 203.0.113.27 tcp dport 8080 dnat ip to 10.20.11.20:80"]
    assert kinds[FLUSHED] == {"layer-missing", "beside"}
    assert any(line.startswith("any → any through") for item in found[FLUSHED] for line in item["appears"])
    (rules,) = [item for item in found[FLUSHED] if item["section"] == "site rules"]
    assert rules["more"]
    assert any(line.startswith("what the site stopped by: ") and line.endswith("policy drop;") for line in rules["appears"])
    assert {"not-modelled", "beside"} <= kinds[INSERTED]
    assert [item["diff"] for item in found[INSERTED] if item["section"] == "routes"] == [["+10.99.0.0/16 via 203.0.113.1 dev wan0"]]
    assert any(f"through {guard}" in line for item in found[ROUTER] for line in item["appears"])
    assert found[SWITCH]

    repaired = watched.drift("--repair", expect=PARTIAL)
    left = {device["device"]: [item["kind"] for item in device["left"]] for device in repaired["devices"]}
    assert set(left) == set(night)
    assert {kind for kinds in left.values() for kind in kinds} == {"beside"}, "what is not ours is for people"
    assert cut.observed(ROUTER).closed == (guard,)
    assert port in cut.observed(SWITCH).closed
    assert cut.observed(FIREWALL).opened == ()

    cut.on(FLUSHED, f"nft -f - <<'RULES'\n{site_rules}\nRULES")
    cut.on(FIREWALL, "nft delete rule inet nat prerouting handle $(nft -a list chain inet nat prerouting | sed -n 's/.*8080.*handle //p')")
    accept = cut.run("drift", "--as", "eng-1", "accept", INSERTED, "routes", "--reason", "the new leased line")
    assert accept.returncode == OK, accept.stdout + accept.stderr
    assert {name: items for name, items in watched.found(expect=OK).items() if items} == {}
    cut.on(INSERTED, "ip route del 10.99.0.0/16")
    assert cut.snapshots() == before, "repairing has touched nothing of the site's own"
