"""The shell around `iptables-restore`: what has to be looked up on the device before a transaction can be written.

One transaction per family, IPv4 first; both are always tried. Its text is finished before `iptables-restore` starts,
which holds a lock that `iptables -S` waits for. A restore without `--noflush` would take the site's rules
away, so it is never used, and ours are found, taken out and put first again by what `iptables -S` lists.

The fence is an empty chain `containment-e<epoch>`: an opening deletes and makes the chain of its own generation in its
transaction, which fails whole when the device has moved on. The kind on nf_tables commits against the rules that it has
read; the older kind reads and writes all rules under one lock, so whoever hangs inside it would hold a cut up, and could
write the old rules back later: a script that closes ends it (FREE_LOCK). Its transaction has happened whole or not at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from orchestrator.dialects.iptables_rules import BLOCKED, DISPATCH, EPOCH, FAMILIES, HOOKS, OPEN, opening_id, pinhole, shared_lines
from orchestrator.domain.layer import Element

BOOT_DIRECTORY = "/etc/containment"
_FIND_HOOKS = f"grep -E '^-A [A-Z]+ .*-[jg] {DISPATCH}(-in|-out)?$' | sed 's/^-A/-D/'"
NEWEST = f'held=$($tool -S | sed -n \'s/^-N {EPOCH}\\([0-9]*\\)$/\\1/p\'); for one in $held; do [ "$one" -le "$epoch" ] || epoch=$one; done'
SWAP = f"""for one in $held; do echo "-X {EPOCH}$one"; done; echo "-N {EPOCH}$epoch\""""
BOOT_SCRIPT = f"""\
#!/bin/sh
# Lays the containment layer: run it after the site's own rules and before forwarding starts.
cd "${{0%/*}}" || exit 1
status=0
for family in 4 6; do
  tool=iptables; [ $family = 4 ] || tool=ip6tables
  epoch=$(cat epoch); {NEWEST}
  text=$(echo '*filter'; {SWAP}
    $tool -S | {_FIND_HOOKS}
    echo ':{DISPATCH} - [0:0]'
    cat 0-base.v$family
    blocks=$($tool -S {BLOCKED} 2>/dev/null | grep '^-A')
    echo ':{BLOCKED} - [0:0]'
    {{ printf '%s\\n' "$blocks"; for file in _b-*.v$family; do [ ! -e "$file" ] || cat "$file"; done; }} | grep '^-A' | awk '!seen[$0]++'
    for file in [a-z]*.v$family; do [ ! -e "$file" ] || cat "$file"; done
    echo COMMIT)
  printf '%s\\n' "$text" | $tool-restore --noflush -w 5 || status=1
done
exit $status
"""

HEAD = """\
set -u
export LC_ALL=C
tool_for() { tool=iptables; [ "$1" = 4 ] || tool=ip6tables; }
commit() { $tool-restore --noflush -w 5; }
"""

FREE_LOCK = """\
same=
lock=${XTABLES_LOCKFILE:-/run/xtables.lock}
if [ -e "$lock" ] && [ -r /proc/locks ]; then
  for look in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
    holder=$(sed -n "s/^[0-9]*: FLOCK .* \\([0-9][0-9]*\\) [0-9a-f:]*:$(stat -L -c %i "$lock") 0 EOF$/\\1/p" /proc/locks)
    [ -n "$holder" ] || break
    [ "$holder" = "${same:-$holder}" ] || break  # it goes on from hand to hand: nobody hangs
    same=$holder
    sleep 0.2
  done
  if [ "$look" = 15 ] && [ -n "$holder" ]; then
    for one in $holder; do
      case $(cat "/proc/$one/comm") in *tables*) echo "ended $one, which held the lock of iptables" >&2; kill -9 "$one" ;; esac
    done
  fi
fi
"""

_HOOKS = "; ".join(f"echo '-I {hook} 1 -j {chain}'" for hook, chain in HOOKS.items())

