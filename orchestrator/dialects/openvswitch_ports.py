"""Port grain on Open vSwitch: parking a port in the database, words and shapes.

A parked port is `vlan_mode=dot1q-tunnel tag=4094 cvlans=4094 protected=true`. Each part has its reason, all tried:
`tag=4094` alone stops both ways towards ordinary ports and survives daemon and machine; but two parked ports would
still talk to each other (`protected` stops that), and a port that carries all VLANs would receive the frames tagged
(the tunnel mode with its one customer VLAN admits none of them).

Kept in the port's external_ids: `containment-saved` (what it was), `containment-slot-NAME` (who claims it),
`containment-release` (`pending:EPOCH:TIME`, `lasting:EPOCH`, `until:EPOCH:TIME`; laying takes it away), and in those of
the Open_vSwitch record `containment-epoch` and, while the ports are loosened, `containment-loosened`
(`EPOCH:UPTIME:UUID`: until the machine has been up so many seconds).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.dialects.base import Script
from orchestrator.dialects.openvswitch_compose import EPOCH_KEY, FENCE_WORDS, LOOSENED_KEY
from orchestrator.domain.canonical import digest
from orchestrator.domain.layer import Layer

SLOT_KEY = "containment-slot-"
# As the database prints it: a set of one is bare.
PARKED: dict[str, Any] = {"vlan_mode": "dot1q-tunnel", "tag": 4094, "trunks": [], "cvlans": 4094, "protected": True}

# Closing needs nothing on the device but Open vSwitch itself, and no place on its disk (a shell ends where a plain `exec 9>`
# finds none; `command` keeps it going). A missing port is told, and does not keep the others open.
# `park PORT [words]` collects; one transaction does it all. Without the lock it goes on: cutting waits for nobody.
# A port that lies behind our bridge (flow grain) has a stand-in in the site's: both carry the same VLANs.
PARK = """\
set -uf
command exec 9>/run/containment.lock && flock -w 2 9 || echo 'going on without the lock' >&2
status=0 words='comment containment'
value() { ovs-vsctl --if-exists get "$@" 2>/dev/null | tr -d '" '; }
park() {
  port=$1; shift
  saved=$(value Port "$port" external_ids:containment-saved)
  [ -n "$saved" ] || saved=$(value Port "$port" vlan_mode tag trunks cvlans protected | tr '\\n' ';')
  case $saved in '') echo "no such port: $port" >&2; status=1; return ;; esac
  parked='vlan_mode=dot1q-tunnel tag=4094 trunks=[] cvlans=4094 protected=true'
  stands=$(value Port "$port" external_ids:containment-stands)
  [ -z "$stands" ] || words="$words -- --if-exists set Port $stands $parked"
  words="$words -- set Port $port $parked"
  words="$words external_ids:containment-saved=\\"$saved\\" $* -- remove Port $port external_ids containment-release"
}
"""
# The generation never goes back: a transaction that finds another one than it was written for waits in vain, and `add`
# replaces nothing. 0: `held` is at least {epoch} now.
RAISE_EPOCH = f"""\
row='Open_vSwitch .' key=external_ids:{EPOCH_KEY}
set_key() {{ ovs-vsctl --no-wait --timeout=2 "$@" > /dev/null; }}
raise() {{
  for try in 1 2 3 4 5; do
    held=$(ovs-vsctl --no-wait --timeout=4 --if-exists get $row $key | tr -d '"')
    if [ -z "$held" ]; then set_key add $row external_ids {EPOCH_KEY}='"{{epoch}}"' || return 1
    elif [ "$held" -ge {{epoch}} ]; then return 0
    else set_key wait-until $row "$key=\\"$held\\"" -- get $row $key -- set $row "$key=\\"{{epoch}}\\""; fi
  done
  return 1
}}
"""
# Raised first: what is opened from here on carries the new generation. Whatever was released is closed again.
RAISE = (
    RAISE_EPOCH
    + f"""\
raise || {{ status=1; echo 'the database of the switch did not take the generation' >&2; }}
epoch=${{held:-{{epoch}}}}
which=containment-release
[ -z "$(value Open_vSwitch . external_ids:{LOOSENED_KEY})" ] || which=containment-saved
timers=$(ovs-vsctl --bare --columns=name find Port "external_ids:$which!=none")
for port in $timers; do park "$port"; done
timers="$timers loosened"
words="$words -- remove Open_vSwitch . external_ids {LOOSENED_KEY}"
"""
)
# Timers of what is closed now are ended; one that is missed finds nothing to do.
DO = (
    FENCE_WORDS
    + """\
if ovs-vsctl --timeout=4 $words; then disarm $timers
else status=$?; echo 'the switch daemon did not confirm it' >&2; fi
"""
)


def lay_ports(layer: Layer, afterwards: str = "") -> Script:
    """Parks the guard, re-parks whatever was released, raises the generation (never lowers it). `afterwards`: shell words
    that find `epoch` and `status`."""
    claim = f'external_ids:{SLOT_KEY}{layer.slot}=\\"$epoch\\"'
    guard = f'for port in {" ".join(sorted(layer.guard))}; do park "$port" "{claim}"; done\n'
    return Script("sh -s", PARK + RAISE + guard + DO + afterwards + "exit $status\n")


def close_ports(ports: Iterable[str], before: str = "") -> Script:
    """Parks these ports again, if they are ours; what is parked already is no error. `before`: shell words that find `status`."""
    words = f'timers="{" ".join(sorted(ports))}"\nfor port in $timers; do park "$port"; done\n'
    return Script("sh -s", PARK + before + words + DO + "exit $status\n")


def persist_ports() -> Script:
    """The database is the start-up configuration: this waits until it is on the disk."""
    return Script("for file in /etc/openvswitch/conf.db /var/lib/openvswitch/conf.db; do [ ! -e $file ] || exec sync $file; done; sync")


def ports_digest(guard: Iterable[str]) -> str:
    """The fingerprint of a coarse slot: which ports it closes."""
    return digest({"coarse": True, "guard": sorted(guard)})
