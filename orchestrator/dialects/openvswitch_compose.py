"""Shell words for the device: what our bridge holds, put together from the slots that its ports claim.

The same words lie in playbooks/files/containment-host, which puts the layer back after a restart of the daemon. A test
holds both equal.
"""

from __future__ import annotations

from orchestrator.dialects.openvswitch_flows import BLOCKED, Entry
from orchestrator.dialects.openvswitch_tables import (
    BRIDGE,
    EPOCH_TABLE,
    EPOCHS,
    FIRST_EPOCH,
    FIRST_SLOT,
    GENERATION,
    MOST_SLOTS,
    NEXT,
    OWN,
    PASSED,
    PORT,
    THIS,
    fixed_entries,
    generation_entry,
    guard_entries,
    lock_entry,
    loosened_entry,
    port_entries,
    slot_entries,
    slots_entry,
)

RUNNING, BOOT = "/run/containment", "/etc/containment"  # where a slot's file lies: as laid, and as kept
BLOCK_FILE = f"{BOOT}/blocked"  # one network a line; no opening is kept beside it
EPOCH_KEY, LOOSENED_KEY = "containment-epoch", "containment-loosened"
FLOW_KEY, STANDS_KEY, BRIDGE_KEY, NUMBER_KEY = "containment-flow-", "containment-stands", "containment-bridge", "containment-number"


def _lines(entries: tuple[Entry, ...]) -> str:
    return "\n".join(entry.text() for entry in entries)


_GENERATION = generation_entry(0).text().replace("resubmit(,0)", f"resubmit(,{EPOCH_TABLE})")

_BLOCK = f"cookie=0x{BLOCKED << 40:x},table={GENERATION},priority=50"

# `lock`: the first line of a bundle that must fail when another generation is in force. `disarm`: ends timers of ours.
FENCE_WORDS = f"""\
# --- fence words, the same in orchestrator/dialects/openvswitch_compose.py
lock() {{ printf 'add check_overlap,{lock_entry(1).text().replace("0x1/0x1", "0x%x/0x%x")}\\n' "$1" "$1"; }}
table_of() {{ echo $(({FIRST_EPOCH} + $1 % {EPOCHS})); }}
generation_of() {{ echo '{_GENERATION}' | sed "s/{EPOCH_TABLE}/$(table_of "$1")/"; }}
blocks() {{ for end in src dst; do printf '%s\\n' "$1" | sed -n "
  s|^[0-9.]*/[0-9]*$|{_BLOCK},ip,nw_$end=&,actions=drop|p
  s|^[0-9a-f.]*:[0-9a-f:.]*/[0-9]*$|{_BLOCK},ipv6,ipv6_$end=&,actions=drop|p"; done; }}
loosened_for() {{ echo "{loosened_entry().text()}" | sed "s/table=/hard_timeout=$1,table=/"; }}
uptime_s() {{ read -r up rest < /proc/uptime; echo "${{up%%.*}}"; }}
disarm() {{ for what in "$@"; do
  read -r pid told < {RUNNING}/timer.$what && [ -n "$told" ] && tr '\\0' ' ' < /proc/$pid/cmdline | grep -qF -- "$told" &&
    kill -9 "-$pid" "$pid"
  rm -f {RUNNING}/timer.$what; done 2> /dev/null; }}
# --- end of the fence words
"""

# A slot whose file is gone keeps nothing: its ports drop. `put_together` is one bundle: all or nothing, no opening left.
COMPOSE = f"""\
# --- the same words in orchestrator/dialects/openvswitch_compose.py
claims() {{ ovs-vsctl --no-wait --timeout=4 --bare --columns=external_ids list Port ${{1-}} | tr ' ' '\\n' \\
  | sed -n 's/^"\\{{0,1\\}}{FLOW_KEY}\\([a-z0-9-]*\\).*/\\1/p' | LC_ALL=C sort -u; }}
moved() {{ for row in $(ovs-vsctl --no-wait --timeout=4 --bare --columns=name find Port 'external_ids:{STANDS_KEY}!=none'); do
  [ -z "$(claims "$row")" ] || echo "$row"; done; }}
own_end() {{ echo "own-$(ovs-vsctl --no-wait --timeout=4 get Port "$1" external_ids:{STANDS_KEY} | tr -d '"' | sed 's/^out-//')"; }}
compose() {{
  cat <<'FLOWS'
{_lines(fixed_entries())}
FLOWS
  generation_of "$1"; lock "$1" | sed 's/^add check_overlap,//'
  blocks "$(cat {BLOCK_FILE} 2> /dev/null)"
  ports=$(moved) slots=$(claims) this={FIRST_SLOT}
  for port in $ports; do sed "s/{PORT}/$port/g; s/{OWN}/$(own_end "$port")/g" <<'FLOWS'
{_lines(port_entries(PORT, OWN))}
FLOWS
  done
  left=$(echo $slots | wc -w)
  if [ "$left" -gt {MOST_SLOTS} ]; then echo "too many slots: nothing passes" >&2; return; fi
  [ "$left" -eq 0 ] || echo '{slots_entry().text()}'
  for slot in $slots; do
    left=$((left - 1)) next=$((this + 1)) file={BOOT}/$slot.flows
    [ "$left" -gt 0 ] || next={PASSED}
    [ ! -r "{RUNNING}/$slot.flows" ] || file={RUNNING}/$slot.flows
    {{
      if [ -r "$file" ]; then
        sed '/^PORT /d' "$file"
        for port in $ports; do sed -n "s/^PORT $port //p" "$file"; done
      else
        echo "the file of slot $slot is gone: it keeps nothing" >&2
        echo '{slot_entries(0, 0)[0].text(THIS).replace("resubmit(,0)", f"resubmit(,{NEXT})")}'
        for port in $ports; do
          case " $(claims "$port" | tr '\\n' ' ') " in *" $slot "*) sed "s/{PORT}/$port/g; s/{OWN}/$(own_end "$port")/g" <<'FLOWS'
{_lines(guard_entries(PORT, OWN, (), 0)).replace("table=0", f"table={THIS}")}
FLOWS
          esac
        done
      fi
    }} | sed "s/{THIS}/$this/; s/{NEXT}/$next/"
    this=$next
  done
}}
put_together() {{
  while :; do
    compose "$1" | ovs-ofctl --timeout=4 --bundle replace-flows {BRIDGE} - || break
    newest=$(ovs-vsctl --no-wait --timeout=4 --if-exists get Open_vSwitch . external_ids:{EPOCH_KEY} | tr -d '"')
    [ "${{newest:-0}}" -gt "$1" ] || return 0
    set -- "$newest" # one that was held up brings no older generation back
  done
  echo 'our bridge did not take its entries: it is emptied, and nothing passes the guarded ports' >&2
  ovs-ofctl --timeout=4 del-flows {BRIDGE}
  return 1
}}
# --- end of the same words
"""