# The last try leaves the generation as it is: whatever keeps the generation from being swapped must not keep the layer from lying.
LAY = f"""\
{HEAD}{FREE_LOCK}
lay() {{
  epoch={{epoch}}; {NEWEST}
  text=$(echo '*filter'
    if [ $1 = yes ]; then {SWAP}; fi
    $tool -S | {_FIND_HOOKS}
    echo ':{DISPATCH} - [0:0]'
    $tool -S {DISPATCH} 2>/dev/null | grep -E '^-A {DISPATCH} -[io] [a-z0-9-]+ -m comment --comment "slot [a-z0-9-]+" -j {DISPATCH}-s[0-9a-f]{{10}}$' | grep -vF "\\"slot $slot\\""
    $tool -S {BLOCKED} >/dev/null 2>&1 || echo '-N {BLOCKED}'
    printf '%s\\n' "$rules"
    {_HOOKS}
    echo COMMIT)
  printf '%s\\n' "$text" | commit
}}
status=0
both() {{
  tool_for $1
  for try in 1 2 3 4 5; do if lay yes 2>/dev/null; then return; fi; done
  lay yes || {{ lay no; status=1; }}
}}
"""  # noqa: E501

# Reads `id rule`, then `===`, then what the chain holds. Prints what the transaction does; fails when a window has passed.
_CHANGE = """\
{ printf '%s\\n' "$wanted"; echo ===; $tool -S CHAIN 2>/dev/null; } | awk -v verb="$verb" -v now="$(date -u +%Y-%m-%dT%H:%M:%S)" '
  !listing && $0 == "===" { listing = 1; next }
  !listing { id = $1; sub(/^[^ ]+ /, ""); rule[id] = $0; order[++count] = id; next }
  match($0, /--comment o-[0-9a-f]+ /) {
    id = substr($0, RSTART + 10, RLENGTH - 11)
    line = $0; sub(/^-A/, "-D", line)
    if (id in rule) { held[id] = 1; gone[++many] = line }
    if (match($0, /--datestop [^ ]+/)) { if (substr($0, RSTART + 11, RLENGTH - 11) < now) over[id] = 1 }
  }
  END {
    for (i = 1; i <= count; i++) {
      id = order[i]
      if (verb == "confirm" && (!(id in held) || id in over)) { print "the window of " rule[id] " has passed" > "/dev/stderr"; exit 1 }
    }
    for (i = 1; i <= many; i++) print gone[i]  # in the order of the chain: each is found at once
    for (i = 1; i <= count && verb != "close"; i++) print "-I CHAIN 1 " rule[order[i]]
  }'
""".replace("CHAIN", OPEN)

# The last second of so many from now, as a rule names it.
STOP_DATE = """\
stop() { date -u -d "@$(( $(date +%s) + $1 - 1 ))" +%Y-%m-%dT%H:%M:%S; }
"""
# When the first of the windows that are confirmed ends; nothing when all of them last.
_SOONEST = f"""\
soonest=$({{ printf '%s\\n' "$wanted4" "$wanted6"; echo ===; for family in 4 6; do tool_for $family; $tool -S {OPEN}; done; }} | awk '
  !listing {{ if ($0 == "===") listing = 1; wanted[$1] = 1; next }}
  match($0, /--comment o-[0-9a-f]+ /) && substr($0, RSTART + 10, RLENGTH - 11) in wanted && match($0, /--datestop [^ ]+/) {{
    ends = substr($0, RSTART + 11, RLENGTH - 11)
    if (first == "" || ends < first) first = ends
  }}
  END {{ print first }}')"""
_TOO_LATE = """\
now=$(date -u +%Y-%m-%dT%H:%M:%S)
if [ -n "$soonest" ] && ! printf '%s\\n' "$now" "$soonest" | sort -C; then
  verb=close; turn 4 "$wanted4"; turn 6 "$wanted6"
  echo 'refused: the window passed while this was on its way' >&2
  exit 1
fi"""
_CHANGING = f"""\
{HEAD}{STOP_DATE}change() {{
  lines=$({_CHANGE.rstrip()}
  ) || return 1
  {{ echo '*filter'; if [ "$verb" != close ]; then echo '-X {EPOCH}{{epoch}}'; echo '-N {EPOCH}{{epoch}}'; fi
    printf '%s\\n' "$lines"; echo COMMIT; }} | commit
}}
"""


