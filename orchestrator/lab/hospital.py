"""The rehearsal hospital: the inventory built from real parts in network namespaces.

`up` goes through these steps, each of which leaves what is already right as it is:

1. the machine is asked whether it can
2. the state directory, the keys, the disks of the nodes
3. namespaces, cables, segments
4. nodes that are not running are booted, all at once
5. readiness is awaited: sshd, services, routes learned by BGP
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_interface
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from orchestrator.domain.network import Device, Node, Platform, Site
from orchestrator.errors import DeviceUnknown, UnknownName
from orchestrator.lab import disks, holder, namespaces, readiness, routing, topology
from orchestrator.lab.keys import make_keys, management_addresses
from orchestrator.lab.layout import ADMIN, SEGMENTS, Layout, default_directory
from orchestrator.lab.machine import require_machine

READY_S = 40.0
ROUTES_S = 20.0
# What a reboot takes away: rules, connections, addresses, routes, neighbours; links are down until the boot raises them.
_FORGET = """
for file in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; do echo 0 > "$file"; done
for link in $(ls /sys/class/net); do ip link set "$link" down 2>/dev/null; done
nft flush ruleset
conntrack -F 2>/dev/null
ip address flush scope global 2>/dev/null
ip -4 route flush table all 2>/dev/null; ip -6 route flush table main 2>/dev/null
ip neighbour flush all 2>/dev/null
true
"""


def silent(_: str) -> None:
    """Tells nobody."""


class Hospital:
    """A hospital of its own under a name. Every method needs root on Linux."""

    def __init__(self, site: Site, name: str = "valmont", directory: Path | None = None) -> None:
        """Raises UsageError for a name that cannot be one. Builds nothing."""
        self.site = site
        self.layout = Layout(name, (directory or default_directory(name)).absolute())
        self.nodes = {node.name: node for node in topology.nodes_of(site)}
        self._cables = topology.cables_of(site)

    @property
    def name(self) -> str:
        return self.layout.name

    @property
    def directory(self) -> Path:
        """The state directory: keys, known_hosts and disks are below it."""
        return self.layout.directory

    def up(self, progress: Callable[[str], None] = silent) -> None:
        """Builds what is missing and repairs what has died. Idempotent.

        Raises EnvironmentMissing (what the machine lacks, or which node did not come up), UsageError (the directory is
        somebody else's).
        """
        require_machine()
        with self._alone():
            self.layout.create()
            progress(f"keys and disks of {len(self.nodes)} nodes")
            make_keys(self.layout, self.nodes.values())
            for node in self.nodes.values():
                disks.write_disk(self.layout, self.site, node, self._cables)
                if isinstance(node, Device):
                    disks.install_device_files(self.layout, node)
            progress(f"{len(self._cables)} cables, {len(self.site.segments)} segments")
            self._wire()
            stopped = [name for name in self.nodes if holder.pid_of(self.layout, name) is None]
            progress(f"booting {len(stopped)} nodes" if stopped else "every node runs already")
            for name in stopped:
                self._boot(name)
            self._repair_management()
            readiness.wait_for_nodes(self.layout, self.site, self.nodes.values(), within_s=READY_S)
            progress("waiting for BGP")
            readiness.wait_for_routes(self.layout, self.site, within_s=ROUTES_S)
            progress(f"{self.name} is up")

    def down(self) -> None:
        """Removes everything, also what a crash left: found by the namespaces' prefix. Idempotent."""
        require_machine({"ip": "iproute2"})
        with self._alone():
            left = namespaces.existing(self.layout.prefix)
            namespaces.end_processes(left)
            namespaces.delete(left)
            shutil.rmtree(self.directory)

    def status(self) -> dict[str, Any]:
        """{"name", "directory", "up": all nodes ready, "nodes": {name: {"running", "ready", "lacks", "management"}}}."""
        there = namespaces.existing(self.layout.prefix)
        nodes = {}
        for node in self.nodes.values():
            lacks = readiness.missing_files(self.layout, self.site, node)
            nodes[node.name] = {
                "running": self.layout.namespace(node.name) in there and holder.pid_of(self.layout, node.name) is not None,
                "ready": not lacks,
                "lacks": list(lacks),
                "management": str(node.management) if node.management else None,
            }
        up = all(entry["ready"] for entry in nodes.values()) and self.layout.namespace(ADMIN) in there
        return {"name": self.name, "directory": str(self.directory), "up": up, "nodes": nodes}

    def exec(self, node: str, argv: Sequence[str], stdin: str | None = None, timeout: float = 30.0) -> CompletedProcess[str]:
        """Runs a command inside a node (or `admin`, `segments`); the exit status is in the result.

        Raises DeviceUnknown when the node is down, subprocess.TimeoutExpired after `timeout` seconds, UnknownName.
        """
        return holder.run(self.layout, node, argv, stdin=stdin, timeout=timeout, held=self._held(node))

    def entering(self, node: str) -> list[str]:
        """The words that precede a command to run it inside a node (for a terminal, or a process that stays)."""
        return holder.entering(self.layout, node, held=self._held(node))

    def reboot(self, device: str) -> None:
        """Power cycle: the running state is lost, the start-up configuration is loaded. Returns when it is ready again."""
        self.power_off(device)
        self._boot(device)
        self._await(device)

    def power_off(self, device: str) -> None:
        """Everything of the node is down, its links too. `revive` or `up` brings it back."""
        self._node(device)
        holder.end(self.layout, device)
        holder.run(self.layout, device, ["sh"], stdin=_FORGET, held=False)

    def restart_daemon(self, device: str) -> None:
        """What does the device's work is started anew: FRR's daemons, ovs-vswitchd; a firewall reloads its boot rules.

        Raises DeviceUnknown with the device's own words when that fails.
        """
        node = self._node(device)
        if isinstance(node, Device) and node.platform is Platform.NFTABLES:
            done = self.exec(device, ["nft", "-f", "/run/disk/boot.nft"])
        else:
            done = self.exec(device, ["sh", "/run/disk/restart"])
        if done.returncode:
            raise DeviceUnknown(f"{device} could not restart its daemon: {done.stderr.strip()}")
        self._await(device)

    def kill_device(self, device: str) -> None:
        """Its management plane dies: sshd, its sessions, the management link. What it forwards goes on as it was."""
        node = self._node(device)
        self.exec(device, ["sh", "-c", 'read -r pid < /run/sshd.pid; rm -f /run/sshd.pid; kill -9 "$pid"; pkill -9 -x sshd; true'])
        self.exec(device, ["ip", "link", "set", self._management_interface(node), "down"])

    def revive(self, device: str) -> None:
        """Undoes `kill_device` and `power_off`; no harm to a device that lives. Returns when it is ready."""
        node = self._node(device)
        if holder.pid_of(self.layout, device) is None:
            self._boot(device)
        else:
            self._restore_management(node)
        self._await(device)

    def key(self, which: str) -> Path:
        """The private key file `cut`, `open` or `probe`."""
        return self.layout.key(which)

    @property
    def known_hosts(self) -> Path:
        """Host keys of every management address, OpenSSH format."""
        return self.layout.known_hosts

    def ssh(
        self, node: str, command: str | None = None, *, key: str | None = None, stdin: str | None = None, timeout: float = 30.0
    ) -> CompletedProcess[str]:
        """Logs in to a node over the management network, from the orchestrator's place, host key checked.

        `key` is `cut`, `open` or `probe`; by default what the node's account is for.
        """
        target = self._node(node)
        which = key or ("open" if isinstance(target, Device) else "probe")
        argv = ["ssh", "-F", "none", "-i", str(self.key(which)), "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={self.known_hosts}"]
        argv += ["-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
        argv += ["-o", "KexAlgorithms=curve25519-sha256", f"{target.user}@{target.management}"]
        return self.exec(ADMIN, [*argv, *([command] if command is not None else [])], stdin=stdin, timeout=timeout)

    # ── how it is done ──

    def _wire(self) -> None:
        layout = self.layout
        wanted = [layout.namespace(node) for node in (*self.nodes, SEGMENTS, ADMIN)]
        there = namespaces.existing(layout.prefix)
        namespaces.end_processes(name for name in there if name not in wanted)
        namespaces.delete(there.difference(wanted))
        fresh = [name for name in wanted if name not in there]
        namespaces.add(fresh)
        if layout.namespace(SEGMENTS) in fresh:
            quiet = "echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6"  # a bridge between others speaks for nobody
            holder.run(layout, SEGMENTS, ["sh", "-c", quiet], held=False)
        links = {name: namespaces.links(name) for name in there.intersection(wanted)}
        lacking = [cable for cable in self._cables if cable.first.interface not in links.get(layout.namespace(cable.first.node), ())]
        namespaces.ip_batch(topology.laying(lacking, layout))
        segments = layout.namespace(SEGMENTS)
        namespaces.ip_batch(topology.bridging(self.site, self._cables, links.get(segments, set())), segments)
        if layout.namespace(ADMIN) in fresh or any(cable.first.node == ADMIN for cable in lacking):
            self._wire_admin()
        # A node whose cable was laid anew must boot again to configure it.
        for node in {end.node for cable in lacking for end in (cable.first, cable.second)}.intersection(self.nodes):
            if layout.namespace(node) not in fresh:
                holder.end(layout, node)

    def _wire_admin(self) -> None:
        own = self.site.orchestrator
        lines = f"link set lo up\nlink set {own.name} up\n"
        for address in own.addresses:
            lines += f"address replace {address} dev {own.name}" + (" nodad" if address.version == 6 else "") + "\n"
        holder.run(self.layout, ADMIN, ["sh", "-c", "for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $f; done"], held=False)
        namespaces.ip_batch(lines, self.layout.namespace(ADMIN))

    def _boot(self, node: str) -> None:
        if namespaces.identity(self.layout.namespace(node)) is None:
            raise DeviceUnknown(f"{node} has no namespace", advice=f"orchestrator lab up --name {self.name}")
        holder.end(self.layout, node)
        holder.run(self.layout, node, ["sh"], stdin=_FORGET, held=False)
        holder.start(self.layout, node)

    def _await(self, device: str) -> None:
        node = self._node(device)
        readiness.wait_for_nodes(self.layout, self.site, [node], within_s=READY_S)
        if node.bgp is not None:
            readiness.wait_for_routes(self.layout, self.site, within_s=ROUTES_S, only=[device])

    def _repair_management(self) -> None:
        for node in self.nodes.values():
            pid = holder.pid_of(self.layout, node.name)
            booted = pid is not None and holder.has_file(pid, readiness.BOOTED)
            if pid is not None and booted and readiness.SSHD in readiness.missing_files(self.layout, self.site, node):
                self._restore_management(node)

    def _restore_management(self, node: Node) -> None:
        pid = holder.pid_of(self.layout, node.name)
        if pid is None or holder.has_file(pid, readiness.SSHD):
            return
        batch = routing.management_batch(self.site, node).replace("address add", "address replace")
        self.exec(node.name, ["ip", "-batch", "-"], stdin=batch)
        self.exec(node.name, ["/usr/sbin/sshd", "-E", "/var/log/sshd.log"])

    def _management_interface(self, node: Node) -> str:
        own = management_addresses(node)
        return next(item.name for item in node.interfaces if any(str(ip_interface(address).ip) in own for address in item.addresses))

    def _held(self, node: str) -> bool:
        if node not in self.nodes and node not in (ADMIN, SEGMENTS):
            raise UnknownName(f"the hospital has no node {node!r}", advice="nodes: " + ", ".join([*sorted(self.nodes), ADMIN, SEGMENTS]))
        return node in self.nodes

    def _node(self, name: str) -> Node:
        if name not in self.nodes:
            raise UnknownName(f"the hospital has no node {name!r}", advice="nodes: " + ", ".join(sorted(self.nodes)))
        return self.nodes[name]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One `up` or `down` of this hospital at a time."""
        self.layout.claim()
        descriptor = os.open(self.layout.lock, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
