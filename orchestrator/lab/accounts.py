"""Who can log in to a node, and how: passwd, shadow, sshd, the shell's start-up file."""

from __future__ import annotations

from pathlib import Path

from orchestrator.domain.network import Device, Host, Node, Platform
from orchestrator.lab.keys import authorized, has_sshd, management_addresses
from orchestrator.lab.layout import Layout
from orchestrator.lab.machine import SYSTEM_PATH

PROBE_UID = 59001
HOMES = "/var/lib"

ROUTER_LOGIN = """#!/bin/sh
# What a login on this router can do: vtysh, or our wrapper. Installed by the rehearsal hospital as ForceCommand.
case "${SSH_ORIGINAL_COMMAND-}" in
    "") exec /usr/bin/vtysh ;;
    "containment-router "*) set -f; exec /usr/local/sbin/containment-router ${SSH_ORIGINAL_COMMAND#containment-router } ;;
esac
echo "refused: this router runs vtysh or containment-router" >&2
exit 126
"""


def write_accounts(layout: Layout, node: Node) -> None:
    """Writes the account files on the node's disk. The machine's own passwords are not copied."""
    etc = layout.disk(node.name) / "etc"
    (etc / "ssh").mkdir(parents=True, exist_ok=True)
    account = _account(node)
    machine = Path("/etc/passwd").read_text().splitlines()
    machine = [line for line in machine if line.split(":")[0] != node.user]
    (etc / "passwd").write_text("\n".join([*machine, *account]) + "\n")
    shadow = [f"{line.split(':')[0]}:*:19000:0:99999:7:::" for line in (*machine, *account)]
    _write(etc / "shadow", "\n".join(shadow) + "\n", 0o640)
    groups = Path("/etc/group").read_text()
    (etc / "group").write_text(groups + (f"{node.user}:x:{PROBE_UID}:\n" if isinstance(node, Host) and account else ""))
    (etc / "hostname").write_text(node.name + "\n")
    (etc / "hosts").write_text(f"127.0.0.1 localhost {node.name}\n::1 localhost\n")
    (etc / "resolv.conf").write_text("# no name server: nothing here depends on one\n")
    # No forks at login: start-up files cost time on every command.
    sign = "#" if isinstance(node, Device) else "$"
    (etc / "profile").write_text(f"PATH={SYSTEM_PATH}\nPS1='{node.name}{sign} '\nexport PATH\n")
    if has_sshd(node):
        _write_sshd(layout, node, etc)


def _account(node: Node) -> list[str]:
    if not has_sshd(node):
        return []
    ids = f"{PROBE_UID}:{PROBE_UID}" if isinstance(node, Host) else "0:0"
    return [f"{node.user}:x:{ids}::{HOMES}/{node.user}:/bin/sh"]


def _write_sshd(layout: Layout, node: Node, etc: Path) -> None:
    keys = etc / "ssh/authorized_keys"
    keys.mkdir(exist_ok=True)
    (keys / node.user).write_text(authorized(layout, node))
    home = layout.disk(node.name) / "varlib" / node.user
    home.mkdir(parents=True, exist_ok=True, mode=0o755)
    config = [
        *(f"ListenAddress {f'[{address}]' if ':' in address else address}" for address in management_addresses(node)),
        "HostKey /etc/ssh/ssh_host_ed25519_key",
        "PidFile /run/sshd.pid",
        "AuthorizedKeysFile /etc/ssh/authorized_keys/%u",
        f"AllowUsers {node.user}",
        "PermitRootLogin prohibit-password",  # sshd asks it of every account with uid 0
        "AuthenticationMethods publickey",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "UseDNS no",
        "PrintMotd no",
        "PrintLastLog no",
        "X11Forwarding no",
        "AllowTcpForwarding no",
        "MaxStartups 200:30:400",
        "MaxSessions 200",
        "LoginGraceTime 20",
        "Subsystem sftp internal-sftp",
    ]
    if isinstance(node, Device) and node.platform is Platform.FRR:
        _write(layout.disk(node.name) / "sbin/router-login", ROUTER_LOGIN, 0o755)
        config.append("ForceCommand /usr/local/sbin/router-login")
    if isinstance(node, Host):
        home.chmod(0o755)
    _write(etc / "ssh/sshd_config", "\n".join(config) + "\n", 0o600)


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