def base_file(family: int) -> str:
    """The shared chains, hooked in first place: part of what the device boots with."""
    return "\n".join([*shared_lines(family), *(f"-I {hook} 1 -j {chain}" for hook, chain in HOOKS.items()), ""])


def persist(slot: str, digest: str, lines: dict[int, list[str]], directory: str) -> str:
    """Tries the files with `--test`, then puts them in place whole. The boot generation never goes back."""
    files = {f"0-base.v{family}": base_file(family) for family in FAMILIES} | {"boot": BOOT_SCRIPT}
    files |= {f"{slot}.v{family}": "\n".join([*lines[family], ""]) for family in FAMILIES}
    text = [FREE_LOCK + "set -eu", "umask 077", f"mkdir -p {directory}", f"cd {directory}", "trap 'rm -f .*.new' EXIT"]
    for name, body in files.items():
        first = (
            ""
            if name == "boot"
            else f"# containment boot file, {name}, layer {digest if name.startswith(slot) else '-'}, body {summed(body)}\n"
        )
        text += [f"cat > .{name}.new <<'BOOT'", f"{first}{body}BOOT"]
    for family, tool in ((4, "iptables"), (6, "ip6tables")):
        tried = f"cat .0-base.v{family}.new .{slot}.v{family}.new"
        ours = f"echo ':{DISPATCH} - [0:0]'; echo ':{BLOCKED} - [0:0]'; {tried}"
        text.append(f"{{ echo '*filter'; {ours}; echo COMMIT; }} | {tool}-restore --noflush --test")
    text += ["chmod 700 .boot.new", "before=$(cat epoch 2>/dev/null || echo 0)"]
    text += ['if [ "$before" -lt {epoch} ]; then echo {epoch} > .epoch.new; mv .epoch.new epoch; fi']
    text += [f"mv .{name}.new {name}" for name in files]
    return "\n".join([*text, "sync . 2>/dev/null || sync", ""])


