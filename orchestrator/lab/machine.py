"""What this machine must offer before a rehearsal hospital can be built, and what to install where it does not."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from orchestrator.errors import EnvironmentMissing

# program → Debian package. FRR and sshd are not on every PATH: their places are named.
PROGRAMS = {
    "ip": "iproute2",
    "nft": "nftables",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "ovsdb-server": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
    "vtysh": "frr",
    "/usr/lib/frr/zebra": "frr",
    "/usr/lib/frr/bgpd": "frr",
    "conntrack": "conntrack",
    "ping": "iputils-ping",
    "ethtool": "ethtool",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "/usr/bin/python3": "python3",
}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def what_is_missing(programs: dict[str, str] | None = None) -> tuple[list[str], list[str]]:
    """What this machine lacks, as sentences, and the Debian packages that would help."""
    lacks: list[str] = []
    packages: set[str] = set()
    if sys.platform != "linux":
        return [f"Linux (this is {sys.platform})"], []
    if os.geteuid() != 0:
        lacks.append("root (network namespaces cannot be made without it)")
    for program, package in (PROGRAMS if programs is None else programs).items():
        if shutil.which(program, path=SYSTEM_PATH) is None:
            lacks.append(f"the program {program} (Debian package {package})")
            packages.add(package)
    for path, what in (
        ("/proc/self/ns/net", "network namespaces"),
        ("/proc/self/ns/pid", "process namespaces"),
        ("/dev/net/tun", "TUN devices"),
    ):
        if not Path(path).exists():
            lacks.append(f"{what} in the kernel ({path})")
    return lacks, sorted(packages)


def require_machine(programs: dict[str, str] | None = None) -> None:
    """Raises EnvironmentMissing that lists everything missing at once."""
    lacks, packages = what_is_missing(programs)
    if not lacks:
        return
    advice = []
    if os.geteuid() != 0:
        advice.append("run it as root (sudo)")
    if packages:
        advice.append("apt-get install --no-install-recommends " + " ".join(packages))
    advice.append("without a rehearsal hospital, the simulation runs anywhere")
    raise EnvironmentMissing("the rehearsal hospital cannot run here; missing: " + "; ".join(lacks), advice="; ".join(advice))
