"""The start-up script of each kind of node, in the order of a real one: rules before addresses, forwarding last.

1. its own disk: /etc, /var/lib and /usr/local/sbin over the machine's, fresh /run, /tmp and /var/log
2. firewalls: the site's /etc/nftables.conf, then /etc/containment/*.nft in name order, in one transaction
3. the management interface and sshd's keys; then addresses and routes, or FRR, or Open vSwitch
4. forwarding
5. sshd, then the services

Where the rules cannot be loaded, steps 3 (beyond management) and 4 do not happen: the node stays closed.
"""

from __future__ import annotations

from orchestrator.domain.network import Device, Host, Node, Outside, Platform
from orchestrator.lab.keys import has_sshd
from orchestrator.lab.routing import runs_frr

_OWN_DISK = """#!/bin/sh
# Start-up of {node}. The working directory is the node's disk; process 1 of the node runs this.
set -e
read -r pid rest < /proc/self/stat
echo "$pid" > holder
cover() {{  # $1 a directory of the machine, $2 its counterpart on the node's disk
    mount -t overlay overlay -o "lowerdir=$1,upperdir=/run/disk/$2,workdir=/run/disk/$2.work" "$1" 2>/dev/null && return
    # Overlays cannot be stacked everywhere (containers): then a copy, made once.
    [ -e "/run/disk/$2.copied" ] || {{ [ "$2" != etc ] || cp -an "$1/." "/run/disk/$2/"; : > "/run/disk/$2.copied"; }}
    mount --bind "/run/disk/$2" "$1"
}}
mount --bind "$PWD" /mnt
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/disk
mount --move /mnt /run/disk
cd /run/disk
for each in /tmp /var/tmp /var/log; do mount -t tmpfs -o mode=1777 tmpfs "$each"; done
cover /etc etc
cover /var/lib varlib
cover /usr/local/sbin sbin
mkdir -p /run/sshd /run/openvswitch /run/lock
hostname {node}
set +e
for file in /proc/sys/net/ipv6/conf/*/accept_dad /proc/sys/net/ipv6/conf/*/accept_ra /proc/sys/net/ipv4/conf/*/rp_filter; do
    echo 0 > "$file"
done
# While a cut lasts, an IPv6 gateway behind it counts as failed and its routes give way to the default route; a host asks
# such a gateway again once a minute. Here every second: an opening is probed as soon as it is laid.
for file in /proc/sys/net/ipv6/conf/*/router_probe_interval; do echo 1 > "$file"; done
echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore  # an address answers on its own interface only
echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range
for port in {interfaces}; do ethtool -K "$port" tx off > /dev/null; done
"""

_RULES = """
if ! nft -f /run/disk/boot.nft; then
    echo "the rules could not be loaded: this node stays closed"
    closed=yes
fi
"""

_MANAGEMENT = """
ip -batch /run/disk/management.batch
"""

_NETWORK = """
[ -n "${closed-}" ] || ip -batch /run/disk/network.batch
"""

_FORWARDING = """
if [ -z "${closed-}" ]; then
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
fi
"""

_SSHD = """
/usr/sbin/sshd -E /var/log/sshd.log
"""

_RESPONDER = """
/usr/bin/python3 -I -S /run/disk/responder.py /run/disk/responder.json >> /run/disk/boot.log 2>&1 < /dev/null &
"""

_LAST = """
: > /run/booted
# Process 1 takes in the orphans of its daemons.
sleep infinity &
while :; do wait; done
"""

START_FRR = """#!/bin/sh
# Starts the routing daemons and loads their start-up configuration.
mkdir -p /run/frr
chown frr:frr /run/frr
for daemon in zebra staticd bgpd; do
    /usr/lib/frr/$daemon -d -A 127.0.0.1 --log file:/var/log/$daemon.log --log-level warnings || exit 1
done
vtysh -b > /var/log/vtysh-boot.log 2>&1
"""

