"""What block, fence, loosen and tighten say on packet filters; what they do to packets is tested in tests/lab."""

from __future__ import annotations

import json
import re
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dialects import dialect_for
from orchestrator.dialects.nftables_blocks import block_lines, read_blocks
from orchestrator.domain.layer import networks_in_order
from orchestrator.domain.network import Prefix

_networks = st.lists(
    st.one_of(
        st.builds(lambda n, size: ip_network((n, 32)).supernet(new_prefix=size), st.integers(0, 2**32 - 1), st.integers(0, 32)),
        st.builds(lambda n, size: ip_network((n, 128)).supernet(new_prefix=size), st.integers(0, 2**128 - 1), st.integers(0, 128)),
    ),
    min_size=1,
    max_size=8,
).map(tuple)
PLATFORMS = ("nftables", "iptables")
ONE = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))


def as_json(line: str) -> dict[str, object]:
    """A rule of ours as `nft -j` lists it."""
    found = re.fullmatch(r'add rule inet containment blocked (.*) goto stopped comment "(b-[0-9a-f]{16})"', line)
    assert found, line
    if whole := re.fullmatch(r"meta nfproto ipv([46])", found[1]):
        match: dict[str, object] = {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": {"4": 2, "6": 10}[whole[1]]}
    else:
        side = re.fullmatch(r"(ip6?) ([sd]addr) != \{ (.*) \}", found[1])
        assert side
        ends = [{"range": word.split("-")} if "-" in word else word for word in side[3].split(", ")]
        match = {"op": "!=", "left": {"payload": {"protocol": side[1], "field": side[2]}}, "right": {"set": ends}}
    return {"chain": "blocked", "expr": [{"match": match}, {"goto": {"target": "stopped"}}], "comment": found[2]}


def rules(*given_networks: tuple[Prefix, ...]) -> list[dict[str, object]]:
    return [as_json(line) for networks in given_networks for line in block_lines(networks) if " rule inet containment blocked " in line]


@given(st.lists(_networks, min_size=1, max_size=3))
def test_what_is_blocked_is_read_back_in_normal_form(lists: list[tuple[Prefix, ...]]) -> None:
    whole = [network for networks in lists for network in networks]
    assert read_blocks(rules(*(networks_in_order(networks) for networks in lists))) == (networks_in_order(whole), [])


def test_a_rule_of_somebody_else_and_one_direction_alone_are_named() -> None:
    ours = rules(ONE)
    assert read_blocks([*ours, {"expr": [{"accept": None}]}])[1] == ["chain blocked: unexpected rule: [{'accept': None}]"]
    networks, odd = read_blocks(ours[1:])
    assert networks == (ONE[1],)
    assert odd == ["chain blocked: IPv4 is not blocked the same in both directions"]
    softened = json.loads(json.dumps(ours).replace('"stopped"', '"elsewhere"'))
    assert len(read_blocks(softened)[1]) == len(ours)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_only_the_promised_placeholders_are_left_to_fill(platform: str) -> None:
    dialect = dialect_for(platform)
    promised = {
        dialect.fence(): {"epoch"}, dialect.block(ONE): set(), dialect.unblock(ONE): {"epoch"}, dialect.unblock(()): {"epoch"},
        dialect.loosen(): {"epoch", "confirm"}, dialect.tighten(): set(), dialect.lift(): {"epoch"},
    }  # fmt: skip
    for script, names in promised.items():
        assert set(re.findall(r"(?<!\$)\{(epoch|confirm|until)\}", script.command + script.text)) == names


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_opens_carries_the_fence_and_what_closes_needs_none(platform: str) -> None:
    dialect = dialect_for(platform)
    assert dialect.traits.blocks
    for script in (dialect.unblock(ONE), dialect.loosen(), dialect.lift()):
        filled = script.filled(epoch=7, confirm=60).text
        assert "delete element inet containment epoch { 7 }" in filled or "-X containment-e7" in filled
    assert "epoch" not in dialect.block(ONE).text.replace(".epoch", "")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_nothing_to_block_is_nothing_to_do(platform: str) -> None:
    assert dialect_for(platform).block(()).text == ":\n"