def summed(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def lay(slot: str, lines: dict[int, list[str]]) -> str:
    """`lines`: per family, the slot and the shared chains."""
    text = [LAY, f"slot={slot}"]
    for family in FAMILIES:
        text += ["rules=$(cat <<'RULES'", *lines[family], "RULES", ")", f"both {family}"]
    return "\n".join([*text, "exit $status", ""])


def change(verb: str, elements: Iterable[Element], ends: str) -> str:
    """`open`, `confirm` or `close` of pinholes, IPv4 before IPv6; what failed half is closed again. `ends`: seconds, or ''."""
    listed = tuple(elements)
    text = [_CHANGING, *([FREE_LOCK] if verb == "close" else []), f"verb={verb}", f"stops=$(stop {ends})" if ends else "stops="]
    for family in FAMILIES:
        wanted = [f"{opening_id(one)} {_rule(one, ends)}" for one in listed if one.family == family]
        if wanted:
            text += [f"wanted{family}=$(cat <<'RULES' | sed \"s/@STOP@/$stops/\"", *wanted, "RULES", ")"]
        else:
            text.append(f"wanted{family}=")
    text.append('turn() { tool_for $1; wanted=$2; [ -z "$wanted" ] || change; }')
    if verb == "close":
        text += ["status=0", 'turn 4 "$wanted4" || status=1', 'turn 6 "$wanted6" || status=1', "[ $status = 0 ] || exit 1"]
    else:
        undone = '{ verb=close; turn 4 "$wanted4"; exit 1; }'
        # No transaction can ask for the time: one that hung until its window had passed is taken back at once.
        before, after = ([_SOONEST], [_TOO_LATE]) if verb == "confirm" else ([], [])
        text += [*before, 'turn 4 "$wanted4" || exit 1', f'turn 6 "$wanted6" || {undone}', *after]
    return "\n".join([*text, ""])


def _rule(element: Element, ends: str) -> str:
    until = " -m time --datestop @STOP@" if ends else ""
    return f"{pinhole(element)}{until} -m comment --comment {opening_id(element)} -j RETURN"


LIFT = f"""\
{HEAD}
fenced() {{ tool_for $1; $tool -S {EPOCH}{{epoch}} >/dev/null 2>&1; }}
fenced 4 && fenced 6 || {{ echo 'refused: the generation in force is not {{epoch}}' >&2; exit 1; }}
lift() {{
  listed=$($tool -S)
  ours=$(printf '%s\\n' "$listed" | sed -n 's/^-N \\({DISPATCH}[-a-z0-9]*\\)$/\\1/p')
  {{ echo '*filter'; echo '-X {EPOCH}{{epoch}}'; echo '-N {EPOCH}{{epoch}}'
    printf '%s\\n' "$listed" | grep -E '^-A [A-Z]+ .*-[jg] {DISPATCH}(-in|-out)?$' | sed 's/^-A/-D/'
    for chain in $ours; do echo "-F $chain"; done
    for chain in $ours; do echo "-X $chain"; done
    echo COMMIT; }} | commit
}}
kept=BOOT/.lifted
if [ -d BOOT ]; then
  rm -rf $kept
  mkdir $kept || exit 1
  for file in BOOT/0-base.v[46] BOOT/[a-z]*.v[46] BOOT/_b-*.v[46] BOOT/boot BOOT/epoch; do
    [ ! -f "$file" ] || ln "$file" $kept/ || exit 1
  done
fi
tool_for 4
lift || {{ rm -rf $kept; exit 1; }}
tool_for 6
if ! lift; then
  rm -rf $kept
  echo 'refused: IPv6 was not lifted; the layer is laid again in IPv4, as the device boots with it' >&2
  [ ! -x BOOT/boot ] || BOOT/boot
  exit 1
fi
# A lift that hung and wakes up after a later cut takes nothing away from that: what was written anew stays.
for file in $kept/*; do [ ! "$file" -ef "BOOT/${{file##*/}}" ] || rm -f "BOOT/${{file##*/}}"; done
rm -rf $kept
rmdir BOOT 2>/dev/null || :
"""

READ = f"""\
{HEAD}
for family in 4 6; do
  tool_for $family
  echo "=== rules $family"
  listed=$($tool -S) || exit 1
  printf '%s\\n' "$listed" | grep -E '^-N {DISPATCH}|^-A {DISPATCH}|-[jg] {DISPATCH}'
  for hook in {" ".join(HOOKS)}; do echo "first $($tool -S $hook 1)"; done
done
echo '=== now'; date -u +%s
echo '=== fast paths'; command -v nft >/dev/null && nft list flowtables 2>/dev/null | grep flowtable
echo '=== boot'
for file in BOOT/0-base.v[46] BOOT/[a-z]*.v[46] BOOT/_b-*.v[46] BOOT/boot; do
  [ -e "$file" ] || continue
  sum=$(tail -n +2 "$file" | sha256sum)
  printf '%s %s %s\\n' "${{file##*/}}" "${{sum%% *}}" "$(head -n 1 "$file")"
done
echo '=== end'
"""

SNAPSHOT = f"""\
export LC_ALL=C
for tool in iptables ip6tables; do
  echo "=== $tool"
  $tool-save | awk '/^\\*/ {{ table = $0; next }} /^#|^COMMIT|{DISPATCH}/ {{ next }}
    /^:/ {{ if ($2 != "ACCEPT") print table, $1, $2; next }} {{ print table, $0 }}'
done
echo '=== addresses'; ip -o address show | sed 's/ *valid_lft.*//'
echo '=== routes'; for family in 4 6; do ip -$family route show table all | sed 's/ expires [0-9]*sec//' | sort; done
echo '=== forwarding'
for name in ipv4/ip_forward ipv6/conf/all/forwarding; do echo "$name $(cat /proc/sys/net/$name 2>/dev/null)"; done
echo '=== end'
"""
