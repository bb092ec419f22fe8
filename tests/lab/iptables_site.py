"""The same three namespaces, with a router whose owners write their rules with iptables, of either kind."""

from __future__ import annotations

from pathlib import Path

from orchestrator.dialects.base import Script
from orchestrator.dialects.iptables import IptablesDialect
from tests.lab.nftables_site import INSIDE, Site

FAMILY_TOOLS = {"iptables": f"{INSIDE[4]}:443", "ip6tables": f"[{INSIDE[6]}]:443"}  # tool → where the published address leads
# The site's own rules: everything the layer must win over, a deny that it must not lift, and a published address.
FILTER = """*filter
:FORWARD ACCEPT [0:0]
:INPUT ACCEPT [0:0]
-A FORWARD -p tcp -m tcp --dport 666 -j DROP
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -j ACCEPT
COMMIT
"""
NAT = """*nat
-A PREROUTING -i wan0 -p tcp -m tcp --dport 8443 -j DNAT --to-destination {inside}
COMMIT
"""


class IptablesSite(Site):
    """The three namespaces, with the site's rules in iptables instead of nft."""

    def __init__(self, boot: Path, kind: str) -> None:
        super().__init__(boot)
        self.kind = kind
        self.lock = boot.parent / "xtables.lock"
        self.dialect = IptablesDialect(str(boot))

    def up(self) -> None:
        super().up()
        self.nft("delete table inet site\n")
        self.programs.mkdir()
        for tool in ("iptables", "ip6tables"):
            for end in ("", "-save", "-restore"):
                (self.programs / f"{tool}{end}").symlink_to(self.real(tool + end))
        for tool, inside in FAMILY_TOOLS.items():
            self.did(Script(f"{tool}-restore", FILTER + NAT.format(inside=inside)))
        self.did(Script("iptables -t nat -A POSTROUTING -o wan0 -j MASQUERADE"))

    def words_for(self, command: str) -> list[str]:
        """With a lock of its own: the machine's is shared by all namespaces."""
        return super().words_for(f"XTABLES_LOCKFILE={self.lock}; export XTABLES_LOCKFILE; {command}")

    def real(self, tool: str) -> str:
        """Where the machine has the tool that the router calls so."""
        family, _, end = tool.partition("-")
        return f"/usr/sbin/{family}-{self.kind}" + (f"-{end}" if end else "")

    def restore_tool(self, tool: str) -> None:
        """The real tool again, after `put_program`."""
        (self.programs / tool).unlink()
        (self.programs / tool).symlink_to(self.real(tool))

    def reboot(self) -> None:
        """As the machine starts: nothing of ours runs, the site's rules are restored, then our boot file."""
        for tool in FAMILY_TOOLS:
            text = FILTER + NAT.format(inside=FAMILY_TOOLS[tool])
            self.did(Script(f"{tool} -F; {tool} -X; {tool} -t nat -F PREROUTING; {tool}-restore --noflush", text))
        if (self.boot / "boot").exists():
            self.did(Script(str(self.boot / "boot")))
        self.did(Script("conntrack -F 2>/dev/null"))


def site_of(kind: str, boot: Path) -> Site:
    """`nftables`, or iptables of either kind: `iptables-nft`, `iptables-legacy`."""
    return Site(boot) if kind == "nftables" else IptablesSite(boot, kind.partition("-")[2])


KINDS = ("nftables", "iptables-nft", "iptables-legacy")
