"""Reading an Open vSwitch switch back: the database as JSON, the OpenFlow entries as text, both made into `Observed`.

Port grain is read here, flow grain (our own bridge) in `openvswitch_flow_readback`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

from orchestrator.dialects.base import Script
from orchestrator.dialects.openvswitch_compose import BLOCK_FILE, BOOT, EPOCH_KEY, LOOSENED_KEY, STANDS_KEY
from orchestrator.dialects.openvswitch_flow_readback import BridgeRead, parse_flows, read_entry
from orchestrator.dialects.openvswitch_flows import KINDS, OURS, is_kind
from orchestrator.dialects.openvswitch_ports import PARKED, SLOT_KEY, ports_digest
from orchestrator.dialects.openvswitch_tables import BRIDGE
from orchestrator.domain.layer import Observed, networks_in_order
from orchestrator.domain.network import Prefix
from orchestrator.errors import DeviceUnknown

_OPENFLOW = "-O OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14,OpenFlow15"
_RELEASE = "containment-release"
_COOKIE = re.compile(r"cookie=0x([0-9a-f]+),")

# The first question goes to the daemon: a database says nothing about a switch whose daemon does not run.
_READ = f"""\
set -euf
ovs-appctl --timeout=8 -t ovs-vswitchd version
echo '=== switch'
ovs-vsctl --timeout=8 --format=json --columns=external_ids,other_config,cur_cfg,next_cfg list Open_vSwitch
echo '=== ports'
ovs-vsctl --timeout=8 --format=json --columns=name,vlan_mode,tag,trunks,cvlans,protected,external_ids list Port
echo '=== interfaces'
ovs-vsctl --timeout=8 --format=json --columns=name,type,options list Interface
echo '=== bridges'
ovs-vsctl --timeout=8 --format=json --columns=name,fail_mode,controller,mirrors list Bridge
echo '=== layer'
if ovs-vsctl --timeout=8 br-exists {BRIDGE}; then
  ovs-vsctl --timeout=8 list-ports {BRIDGE} | sed 's/^/port /'
  ovs-ofctl --timeout=8 -O OpenFlow14 --names dump-flows {BRIDGE}
