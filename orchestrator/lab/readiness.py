"""Waits, bounded, until nodes are ready: booted, sshd and services listening, routes learned."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from orchestrator.domain.network import Device, Node, Platform, Prefix, Site
from orchestrator.errors import EnvironmentMissing
from orchestrator.lab import holder, routing, switch
from orchestrator.lab.keys import has_sshd
from orchestrator.lab.layout import Layout
from orchestrator.lab.namespaces import COMMAND_S
from orchestrator.lab.topology import nodes_of

BOOTED = "/run/booted"
SSHD = "/run/sshd.pid"  # written by sshd once it listens
RESPONDER = "/run/responder.ready"  # written by the responder once it listens


def awaited_files(site: Site, node: Node) -> tuple[str, ...]:
    """The files that a ready node has."""
    files = [BOOTED]
    if has_sshd(node):
        files.append(SSHD)
    own = isinstance(node, Device) and node.platform is Platform.OPENVSWITCH and switch.service_on(site, node) is not None
    if node.services or own:
        files.append(RESPONDER)
    return tuple(files)


def missing_files(layout: Layout, site: Site, node: Node) -> tuple[str, ...]:
    """What the node still lacks; all of it while the holder is not there."""
    files = awaited_files(site, node)
    pid = holder.pid_of(layout, node.name)
    if pid is None or not holder.has_file(pid, BOOTED):
        return files
    return tuple(path for path in files if not holder.has_file(pid, path))


def wait_for_nodes(layout: Layout, site: Site, nodes: Iterable[Node], *, within_s: float) -> None:
    """Raises EnvironmentMissing that names the nodes that did not come up, with the end of their boot log."""
    deadline = time.monotonic() + within_s
    waiting = list(nodes)
    while waiting := [node for node in waiting if missing_files(layout, site, node)]:
        if time.monotonic() > deadline:
            said = "\n".join(
                f"{node.name}: lacks {', '.join(missing_files(layout, site, node))}\n{holder.log_of(layout, node.name)}" for node in waiting
            )
            raise EnvironmentMissing(f"not ready after {within_s:.0f} s:\n{said}", advice="orchestrator lab down, then up again")
        time.sleep(0.02)


def wait_for_routes(layout: Layout, site: Site, *, within_s: float, only: Sequence[str] = ()) -> None:
    """Waits for every route that must be learned by BGP (by the nodes named, or all). Raises EnvironmentMissing.

    A router with an interface down (shut, or its neighbour's) learns nothing, and rightly: it is not waited for.
    """
    speakers = {node: linked(layout, site, node) for node in dict(routing.learned_routes(site))}
    wanted = [(node, prefix) for node, prefix in routing.learned_routes(site) if speakers[node] and (not only or node in only)]
    deadline = time.monotonic() + within_s
    while wanted:
        have = {node: bgp_routes(layout, node) for node in {node for node, _ in wanted}}
        wanted = [(node, prefix) for node, prefix in wanted if prefix not in have[node]]
        if wanted and time.monotonic() > deadline:
            names = ", ".join(f"{prefix} at {node}" for node, prefix in wanted)
            raise EnvironmentMissing(
                f"BGP has not learned after {within_s:.0f} s: {names}", advice="look at `orchestrator lab shell rtr-isp`, vtysh"
            )
        if wanted:
            time.sleep(0.1)


def linked(layout: Layout, site: Site, node: str) -> bool:
    """Whether every interface of the node, beside the management, is up and has a link."""
    command = ["ip", "-n", layout.namespace(node), "-j", "link"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    up = {link["ifname"] for link in json.loads(done.stdout or "[]") if "LOWER_UP" in link["flags"]}
    own = next(each for each in nodes_of(site) if each.name == node)
    return all(interface.name in up for interface in own.interfaces if not routing.is_management(site, interface))


def bgp_routes(layout: Layout, node: str) -> set[Prefix]:
    """The prefixes that the node's kernel routes because BGP said so."""
    found: set[Prefix] = set()
    for family, everything in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        command = ["ip", "-n", layout.namespace(node), family, "-j", "route", "show", "proto", "bgp"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
        for route in json.loads(done.stdout or "[]"):
            text = everything if route["dst"] == "default" else route["dst"]
            found.add(ip_network(text))
    return found
