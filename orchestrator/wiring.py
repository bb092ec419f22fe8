"""Joins the reopening: ports, adapters and the service, for the state directory of this server."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path

from orchestrator.adapters.clock import SystemClock
from orchestrator.adapters.cutoff_files import CutoffFiles
from orchestrator.adapters.known_hosts import read_known_hosts
from orchestrator.adapters.site_key import load_or_create_site_key
from orchestrator.adapters.spool import Spool
from orchestrator.adapters.sshsig import SshSignatures
from orchestrator.adapters.text_archive import TextArchive
from orchestrator.domain.network import Device, Platform
from orchestrator.domain.secrets_masked import Masking
from orchestrator.ports import Credential, Devices, Probes, Target
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.planning import Planner
from orchestrator.service.stages import Stages
from orchestrator.settings import StateDirectory, device_limits
from orchestrator.wiring_hospital import dialect_named, simulation, surroundings_named
from orchestrator.wiring_log import lease_for, open_log, volatile_for
from orchestrator.wiring_recut import emergency_command

PLAYBOOKS = Path(__file__).parents[1] / "playbooks"


def reopening(state: StateDirectory, server: str = "") -> Stages:
    """The service of `orchestrator serve`; `server` is what it is called among those that share this log.

    Raises EnvironmentMissing, LogUnavailable, LogBroken.
    """
    site_key = load_or_create_site_key(state.site_key).private
    hosts = read_known_hosts(state.known_hosts)
    changing, reading, probes = _hospital(state)

    def target_for(device: Device) -> Target:
        address = str(device.management)
        return Target(device.name, device.platform.value, address, device.user, hosts.get(address, ()))

    log, spool = open_log(state), Spool(state.spool, state.spool_fallback)
    server = server or socket.gethostname()
    files = CutoffFiles(state.root, state.elsewhere)
    spool.allocate()  # in peacetime, when there is room
    spool.merge_into(log)
    collaborators = Collaborators(
        log=log,
        clock=SystemClock(),
        signatures=lambda allowed_signers: SshSignatures(allowed_signers, site_key),
        devices_by_platform=lambda platform: changing[Platform(platform)],
        reader=reading,
        probes=probes,
        dialect_for=dialect_named,
        target_for=target_for,
        raise_epoch=lambda known: files.raise_epoch(max(int(time.time()), known + 1)),
        start_cutoff=emergency_command(state),
        archive=TextArchive(state.site_rules).keep,
        masking=Masking(_key_lines(state)),
        lease=lease_for(state, server),
        volatile=volatile_for(state, server),
        server=server,
        surroundings_for=surroundings_named,
        take_in=lambda: spool.holds_something() and spool.merge_into(log),
    )
    return Stages(collaborators, Planner(dialect_named))


def _key_lines(state: StateDirectory) -> tuple[str, ...]:
    """The text of the private keys of this server, line by line: whatever prints one of them, it does not come into the log."""
    found: list[str] = []
    for key in (state.cut_key, state.open_key, state.probe_key, state.site_key):
        with suppress(OSError, UnicodeDecodeError):  # not here, or not ours to read: then it cannot be printed either
            found += [line.strip() for line in key.read_text(encoding="ascii").splitlines() if not line.startswith("-----")]
    return tuple(dict.fromkeys(found))


def _hospital(state: StateDirectory) -> tuple[dict[Platform, Devices], Devices, Probes]:
    """Who changes which platform, who reads, who probes; all of it the simulated hospital when one is named."""
    simulated = simulation()
    if simulated is not None:
        from orchestrator.simulation.store import StoredProbes

        return dict.fromkeys(Platform, simulated), simulated, StoredProbes(simulated)
    from orchestrator.adapters.ansible_devices import AnsibleDevices
    from orchestrator.adapters.device_turns import DeviceTurns, limits_with
    from orchestrator.adapters.netmiko_devices import NetmikoDevices
    from orchestrator.wiring_cutoff import ssh_probes

    keys = {Credential.CUT: state.cut_key, Credential.OPEN: state.open_key}
    turns = DeviceTurns(limits_with(device_limits()))  # one session of ours on a device, whichever way it goes
    sessions = NetmikoDevices(keys, turns=turns)
    firewalls = AnsibleDevices(keys, PLAYBOOKS, turns=turns)
    by_platform: dict[Platform, Devices] = dict.fromkeys(Platform, sessions)
    by_platform[Platform.NFTABLES] = firewalls
    return by_platform, sessions, ssh_probes(state, {})
