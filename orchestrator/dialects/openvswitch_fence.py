"""Raising the generation of a switch and nothing else: what is open stays open, under the new generation.

Port grain: the generation is a key of the database, and every opening compares it in its own transaction. Flow grain: one
bundle exchanges the lock, leads to the table of the new generation, and carries the openings of the old one over with what
is left of their time (whole seconds, cut off: a fence never lengthens anything). Whatever was closed or ended while the
bundle was on its way is taken out of the new table as well. Needs nothing on the device but Open vSwitch.
"""

from __future__ import annotations

from orchestrator.dialects.base import Script
from orchestrator.dialects.openvswitch_bridge import REFUSE, WITHOUT_LOCK
from orchestrator.dialects.openvswitch_compose import FENCE_WORDS
from orchestrator.dialects.openvswitch_flows import OPENED
from orchestrator.dialects.openvswitch_ports import RAISE_EPOCH
from orchestrator.dialects.openvswitch_tables import BRIDGE, LOCK

# Entries of the old table as `add-flows` takes them, in the new one. mawk and busybox know all of these words.
_CARRY = f"""\
carry() {{ awk -v old="$old" -v new="$table" '
  {{ at = index($0, " actions="); if (!at) next
    head = substr($0, 1, at - 1); gsub(/ check_overlap /, "", head); gsub(/ /, "", head); count = split(head, words, ",")
    cookie = lies = match_ = limit = ""; age = 0
    for (i = 1; i <= count; i++) {{
      name = words[i]; sub(/=.*/, "", name); value = substr(words[i], length(name) + 2)
      if (name == "cookie") cookie = value
      else if (name == "table") lies = value
      else if (name == "duration") age = value + 0
      else if (name == "hard_timeout") limit = value
      else if (name !~ /^(n_packets|n_bytes|idle_age|hard_age)$/ && words[i] != "") match_ = match_ "," words[i]
    }}
    if (lies != old || cookie !~ /^0x{OPENED:x}/) next
    if (limit != "") {{ left = int(limit - age); if (left < 1) next; limit = ",hard_timeout=" left }}
    print "add check_overlap" limit ",cookie=" cookie ",table=" new match_ ",actions=" substr($0, at + 9) }}'; }}
cookies() {{ sed -n 's/.*cookie=\\(0x{OPENED:x}[0-9a-f]*\\),.*/\\1/p' | LC_ALL=C sort -u; }}
"""
_FENCE = f"""\
durable() {{ for file in /etc/openvswitch/conf.db /var/lib/openvswitch/conf.db; do [ ! -e $file ] || sync $file; done; }}
found=$(ovs-vsctl --no-wait --timeout=4 --if-exists get $row $key) || no 'the database of the switch does not answer'
[ -n "$found" ] || exit 0
raise || no 'the database of the switch did not take the generation'
durable || no 'the generation is raised, but its database cannot be written to the disk'
for try in 1 2 3; do
  ovs-vsctl --no-wait --timeout=4 br-exists {BRIDGE}
  case $? in 0) ;; 2) exit 0 ;; *) no 'the database of the switch does not answer' ;; esac
  there=$(ovs-ofctl --timeout=4 -O OpenFlow14 dump-flows {BRIDGE}) ||
    no 'the switch daemon does not answer: the generation is raised in its database only, fence it again'
  was=$(printf '%s\\n' "$there" | sed -n 's/.*table={LOCK},.*reg0=0x\\([0-9a-f]*\\)\\/.*/\\1/p')
  [ -n "$was" ] || exit 0 # the daemon is new: nothing passes until what is kept is put together, under this generation
  was=$((0x$was))
  [ "$was" -lt "$held" ] || exit 0
  old=$(table_of $was) table=$(table_of $held)
  carried=$(printf '%s\\n' "$there" | carry)
  ovs-ofctl --timeout=8 --bundle add-flows {BRIDGE} - <<FLOWS || continue
delete table=$table
delete_strict $(lock $was | sed 's/.*\\(table=.*\\),actions=.*/\\1/')
$(lock $held)
$(generation_of $held)
$carried
FLOWS
  [ "$old" != "$table" ] || exit 0
  there=$(ovs-ofctl --timeout=4 -O OpenFlow14 dump-flows {BRIDGE} table=$old | cookies)
  for cookie in $(printf '%s\\n' "$carried" | cookies); do
    case " "$(echo $there)" " in *" $cookie "*) ;; *) echo "delete cookie=$cookie/-1" ;; esac
  done | {{ cat; echo "delete table=$old"; }} | ovs-ofctl --timeout=8 --bundle add-flows {BRIDGE} - ||
    no 'what was closed meanwhile may be open in the new generation: close it again'
  exit 0
done
no 'the switch did not take the new generation; the older one is in force on its flows'
"""


def fence() -> Script:
    return Script("sh -s", REFUSE + FENCE_WORDS + WITHOUT_LOCK + RAISE_EPOCH + _CARRY + _FENCE)
