"""Writes the disk of each node: everything that its start-up script reads. A disk is written once and then kept.

Only the device-side scripts of the product (`playbooks/files/`) are installed anew at every `up`.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from orchestrator.domain.network import Device, Node, Platform, Site, ZoneKind
from orchestrator.lab import boot, routing, site_rules, switch
from orchestrator.lab.accounts import write_accounts
from orchestrator.lab.certificates import certificate, write_private
from orchestrator.lab.layout import Layout
from orchestrator.lab.topology import Cable, plugged_ports

PROGRAMS = Path(__file__).parent
DEVICE_FILES = Path(__file__).resolve().parents[2] / "playbooks" / "files"
SCRIPT_OF = {
    Platform.NFTABLES: "containment-host", Platform.IPTABLES: "containment-host", Platform.OPENVSWITCH: "containment-host",
    Platform.FRR: "containment-router",
}  # fmt: skip


def write_disk(layout: Layout, site: Site, node: Node, cables: Sequence[Cable]) -> None:
    """Writes the node's disk if it has none yet."""
    disk = layout.disk(node.name)
    if (disk / "complete").exists():
        return
    for each in ("etc", "varlib", "sbin"):
        (disk / each).mkdir(parents=True, exist_ok=True)
        (disk / f"{each}.work").mkdir(exist_ok=True)
    write_accounts(layout, node)
    (disk / "management.batch").write_text(routing.management_batch(site, node))
    (disk / "network.batch").write_text(routing.network_batch(site, node))
    if boot.has_rules(node):
        firewall = isinstance(node, Device) and node.platform is Platform.NFTABLES
        rules = site_rules.firewall_rules(site, node) if isinstance(node, Device) and firewall else site_rules.translation_only(node)
        (disk / "etc/nftables.conf").write_text(rules)
        (disk / "boot.nft").write_text(boot.BOOT_RULES)
    if isinstance(node, Device):
        (disk / "etc/containment").mkdir(exist_ok=True)
    if routing.runs_frr(node):
        _write_frr(disk, routing.frr_configuration(site, node))
    words = _write_switch(disk, site, node, cables) if isinstance(node, Device) and node.platform is Platform.OPENVSWITCH else None
    answers = _write_responder(layout, site, node)
    (disk / "rc").write_text(boot.start_up(node, answers=answers, switch=words))
    (disk / "complete").touch()


def install_device_files(layout: Layout, device: Device, source: Path = DEVICE_FILES) -> None:
    """Puts the product's device-side script where the device runs it from, if the product has one."""
    script = source / SCRIPT_OF[device.platform]
    if script.exists():
        target = layout.disk(device.name) / "sbin" / script.name
        fresh = target.with_suffix(".new")
        shutil.copyfile(script, fresh)
        fresh.chmod(0o755)
        fresh.replace(target)


def _write_frr(disk: Path, configuration: str) -> None:
    directory = disk / "etc/frr"
    directory.mkdir()
    (directory / "frr.conf").write_text(configuration)
    (directory / "vtysh.conf").write_text("service integrated-vtysh-config\n")
    owner = pwd.getpwnam("frr")
    for path in (directory, *directory.iterdir()):
        os.chown(path, owner.pw_uid, owner.pw_gid)
        path.chmod(0o755 if path.is_dir() else 0o640)
    (disk / "start-frr").write_text(boot.START_FRR)
    (disk / "restart").write_text(boot.RESTART_FRR)


def _write_switch(disk: Path, site: Site, device: Device, cables: Sequence[Cable]) -> dict[str, str]:
    database = disk / switch.DATABASE.removeprefix("/")
    database.parent.mkdir(parents=True)
    subprocess.run(["ovsdb-tool", "create", str(database), "/usr/share/openvswitch/vswitch.ovsschema"], check=True, timeout=20)
    (disk / "start-switch").write_text(boot.START_SWITCH)
    (disk / "restart").write_text(boot.RESTART_SWITCH)
    service = switch.service_on(site, device)
    if service is not None:
        (disk / "service.batch").write_text(switch.service_batch(service))
    ports = plugged_ports(device, cables)
    first = switch.first_configuration(site, device, ports)
    return {"ports": " ".join(ports), "database": switch.DATABASE, "bridge": switch.BRIDGE, "first": first}


def _write_responder(layout: Layout, site: Site, node: Node) -> bool:
    """What the node answers, by address; whether it answers anything."""
    disk = layout.disk(node.name)
    addresses = [
        str(address.ip)
        for interface in node.interfaces
        if site.zone(interface.zone).kind is not ZoneKind.MANAGEMENT
        for address in interface.addresses
    ]
    services: list[tuple[str, int]] = [(service.kind, service.port) for service in node.services]
    service = switch.service_on(site, node) if isinstance(node, Device) else None
    if service is not None:
        addresses += [str(address.ip) for address in service.addresses]
        services += service.services
    for program in ("responder.py", "stream_sender.py"):
        if (PROGRAMS / program).exists():
            shutil.copyfile(PROGRAMS / program, disk / program)
    if not services:
        return False
    plan: dict[str, object] = {"node": node.name, "addresses": addresses, "services": services}
    certified = [one.name for one in node.services if one.kind == "tls"]
    if certified:
        write_private(disk / "certificate.pem", certificate(layout, certified))
        plan["certificate"] = "/run/disk/certificate.pem"
    own = next((address for address in addresses if ":" not in address), "")
    plan["names"] = {one.name: own for one in node.services if one.kind == "dns" and own}
    (disk / "responder.json").write_text(json.dumps(plan))
    return True
