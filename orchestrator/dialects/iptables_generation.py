"""Scripts of an iptables device that change no slot: raising the generation, loosening the layer for a while, tightening it."""

from __future__ import annotations

from orchestrator.dialects.iptables_rules import DISPATCH, EPOCH, LOOSENED
from orchestrator.dialects.iptables_shell import FREE_LOCK, HEAD, NEWEST, STOP_DATE, SWAP

_LOOSENING = f"sed -n 's/^-A \\({DISPATCH} -m time .* --comment {LOOSENED} -j RETURN\\)$/-D \\1/p'"
_TIGHT = f"""\
tight() {{
  gone=$($tool -S {DISPATCH} | {_LOOSENING})
  [ -z "$gone" ] || {{ echo '*filter'; printf '%s\\n' "$gone"; echo COMMIT; }} | commit
}}
"""


def fence(directory: str) -> str:
    """A family without the layer has no generation; a newer one stays."""
    return f"""\
{HEAD}{FREE_LOCK}
raise() {{
  $tool -S {DISPATCH} >/dev/null 2>&1 || return 0
  epoch={{epoch}}; {NEWEST}
  [ "$held" != "$epoch" ] || return 0
  text=$(echo '*filter'; {SWAP}; echo COMMIT)
  printf '%s\\n' "$text" | commit
}}
status=0
for family in 4 6; do
  tool_for $family
  raise 2>/dev/null || raise 2>/dev/null || raise ||
    {{ echo "IPv$family: the generation that runs could not be raised to {{epoch}}: late commands still count" >&2; status=1; }}
done
if [ -e {directory}/epoch ] && [ "$(cat {directory}/epoch)" -lt {{epoch}} ]; then
  ( set -e; cd {directory}; trap 'rm -f .epoch.new' EXIT
    echo {{epoch}} > .epoch.new; mv .epoch.new epoch; sync . 2>/dev/null || sync )
  [ $? = 0 ] ||
    {{ echo 'raised for now, but the device would boot with an older generation: make room in {directory}' >&2; status=1; }}
fi
exit $status
"""


def loosen() -> str:
    """One rule per family, first of all, with its date; what IPv6 refuses is tight again in IPv4."""
    return f"""\
{HEAD}{STOP_DATE}{_TIGHT}
stops=$(stop {{confirm}})
loose() {{
  text=$(echo '*filter'; echo '-X {EPOCH}{{epoch}}'; echo '-N {EPOCH}{{epoch}}'
    $tool -S {DISPATCH} | {_LOOSENING}
    echo "-I {DISPATCH} 1 -m time --datestop $stops -m comment --comment {LOOSENED} -j RETURN"; echo COMMIT)
  printf '%s\\n' "$text" | commit
}}
tool_for 4
loose || exit 1
tool_for 6
loose || {{ tool_for 4; tight; echo 'refused: IPv6 did not take it; IPv4 is tight again' >&2; exit 1; }}
"""


def tighten(directory: str) -> str:
    """A family whose chains are gone is laid from the boot files, and the other with it."""
    return f"""\
{HEAD}{FREE_LOCK}{_TIGHT}
status=0
for family in 4 6; do
  tool_for $family
  if $tool -S {DISPATCH} >/dev/null 2>&1; then tight || status=1; else missing=yes; fi
done
[ -z "${{missing-}}" ] || [ ! -x {directory}/boot ] || {directory}/boot || status=1
exit $status
"""