fi
for file in $(set +f; echo {BOOT}/*.flows); do
  [ ! -r "$file" ] || echo "file $(sha256sum < "$file" | cut -d ' ' -f 1) $file"
done
read -r up rest < /proc/uptime; echo "uptime ${{up%%.*}}"
[ ! -e {BLOCK_FILE} ] || sed 's/^/blocked /' {BLOCK_FILE}
echo '=== entries'
for bridge in $(ovs-vsctl --timeout=8 list-br); do
  [ "$bridge" != {BRIDGE} ] || continue
  echo "bridge $bridge"
  ovs-ofctl --timeout=8 {_OPENFLOW} --names --no-stats --sort dump-flows "$bridge"
done
echo '=== end'
"""

# Ports whose settings are shown as the site made them, whether parked, behind our bridge or not; entries without ours.
_SNAPSHOT = f"""\
set -euf
export LC_ALL=C
value() {{ ovs-vsctl --timeout=8 --if-exists get "$@" | tr -d '" '; }}
without='s/containment-[^=]*="[^"]*"\\(, \\)*//g; s/containment-[^=]*=[^",}}]*\\(, \\)*//g; s/, *}}$/}}/'
names=
for port in $(ovs-vsctl --timeout=8 --bare --columns=name find Port 'external_ids:{STANDS_KEY}!=none'); do
  names="$names;s/\\"*$(value Port "$port" external_ids:{STANDS_KEY})\\"*/$port/g"
done
for bridge in $(ovs-vsctl --timeout=8 list-br); do
  [ "$bridge" != {BRIDGE} ] || continue
  echo "bridge $bridge"
  ovs-vsctl --timeout=8 --columns=datapath_type,fail_mode,flood_vlans,other_config,protocols list Bridge "$bridge"
  for port in $(ovs-vsctl --timeout=8 list-ports "$bridge" | sed "$names" | sort); do
    was=$(value Port "$port" external_ids:containment-saved)
    now=$(value Port "$port" vlan_mode tag trunks cvlans protected | tr '\n' ';')
    case $now in 'dot1q-tunnel;4094;[];'*'4094'*';true;') [ -z "$was" ] || now=$was ;; esac
    others=$(ovs-vsctl --timeout=8 get Port "$port" external_ids | sed "$without")
    echo "port $port $now $others $(ovs-vsctl --timeout=8 get Port "$port" other_config)"
  done
  ovs-ofctl --timeout=8 {_OPENFLOW} --names --no-stats dump-flows "$bridge" | sed "$names" | tr -d '"' | sort
done
echo '=== end'
"""

# What is printed about the bridge besides its entries, and read elsewhere or not at all.
_ABOUT = re.compile(r"(uptime|blocked) .*|(OFPST|NXST)_FLOW reply .*:")

# Actions that put a frame on a port without asking its VLAN.
_DIRECT = re.compile(r"output:\"?([^\",()]+)|enqueue[:(]\"?([^\",():]+)|\b(FLOOD|ALL|LOCAL|IN_PORT|group:\d+)\b")


def read_back() -> Script:
    return Script("sh -s", _READ)


def snapshot() -> Script:
    return Script("sh -s", _SNAPSHOT)


class Reading:
    """What the switch printed, taken apart. Raises DeviceUnknown on anything that cannot be read."""

    def __init__(self, output: str) -> None:
        sections = _sections(output)
        try:
            (switch,) = _rows(sections["switch"])
            self.switch = switch
            self.ports = {row["name"]: row for row in _rows(sections["ports"])}
            self.entries = list(_entries(sections["entries"]))
            self.bridge = _bridge(sections)
            about = [line.split() for line in sections["layer"]]
            self.blocked: tuple[Prefix, ...] = networks_in_order(ip_network(line[1]) for line in about if line[:1] == ["blocked"])
            self._uptime = next((int(line[1]) for line in about if line[:1] == ["uptime"]), 0)
        except (KeyError, ValueError, TypeError) as failure:
            raise DeviceUnknown(f"the read-back of the switch cannot be read: {failure!r}") from failure
        if self.switch["cur_cfg"] < self.switch["next_cfg"]:
            raise DeviceUnknown("the switch daemon has not taken over the configuration yet")

    @property
    def epoch(self) -> int | None:
        text = self.switch["external_ids"].get(EPOCH_KEY)
        return int(text) if text is not None and text.isdigit() else None

    @property
    def loosened_s(self) -> int | None:
        """Seconds until the ports are parked again; None when they are."""
        text = self.switch["external_ids"].get(LOOSENED_KEY)
        return None if text is None else max(0, int(text.split(":")[1]) - self._uptime)

    @property
    def claims(self) -> dict[str, list[str]]:
        """Slot → the ports that carry its claim."""
        found: dict[str, list[str]] = {}
        for name, port in self.ports.items():
            for key in port["external_ids"]:
                if key.startswith(SLOT_KEY):
                    found.setdefault(key.removeprefix(SLOT_KEY), []).append(name)
        return found

    @property
    def parked(self) -> tuple[str, ...]:
        return tuple(sorted(name for name, port in self.ports.items() if all(port[key] == value for key, value in PARKED.items())))

    @property
    def would_park(self) -> tuple[str, ...]:
        """What the switch starts with parked while its ports are loosened: what no release holds open for good."""
        ids = {name: port["external_ids"] for name, port in self.ports.items()}
        return tuple(name for name, its in ids.items() if "containment-saved" in its and not its.get(_RELEASE, "").startswith("lasting"))

    @property
    def site_entries(self) -> list[str]:
        return [entry for entry in self.entries if not is_ours(entry)]

    @property
    def our_entries(self) -> list[str]:
        """In the bridges of the site, where none belongs."""
        return [entry for entry in self.entries if is_ours(entry)]


def parse_switch(reading: Reading) -> Observed:
    """Both grains of a reading. The block list is what the flows hold; where none are told apart, what would be laid."""
    try:
        ports, flows = parse_ports(reading), parse_flows(reading.bridge, reading.ports, reading.epoch)
        times = [left for left in (reading.loosened_s, flows.loosened_s) if left is not None]
    except (ValueError, IndexError) as failure:
        raise DeviceUnknown(f"the keys of the switch cannot be read: {failure!r}") from failure
    foreign = [*ports.foreign, *flows.foreign]
    blocked = reading.blocked if reading.bridge.bridge is None else networks_in_order(flows.blocked)
    if blocked != reading.blocked:
        foreign.append("the block list that the switch would restart with differs from the one that runs")
    slots = {} if times else dict(sorted({**ports.slots, **flows.slots}.items()))
    return Observed(
        present=bool(slots),
        epoch=reading.epoch,
        slots=slots,
        opened=flows.opened,
        temporary=flows.temporary,
        counted=flows.counted,
        closed=() if times else ports.closed,
        boots_with=tuple(sorted([*ports.boots_with, *flows.boots_with])),
        blocked=blocked,
        loosened_s=max(times, default=None),
        foreign=tuple(foreign),
    )


def parse_ports(reading: Reading) -> Observed:
    """The port grain of a reading."""
    parked = reading.parked
    ours = tuple(name for name in parked if "containment-saved" in reading.ports[name]["external_ids"])
    stands = [reading.ports[name]["external_ids"].get(STANDS_KEY, name) for name in ours]
    slots = {slot: ports_digest(ports) for slot, ports in sorted(reading.claims.items())}
    foreign = [f"an entry of the site goes past a parked port: {entry}" for entry in reading.site_entries if goes_past(entry, stands)]
    foreign += [f"an entry under our cookie: {entry}" for entry in reading.our_entries]
    return Observed(
        present=bool(slots),
        epoch=reading.epoch,
        slots=slots,
        closed=ours,
        boots_with=tuple(sorted([*slots, *(ours if reading.loosened_s is None else reading.would_park)])),
        foreign=tuple(foreign),
    )


def goes_past(entry: str, parked: Iterable[str]) -> bool:
    """Whether an entry can carry frames from or to a parked port: its actions name ports, which asks no VLAN."""
    parked = set(parked)
    if not parked:
        return False
    match, _, actions = entry.partition(" actions=")
    into = re.search(r"in_port=\"?([^\",]+)", match)
    from_parked = into is None or into[1] in parked
    return any(anywhere or from_parked or (named or queued) in parked for named, queued, anywhere in _DIRECT.findall(actions))


def is_ours(entry: str) -> bool:
    found = _COOKIE.search(entry)
    number = int(found[1], 16) if found else 0
    return number == OURS or any(is_kind(kind, number) for kind in KINDS)


def _bridge(sections: dict[str, list[str]]) -> BridgeRead:
    """What was printed about the bridge of ours."""
    ports, files, entries = set(), {}, []
    for line in sections["layer"]:
        if line.startswith("port "):
            ports.add(line.removeprefix("port "))
        elif line.startswith("file "):
            _, digest, path = line.split(" ", 2)
            files[path.rpartition("/")[2].removesuffix(".flows")] = digest
        elif line.strip() and not _ABOUT.fullmatch(line.strip()):
            entries.append(read_entry(line))
    rows = {row["name"]: row for row in _rows(sections["bridges"])}
    interfaces = {row["name"]: row for row in _rows(sections["interfaces"])}
    return BridgeRead(rows.get(BRIDGE), frozenset(ports), interfaces, tuple(entries), files)


def _sections(output: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in output.splitlines():
        if line.startswith("=== "):
            lines = sections.setdefault(line.removeprefix("=== "), [])
        else:
            lines.append(line)
    if "end" not in sections:
        raise DeviceUnknown("the read-back of the switch is not complete")
    return sections


def _entries(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if "actions=" in line:
            yield line.strip()
        elif line.strip() and not line.startswith("bridge "):
            raise ValueError(f"not an OpenFlow entry: {line!r}")


def _rows(lines: list[str]) -> list[dict[str, Any]]:
    table = json.loads("\n".join(lines))
    return [dict(zip(table["headings"], map(_value, row), strict=True)) for row in table["data"]]


def _value(value: Any) -> Any:
    """An OVSDB value: sets of one are printed bare, empty sets and others as ["set", […]], maps as ["map", […]]."""
    if isinstance(value, list) and len(value) == 2:
        kind, content = value
        if kind == "map":
            return dict(content)
        if kind == "set":
            return sorted(content)
    return value