RESTART_FRR = """#!/bin/sh
# What the watchdog does: every routing daemon anew.
for daemon in bgpd staticd zebra; do
    read -r pid < /run/frr/$daemon.pid && kill "$pid"
    while [ -e "/proc/$pid" ]; do sleep 0.02; done
done
exec sh /run/disk/start-frr
"""

# The product's device-side script is called where a real switch's start-up would call it: before the switch daemon
# (what was open without confirmation closes, nothing is forwarded yet) and after it (our entries come back first).
START_SWITCH = """#!/bin/sh
# Starts the switch daemon; what the containment layer left is in force before it forwards.
ours=/usr/local/sbin/containment-host
[ ! -x $ours ] || $ours boot || exit 1
ovs-vswitchd --pidfile --detach --no-chdir -vconsole:off -vsyslog:off -vfile:warn --log-file=/var/log/ovs-vswitchd.log || exit 1
[ ! -x $ours ] || $ours restore || exit 1
[ ! -e /run/disk/service.batch ] || ip -batch /run/disk/service.batch
"""

RESTART_SWITCH = """#!/bin/sh
# The switch daemon anew: OpenFlow entries are lost, the database stays.
read -r pid < /run/openvswitch/ovs-vswitchd.pid && kill "$pid"
while [ -e "/proc/$pid" ]; do sleep 0.02; done
exec sh /run/disk/start-switch
"""

_SWITCH = """
for port in {ports}; do echo 1 > "/proc/sys/net/ipv6/conf/$port/disable_ipv6"; done
ovsdb-server {database} --remote=punix:/run/openvswitch/db.sock --pidfile --detach --no-chdir -vconsole:off -vsyslog:off
ovs-vsctl --no-wait init
ovs-vsctl br-exists {bridge} || ovs-vsctl --no-wait -- {first}
ip -batch /run/disk/network.batch
sh /run/disk/start-switch
"""

_FRR = """
[ -n "${closed-}" ] || { ip -batch /run/disk/network.batch; sh /run/disk/start-frr; }
"""

# After forwarding is on: FRR would write down that it is off.
_FRR_WRITTEN = """
# As FRR itself writes it: so that running and start-up configuration are equal until somebody changes one.
[ -e /run/disk/frr.written ] || { vtysh -c write > /dev/null 2>&1 && : > /run/disk/frr.written; }
"""


def start_up(node: Node, *, answers: bool, switch: dict[str, str] | None = None) -> str:
    """The `rc` of a node. `answers`: it runs the responder. `switch`: words for `_SWITCH`."""
    ports = [port.name for port in node.ports] if isinstance(node, Device) else []
    names = " ".join([*(interface.name for interface in node.interfaces), *ports])
    parts = [_OWN_DISK.format(node=node.name, interfaces=names)]
    if has_rules(node):
        parts.append(_RULES)
    parts.append(_MANAGEMENT)
    if switch is not None:
        parts.append(_SWITCH.format(**switch))
    elif runs_frr(node):
        parts.append(_FRR)
    else:
        parts.append(_NETWORK)
    if forwards(node):
        parts.append(_FORWARDING)
    if runs_frr(node):
        parts.append(_FRR_WRITTEN)
    if has_sshd(node):
        parts.append(_SSHD)
    if answers:
        parts.append(_RESPONDER)
    parts.append(_LAST)
    return "".join(parts)


def forwards(node: Node) -> bool:
    """Whether the kernel of the node routes packets."""
    return isinstance(node, Outside) or (isinstance(node, Device) and node.platform is not Platform.OPENVSWITCH)


def has_rules(node: Node) -> bool:
    """Whether the node loads nftables rules at boot: firewalls, and routers that translate."""
    if isinstance(node, Host):
        return False
    firewall = isinstance(node, Device) and node.platform is Platform.NFTABLES
    return firewall or bool(node.nat.masquerade or node.nat.published)


# One transaction: a reload of the site's rules never leaves a moment without the layer.
BOOT_RULES = 'include "/etc/nftables.conf"\ninclude "/etc/containment/*.nft"\n'
