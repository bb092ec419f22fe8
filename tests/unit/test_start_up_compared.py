"""What a device would start with is held against what runs, on every platform that has both; what a restart would open is told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest

from orchestrator.dialects.frr import FrrDialect
from orchestrator.dialects.iptables import IptablesDialect
from orchestrator.dialects.iptables_readback import _boot
from orchestrator.dialects.iptables_rules import FAMILIES
from orchestrator.dialects.iptables_shell import BOOT_SCRIPT
from orchestrator.dialects.nftables import NftablesDialect
from orchestrator.dialects.nftables_rules import layer_digest
from orchestrator.dialects.openvswitch import OpenvswitchDialect
from orchestrator.domain.drift import ByTheLog, compare, told
from orchestrator.domain.drift_status import Kind
from orchestrator.domain.layer import Layer, Observed
from tests.unit.test_frr_dialect import CUT
from tests.unit.test_frr_dialect import printed as router
from tests.unit.test_openvswitch_dialect import PARKED, claimed
from tests.unit.test_openvswitch_dialect import printed as switch

FINE = Layer(slot="internet-1", profile="internet", device="fw", guard=("wan0",))
SHUT = Layer(slot="internet-1", profile="internet", device="rtr", guard=("up0",), coarse=True)
PARK = SHUT.model_copy(update={"guard": ("p-ght", "p-lab")})
BODY = "add table inet containment\n"


def log(expected: Observed, layer: Layer) -> ByTheLog:
    return ByTheLog(
        device="it", slots=expected.slots, epoch=None, must=frozenset(), may=frozenset(), ends=frozenset(), left_s={},
        released=frozenset(), may_be_released=frozenset(), blocked=(), layers=(layer,), loosened=False,
        boots=frozenset(expected.boots_with),
    )  # fmt: skip


def said(expected: Observed, layer: Layer, seen: Observed) -> dict[Kind, list[str]]:
    found: dict[Kind, list[str]] = {}
    for deviation in compare(log(expected, layer), seen):
        found.setdefault(deviation.kind, []).extend(told(deviation))
    return found


def boot_line(name: str, body: str, title: str) -> str:
    """As the device prints it: the name, the sum of all but the first line, the first line."""
    return f"{name} {hashlib.sha256(body.encode()).hexdigest()} # containment boot file, {title}"


def firewall(boot: Iterable[str]) -> Observed:
    """The running layer as expected; the start-up as these lines say it."""
    expected = NftablesDialect().expected((FINE,))
    read = NftablesDialect().parse("\n".join(["=== fast paths", "=== boot", *boot, "=== end", ""]))
    return expected.model_copy(update={"boots_with": read.boots_with, "foreign": read.foreign})


def written(body: str = BODY) -> str:
    return f"slot internet-1, layer {layer_digest(FINE)}, body {hashlib.sha256(body.encode()).hexdigest()}"


def test_a_firewall_whose_file_is_ours_starts_as_it_runs() -> None:
    seen = firewall([boot_line("internet-1.nft", BODY, written())])
    assert said(NftablesDialect().expected((FINE,)), FINE, seen) == {}


@pytest.mark.parametrize(
    ("boot", "text"),
    [
        ([], ""),
        (
            [boot_line("internet-1.nft", BODY + "add rule inet containment stopped accept\n", written())],
            "internet-1.nft is not as we wrote it",
        ),
        ([boot_line("internet-1.nft", BODY, written()), boot_line("z.nft", "flush ruleset\n", "mine")], "z.nft is not as we wrote it"),
    ],
)
def test_a_firewall_that_would_start_with_less_or_with_more_is_told(boot: list[str], text: str) -> None:
    found = said(NftablesDialect().expected((FINE,)), FINE, firewall(boot))
    assert found
    assert text in str(found)
    if len(boot) < 2:
        assert "it would not start with internet-1: a restart opens what that stops" in found[Kind.START_UP]


@pytest.mark.parametrize("start_up", ["", CUT.replace(" shutdown\n", " no shutdown\n")])
def test_a_router_whose_start_up_leaves_the_line_up_is_told(start_up: str) -> None:
    dialect = FrrDialect()
    expected = dialect.expected((SHUT,))
    assert Kind.START_UP not in said(expected, SHUT, dialect.parse(router()))
    found = said(expected, SHUT, dialect.parse(router(start_up=start_up)))
    assert "up0" in found[Kind.START_UP][0]


def test_a_switch_whose_database_would_not_park_a_port_is_told() -> None:
    dialect = OpenvswitchDialect()
    expected = dialect.expected((PARK,))
    parked, lost = claimed(PARKED, "internet-1"), claimed({**PARKED, "tag": 60}, "internet-1")
    assert Kind.START_UP not in said(expected, PARK, dialect.parse(switch({"p-ght": parked, "p-lab": parked})))
    found = said(expected, PARK, dialect.parse(switch({"p-ght": parked, "p-lab": lost})))
    assert "p-lab" in found[Kind.START_UP][0]


@pytest.mark.parametrize("missing", ["boot", "internet-1.v6"])
def test_an_iptables_device_that_lacks_a_part_of_what_it_starts_with_is_told(missing: str) -> None:
    """Rules saved for one family alone, or a boot script that somebody changed: the other family would start open."""

    def saved(name: str) -> str:
        return f"{name} 0123 # containment boot file, {name}, layer abc, body 0123"

    names = [f"{part}.v{family}" for part in ("0-base", "internet-1") for family in FAMILIES]
    script = boot_line("boot", BOOT_SCRIPT.split("\n", 1)[1], "script")
    whole = {"boot": script, **{name: saved(name) for name in names}}
    assert _boot(list(whole.values()))[0] == {"internet-1": "abc"}
    slots, _, wrong = _boot([line for name, line in whole.items() if name != missing])
    expected = IptablesDialect().expected((FINE,))
    seen = expected.model_copy(update={"boots_with": tuple(slots), "foreign": tuple(wrong)})
    assert "it would not start with internet-1: a restart opens what that stops" in said(expected, FINE, seen)[Kind.START_UP]
