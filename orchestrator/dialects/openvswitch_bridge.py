"""Flow grain on Open vSwitch: the scripts that lay, keep, open, confirm and close.

Laying needs nothing on the device but Open vSwitch. One transaction of the database moves the guarded ports behind our
bridge, where without entries nothing passes, claims the slot and raises the generation; one bundle then exchanges all
entries of our bridge, and no opening is left. A port that cannot be moved (an internal port, a bond, one that is not
plain) is parked whole instead, and the script says so and fails.

Openings are fenced four times: the script compares the generation; their bundle carries the lock of their generation and
fails whole under another one; the entries go into the table of their generation, which nothing leads to any more once a
newer one is laid; and they end by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.dialects.base import Script
from orchestrator.dialects.nftables_boxes import refuse_overlap
from orchestrator.dialects.openvswitch_compose import (
    BOOT,
    BRIDGE_KEY,
    COMPOSE,
    EPOCH_KEY,
    FENCE_WORDS,
    FLOW_KEY,
    NUMBER_KEY,
    RUNNING,
    STANDS_KEY,
)  # fmt: skip
from orchestrator.dialects.openvswitch_flows import OPENED, cookie_of, entries_of
from orchestrator.dialects.openvswitch_ports import DO, PARK, RAISE
from orchestrator.dialects.openvswitch_tables import BRIDGE, OPEN, layer_file, own_end, stand_in
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
  case " $(echo $timers) " in
    *" $port "*) vlans=" $parked" ;; # it was released, and is parked in this transaction
    *) vlans=; for column in vlan_mode tag trunks cvlans protected; do vlans="$vlans $column=$(value Port "$port" $column)"; done ;;
  esac
  row=@row$((rows = ${{rows-0}} + 1))
  words="$words -- --id=$row get Port $port -- remove Bridge $bridge ports $row -- add Bridge {BRIDGE} ports $row"
  words="$words -- set Port $port $claim external_ids:{STANDS_KEY}=$stands external_ids:{BRIDGE_KEY}=$bridge"
  words="$words external_ids:{NUMBER_KEY}=\\"$number;$asked\\""
  words="$words -- add-port $bridge $stands -- set Port $stands $vlans external_ids:containment-for=$port"
  words="$words -- set Interface $stands type=patch options:peer=$own ofport_request=$number"
  words="$words -- add-port {BRIDGE} $own -- set Interface $own type=patch options:peer=$stands"
}}
"""
REFUSE = """\
set -uf
no() { echo "refused: $*" >&2; exit 1; }
"""
# What only subtracts waits for nobody: a frozen session may hold the lock.
WITHOUT_LOCK = "command exec 9>/run/containment.lock && flock -w 2 9 || echo 'going on without the lock' >&2\n"
FENCED = (
    REFUSE
    + FENCE_WORDS
    + f"""\
command exec 9>/run/containment.lock && flock -w 10 9 || no 'another change is running, or was stopped while it held /run/containment.lock'
held=$(ovs-vsctl --timeout=8 --if-exists get Open_vSwitch . external_ids:{EPOCH_KEY}) || no 'the database of the switch does not answer'
held=$(echo $held | tr -d '"')
[ "$held" = {{epoch}} ] || no "the generation in force is ${{held:-none}}, not {{epoch}}: this command came late"
table=$(table_of {{epoch}})
"""
)
_THERE = f"""\
ovs-vsctl --timeout=8 br-exists {BRIDGE}
case $? in 0) ;; 2) exit 0 ;; *) echo 'refused: the database of the switch does not answer' >&2; exit 1 ;; esac
"""
# How long all of these cookies (in $1) have still to live, in the table of the generation: 0 when one is gone.
_LEFT = """\
left_of() { printf '%s\n' "$there" | awk -v asked="$1" '
  { sub(/ actions=.*/, ""); gsub(/ /, ""); cookie = ""; age = limit = 0; count = split($0, words, ",")
    for (i = 1; i <= count; i++) {
      if (words[i] ~ /^cookie=/) cookie = substr(words[i], 8)
      if (words[i] ~ /^duration=/) age = substr(words[i], 10) + 0
      if (words[i] ~ /^hard_timeout=/) limit = substr(words[i], 14) + 0
    }
    left = limit ? limit - age : 99999999
    if (!(cookie in least) || left < least[cookie]) least[cookie] = left }
  END { most = 99999999; count = split(asked, cookies, " ")
    for (i = 1; i <= count; i++) { left = cookies[i] in least ? least[cookies[i]] : 0; if (left < most) most = left }
    print int(most) }'; }
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
        FENCED
        + f"[ {{confirm}} -le {LONGEST_S} ] || no 'the switch can hold an opening for {LONGEST_S} s at most'\n"
        + _bundle(elements, ",hard_timeout={confirm}")
    )


def confirm_flows(elements: tuple[Element, ...], *, until: bool) -> str:
    """Shell text. Refused whole when one of the elements is gone: a late word reopens nothing, also one that was held up
    until the end that it had found."""
    cookies = " ".join(f"0x{cookie_of(OPENED, element):x}" for element in refuse_overlap(elements))
    limit = f"[ {{until}} -le {LONGEST_S} ] || no 'the switch can hold an end for {LONGEST_S} s at most: open it nearer to its end'\n"
    return (
        FENCED
        + (limit if until else "")
        + _LEFT
        + f"""\
began=$(uptime_s)
there=$(ovs-ofctl --timeout=8 -O OpenFlow14 dump-flows {BRIDGE} table=$table) || no 'the switch does not answer'
left=$(left_of '{cookies}')
[ "$left" -gt 0 ] || no 'an opening is gone, its window has passed: open it again'
patience=$left; [ $patience -le 8 ] || patience=8
"""
        + _bundle(elements, ",hard_timeout={until}" if until else "", "$patience")
        + f"""\
if [ $(($(uptime_s) - began)) -ge $left ]; then
  for cookie in {cookies}; do echo "delete cookie=$cookie/-1"; done | ovs-ofctl --timeout=8 --bundle add-flows {BRIDGE} -
  no 'this command was held up until its window had passed: it is closed again, open it anew'
fi
"""
    )


def close_flows(elements: tuple[Element, ...]) -> str:
    """Shell text. Only subtracts: needs no generation, in whatever table they lie; what is gone already is no error."""
    lines = "".join(f"delete cookie=0x{cookie_of(OPENED, element):x}/-1\n" for element in refuse_overlap(elements))
    return f"{_THERE}ovs-ofctl --timeout=8 --bundle add-flows {BRIDGE} - <<'FLOWS'\n{lines}FLOWS\n"


def bundle(lines: Iterable[str], patience: str = "8") -> str:
    """Shell text after `FENCED`: one transaction of the switch, which fails whole unless the generation is `{epoch}`."""
    text = "\n".join(["$(lock {epoch})", *lines])
    complaint = "no 'the switch did not take it, or a newer generation came first'"
    return f"ovs-ofctl --timeout={patience} --bundle add-flows {BRIDGE} - <<FLOWS || {complaint}\n{text}\nFLOWS\n"


def _bundle(elements: Iterable[Element], timeout: str, patience: str = "8") -> str:
    lines = []
    for element in refuse_overlap(tuple(elements)):
        lines.append(f"delete cookie=0x{cookie_of(OPENED, element):x}/-1,table=$table")
        lines += [f"add check_overlap{timeout},{entry.text('$table')}" for entry in entries_of(element, OPENED, 0, OPEN)]
    return bundle(lines, patience)
