"""Flow grain on Open vSwitch: the scripts that lay, keep, open, confirm and close.

Laying needs nothing on the device but Open vSwitch. One transaction of the database moves the guarded ports behind our
bridge, where without entries nothing passes, claims the slot and raises the generation; one bundle then exchanges all
entries of our bridge, and no opening is left. A port that cannot be moved (an internal port, a bond, one that is not
plain) is parked whole instead, and the script says so and fails.

Openings are fenced three times: the script compares the generation; the entries go into the table of their generation,
which nothing leads to any more once a newer one is laid; and they end by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.dialects.base import Script
from orchestrator.dialects.nftables_boxes import refuse_overlap
from orchestrator.dialects.openvswitch_compose import BOOT, BRIDGE_KEY, COMPOSE, FLOW_KEY, NUMBER_KEY, RUNNING, STANDS_KEY
from orchestrator.dialects.openvswitch_flows import OPENED, cookie_of, entries_of
from orchestrator.dialects.openvswitch_ports import DO, PARK, RAISE
from orchestrator.dialects.openvswitch_tables import BRIDGE, EPOCHS, FIRST_EPOCH, OPEN, layer_file, own_end, stand_in
from orchestrator.domain.layer import Element, Layer

LONGEST_S = 65_535  # of an OpenFlow hard_timeout

# `guard PORT STAND-IN OWN-END`: collects the words that put the port behind our bridge. A stand-in has the same number and
# the same VLANs, parked or not. Moving again what is moved already repairs nothing and breaks nothing.
_GUARD = f"""\
datapath=$(value Bridge {BRIDGE} datapath_type)
guard() {{
  port=$1 stands=$2 own=$3
  bridge=$(ovs-vsctl --no-wait port-to-br "$port" 2>/dev/null) || {{ echo "no such port: $port" >&2; status=1; return; }}
  claim="external_ids:{FLOW_KEY}$slot=\\"$epoch\\""
  if [ "$bridge" = {BRIDGE} ]; then words="$words -- set Port $port $claim"; return; fi
  its=$(value Bridge "$bridge" datapath_type)
  number=$(value Interface "$port" ofport) asked=$(value Interface "$port" ofport_request)
  interfaces=$(value Port "$port" interfaces) type=$(value Interface "$port" type | sed s/^system$//)
  case "$interfaces;$type;$number;${{datapath:=${{its:-system}}}}" in
    *,*) why='it is a bond' ;;
    *";;"[1-9]*";${{its:-system}}") why= ;;
    *) why="it is not a plain port of a running switch (type '$type', number '$number', datapath '$its')" ;;
  esac
  if [ -n "$why" ]; then
    echo "$port is closed whole: $why, and flows on it cannot be told apart" >&2
    status=1; park "$port"; return
  fi
  vlans=; for column in vlan_mode tag trunks cvlans protected; do vlans="$vlans $column=$(value Port "$port" $column)"; done
  row=@row$((rows = ${{rows-0}} + 1))
  words="$words -- --id=$row get Port $port -- remove Bridge $bridge ports $row -- add Bridge {BRIDGE} ports $row"
  words="$words -- set Port $port $claim external_ids:{STANDS_KEY}=$stands external_ids:{BRIDGE_KEY}=$bridge"
  words="$words external_ids:{NUMBER_KEY}=\\"$number;$asked\\""
  words="$words -- add-port $bridge $stands -- set Port $stands $vlans external_ids:containment-for=$port"
  words="$words -- set Interface $stands type=patch options:peer=$own ofport_request=$number"
  words="$words -- add-port {BRIDGE} $own -- set Interface $own type=patch options:peer=$stands"
}}
"""
_FENCE = f"""\
set -uf
no() {{ echo "refused: $*" >&2; exit 1; }}
exec 9>/run/containment.lock && flock -w 10 9 || no 'another change is running'
held=$(ovs-vsctl --timeout=8 --if-exists get Open_vSwitch . external_ids:containment-epoch | tr -d '"')
[ "$held" = {{epoch}} ] || no "the generation in force is ${{held:-none}}, not {{epoch}}: this command came late"
table=$(({FIRST_EPOCH} + {{epoch}} % {EPOCHS}))
"""


def lay_flows(layer: Layer) -> Script:
    guards = "".join(f"guard {port} {stand_in(port)} {own_end(stand_in(port))}\n" for port in sorted(set(layer.guard)))
    return Script(
        "sh -s",
        PARK
        + COMPOSE
        + _GUARD
        + f"slot={layer.slot}\n"
        + RAISE
        + f"""\
