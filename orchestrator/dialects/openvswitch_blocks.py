"""The block list of a switch: drops in our own bridge that are consulted before anything that is kept or opened.

The list lies in a file beside those of the slots, where no opening is ever kept: laying puts it together with the slots,
and so does the restart of the switch daemon. It holds where flows are told apart. A port that is closed whole needs none,
and on one that is released whole nothing finer than the port is filtered: the script says so by name.
"""

from __future__ import annotations

from orchestrator.dialects.base import Script
from orchestrator.dialects.openvswitch_bridge import FENCED, REFUSE, WITHOUT_LOCK, bundle
from orchestrator.dialects.openvswitch_compose import BLOCK_FILE, BOOT, FENCE_WORDS, STANDS_KEY
from orchestrator.dialects.openvswitch_flows import BLOCKED
from orchestrator.dialects.openvswitch_tables import BRIDGE
from orchestrator.domain.layer import networks_in_order
from orchestrator.domain.network import Prefix

# In force first in the file: whoever lays meanwhile puts it together from there.
_BLOCK = f"""\
status=0
umask 077
mkdir -p {BOOT} && {{ cat {BLOCK_FILE} 2> /dev/null; echo "$networks"; }} | LC_ALL=C sort -u > {BOOT}/.blocked.$$ &&
  sync {BOOT}/.blocked.$$ && mv {BOOT}/.blocked.$$ {BLOCK_FILE} && sync {BOOT} ||
  {{ status=1; rm -f {BOOT}/.blocked.$$; echo 'refused: no place in {BOOT}: the list ends when the switch daemon does' >&2; }}
ovs-vsctl --timeout=8 br-exists {BRIDGE}
case $? in
  0) blocks "$networks" | ovs-ofctl --timeout=8 --bundle add-flows {BRIDGE} - || {{ status=1; echo 'the switch did not take it' >&2; }} ;;
  2) ;;
  *) no 'the database of the switch does not answer' ;;
esac
for port in $(ovs-vsctl --bare --columns=name find Port 'external_ids:containment-release!=none'); do
  [ -n "$(ovs-vsctl --if-exists get Port "$port" external_ids:{STANDS_KEY})" ] ||
    echo "note: $port is open whole, and nothing finer than the port is filtered on it"
done
exit $status
"""
_UNBLOCK = f"""\
umask 077
mkdir -p {BOOT} && echo "$networks" > {BOOT}/.blocked.$$ && sync {BOOT}/.blocked.$$ ||
  {{ rm -f {BOOT}/.blocked.$$; no 'no place in {BOOT}: the list is as it was'; }}
give_up() {{ rm -f {BOOT}/.blocked.$$; no "$*"; }}
ovs-vsctl --timeout=8 br-exists {BRIDGE}
case $? in
  0) exchange ;;
  2) ;;
  *) give_up 'the database of the switch does not answer' ;;
esac
mv {BOOT}/.blocked.$$ {BLOCK_FILE} && sync {BOOT} || give_up 'the list is taken off, but comes back when the switch daemon restarts'
[ -n "$networks" ] || rm -f {BLOCK_FILE}
"""


def block(networks: tuple[Prefix, ...]) -> Script:
    if not networks:
        raise ValueError("no network is named that could be blocked")
    return Script("sh -s", REFUSE + FENCE_WORDS + WITHOUT_LOCK + _listed(networks) + _BLOCK)


def unblock(remaining: tuple[Prefix, ...]) -> Script:
    exchange = bundle([f"delete cookie=0x{BLOCKED << 40:x}/-1", '$(blocks "$networks")']).replace("|| no ", "|| give_up ")
    return Script("sh -s", FENCED + _listed(remaining) + f"exchange() {{\n{exchange}}}\n" + _UNBLOCK)


def _listed(networks: tuple[Prefix, ...]) -> str:
    lines = "".join(f"{network}\n" for network in networks_in_order(networks))
    return f"networks=$(cat <<'NETWORKS'\n{lines}NETWORKS\n)\n"
