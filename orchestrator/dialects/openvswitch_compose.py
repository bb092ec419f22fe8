"""Shell words for the device: what our bridge holds, put together from the slots that its ports claim.

The same words lie in playbooks/files/containment-host, which puts the layer back after a restart of the daemon. A test
holds both equal.
"""

from __future__ import annotations

from orchestrator.dialects.openvswitch_flows import Entry
from orchestrator.dialects.openvswitch_tables import (
    BRIDGE,
    EPOCH_TABLE,
    EPOCHS,
    FIRST_EPOCH,
    FIRST_SLOT,
    MOST_SLOTS,
    NEXT,
    OWN,
    PASSED,
    PORT,
    THIS,
    fixed_entries,
    generation_entry,
    guard_entries,
    port_entries,
    slot_entries,
    slots_entry,
)

RUNNING, BOOT = "/run/containment", "/etc/containment"  # where a slot's file lies: as laid, and as kept
FLOW_KEY, STANDS_KEY, BRIDGE_KEY, NUMBER_KEY = "containment-flow-", "containment-stands", "containment-bridge", "containment-number"


def _lines(entries: tuple[Entry, ...]) -> str:
    return "\n".join(entry.text() for entry in entries)


_GENERATION = generation_entry(0).text().replace("resubmit(,0)", f"resubmit(,{EPOCH_TABLE})")

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
  echo '{_GENERATION}' | sed "s/{EPOCH_TABLE}/$(({FIRST_EPOCH} + $1 % {EPOCHS}))/"
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
  compose "$1" | ovs-ofctl --timeout=4 --bundle replace-flows {BRIDGE} - && return
  echo 'our bridge did not take its entries: it is emptied, and nothing passes the guarded ports' >&2
  ovs-ofctl --timeout=4 del-flows {BRIDGE}
  return 1
}}
# --- end of the same words
"""
