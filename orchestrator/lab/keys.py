"""The keys of a rehearsal hospital, made at its first `up` and gone with it: none of them opens anything real."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from orchestrator.domain.network import Host, Node
from orchestrator.lab.layout import Layout

ACCESS_KEYS = ("cut", "open", "probe")


def has_sshd(node: Node) -> bool:
    """Whether the node can be logged in to: it has a management address."""
    return node.management is not None


def management_addresses(node: Node) -> tuple[str, ...]:
    """The addresses of the interface that carries the management address, both families."""
    for interface in node.interfaces:
        found = tuple(str(address.ip) for address in interface.addresses)
        if str(node.management) in found:
            return found
    return ()


def make_keys(layout: Layout, nodes: Iterable[Node]) -> None:
    """Makes the keys that do not exist yet, and writes `known_hosts`."""
    held = [node for node in nodes if has_sshd(node)]
    wanted = [layout.key(which) for which in ACCESS_KEYS] + [_host_key(layout, node) for node in held]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_make, wanted))
    lines = []
    for node in held:
        public = _host_key(layout, node).with_suffix(".pub").read_text().split()
        lines += [f"{address} {public[0]} {public[1]}\n" for address in management_addresses(node)]
    layout.known_hosts.write_text("".join(lines))


def authorized(layout: Layout, node: Node) -> str:
    """The authorized keys of the account that the orchestrator uses on the node."""
    which = ("probe",) if isinstance(node, Host) else ("cut", "open")
    return "".join(layout.key(key).with_suffix(".pub").read_text() for key in which)


def _host_key(layout: Layout, node: Node) -> Path:
    return layout.disk(node.name) / "etc/ssh/ssh_host_ed25519_key"


def _make(path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    comment = path.name if path.name.startswith("ssh_host") else path.stem
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True, timeout=20)