kept() {{ mkdir -p {RUNNING} && cat > {RUNNING}/.new && mv {RUNNING}/.new {RUNNING}/$slot.flows; }}
kept <<'LAYER' || {{ echo 'no place for the file of the slot: it keeps nothing' >&2; status=1; }}
{layer_file(layer)}LAYER
{guards}bridge_words="--may-exist add-br {BRIDGE} -- set Bridge {BRIDGE} datapath_type=${{datapath:-system}}"
words="$bridge_words fail_mode=secure other_config:disable-in-band=true -- clear Bridge {BRIDGE} controller mirrors -- $words"
"""
        + DO
        + RECOMPOSE
        + "exit $status\n",
    )


RECOMPOSE = f"""\
if ovs-vsctl --no-wait br-exists {BRIDGE}; then put_together "$epoch" || status=$?; fi
"""


def persist_flows(layer: Layer) -> Script:
    """The database holds the port closed already; this keeps the slot's file, so that what is kept passes again after a restart."""
    return Script(
        "sh -s",
        f"""\
set -eu
umask 077
mkdir -p {BOOT}
cd {BOOT}
cat > .{layer.slot}.new <<'LAYER'
{layer_file(layer)}LAYER
mv .{layer.slot}.new {layer.slot}.flows
for file in /etc/openvswitch/conf.db /var/lib/openvswitch/conf.db; do [ ! -e $file ] || sync $file; done
sync {layer.slot}.flows . || sync
""",
    )


def open_flows(elements: tuple[Element, ...]) -> str:
    """Shell text. Opening again what is open starts its window anew; what overlaps something open is refused whole."""
    return (
        _FENCE
        + f"[ {{confirm}} -le {LONGEST_S} ] || no 'the switch can hold an opening for {LONGEST_S} s at most'\n"
        + _bundle(elements, ",hard_timeout={confirm}")
    )


def confirm_flows(elements: tuple[Element, ...], *, until: bool) -> str:
    """Shell text. Refused whole when one of the elements is gone: a late word reopens nothing."""
    cookies = " ".join(f"0x{cookie_of(OPENED, element):x}" for element in refuse_overlap(elements))
    limit = f"[ {{until}} -le {LONGEST_S} ] || no 'the switch can hold an end for {LONGEST_S} s at most: open it nearer to its end'\n"
    return (
        _FENCE
        + (limit if until else "")
        + f"""\
there=$(ovs-ofctl --timeout=8 dump-flows {BRIDGE} table=$table) || no 'the switch does not answer'
for cookie in {cookies}; do
  case $there in *"cookie=$cookie,"*) ;; *) no "an opening is gone, its window has passed: open it again" ;; esac
done
"""
        + _bundle(elements, ",hard_timeout={until}" if until else "")
    )


def close_flows(elements: tuple[Element, ...]) -> str:
    """Shell text. Only subtracts: needs no generation and no lock; what is gone already is no error."""
    lines = "".join(f"delete cookie=0x{cookie_of(OPENED, element):x}/-1\n" for element in refuse_overlap(elements))
    return (
        f"ovs-vsctl --timeout=8 br-exists {BRIDGE} || exit 0\novs-ofctl --timeout=8 --bundle add-flows {BRIDGE} - <<'FLOWS'\n{lines}FLOWS\n"
    )


def _bundle(elements: Iterable[Element], timeout: str) -> str:
    lines = []
    for element in refuse_overlap(tuple(elements)):
        lines.append(f"delete cookie=0x{cookie_of(OPENED, element):x}/-1")
        lines += [f"add check_overlap{timeout},{entry.text('$table')}" for entry in entries_of(element, OPENED, 0, OPEN)]
    return (
        f"ovs-ofctl --timeout=8 --bundle add-flows {BRIDGE} - <<FLOWS || no 'the switch did not take it'\n" + "\n".join(lines) + "\nFLOWS\n"
    )
