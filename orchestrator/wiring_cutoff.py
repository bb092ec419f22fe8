"""Joins the emergency command. Apart from `wiring`, so that it imports nothing before it is needed: start-up counts
in the time to cut, and what is broken elsewhere (the API, the log, a policy file) must not keep anyone from cutting.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.adapters.cutoff_files import CutoffFiles
from orchestrator.domain.pack import NAMESPACE
from orchestrator.errors import LogUnavailable, NotAuthenticated, OrchestratorError
from orchestrator.ports import Credential, Target
from orchestrator.service.cutoff_record import INTENT_WAITS_S
from orchestrator.service.cutoff_surroundings import Surroundings
from orchestrator.settings import StateDirectory, inventory_path, policy_path
from orchestrator.wiring_hospital import dialect_named, simulation
from orchestrator.wiring_log import log_is_there, open_log, postgres_url

if TYPE_CHECKING:
    from orchestrator.domain.events import NewEvent
    from orchestrator.domain.network import Prefix
    from orchestrator.domain.policy import Policy
    from orchestrator.ports import Devices, Log, Probes

POSTGRES_INTENT_WAITS_S = 2.0  # its writer is a process of its own, which has to start; no packet waits for it


def emergency_surroundings(
    state: StateDirectory, *, elapsed: Callable[[], float], pack: Path | None = None, ask_name: Callable[[], str] = str
) -> Surroundings:
    """Everything that a cut-off touches, none of it opened yet."""
    log, merge, intent_waits_s = _record_of(state)
    named = [(f"pack {pack}", pack)] if pack else []
    return Surroundings(
        candidates=(*named, ("cut pack", state.cut_pack), ("previous cut pack", state.previous_cut_pack)),
        verify=lambda body, signature: verify_pack(state, body, signature),
        render=lambda profile: render_from_files(state, profile),
        devices=_once(lambda: emergency_devices(state)),
        probes=lambda body: emergency_probes(state, body),
        dialect=dialect_named,
        log=log,
        spool=lambda events: spool(state, events),
        intent_waits_s=intent_waits_s,
        merge=merge,
        blocklist=lambda: blocklist(state),
        files=CutoffFiles(state.root, state.elsewhere),
        now=lambda: datetime.now(UTC),
        elapsed=elapsed,
        ask_name=ask_name,
    )


def verify_pack(state: StateDirectory, body: dict[str, Any], signature: str) -> None:
    """Raises NotAuthenticated for a bad signature or another key than the site's; OSError when the site's is not here."""
    public = state.site_key_public.read_text(encoding="ascii").split()
    import base64

    from orchestrator.adapters import sshsig
    from orchestrator.domain.canonical import canonical

    signed = sshsig.check(NAMESPACE, canonical(body), signature)
    if base64.b64encode(signed.key).decode("ascii") != public[1]:
        raise NotAuthenticated("it is signed by another key than this site's", rule="signature")


def render_from_files(state: StateDirectory, profile: str | None) -> dict[str, Any]:
    """A pack's body from the policy and the inventory on disk, ratified by nobody; of one profile, since somebody waits.

    What `policy check` would find is not asked: only what cannot be read at all refuses. Raises PolicyError.
    """
    from orchestrator.adapters.inventory_yaml import read_inventory
    from orchestrator.adapters.known_hosts import read_known_hosts
    from orchestrator.adapters.policy_yaml import read_policy
    from orchestrator.domain.digests import inventory_digest, policy_digest
    from orchestrator.domain.making import stamp
    from orchestrator.service.pack_making import make_pack

    site, policy = read_inventory(inventory_path()).site, read_policy(policy_path()).policy
    wanted = profile or policy.default_profile
    chosen = tuple(item for item in policy.profiles if item.name == wanted) or policy.profiles
    return make_pack(
        site,
        policy.model_copy(update={"profiles": chosen, **({"default_profile": wanted} if len(chosen) == 1 else {})}),
        policy_digest=policy_digest(policy),
        inventory_digest=inventory_digest(site),
        made_at=stamp(datetime.now(UTC)),
        ratified=False,
        host_keys=read_known_hosts(state.known_hosts),
        dialect_for=dialect_named,
    )


def emergency_devices(state: StateDirectory) -> Devices:
    simulated = simulation()
    if simulated is not None:
        return simulated
    from orchestrator.adapters import netmiko_session  # noqa: F401 (loads Netmiko now, while the pack is being read)
    from orchestrator.adapters.netmiko_devices import NetmikoDevices

    return NetmikoDevices({Credential.CUT: state.cut_key, Credential.OPEN: state.open_key})


def emergency_probes(state: StateDirectory, body: Mapping[str, Any]) -> Probes:
    simulated = simulation()
    if simulated is not None:
        from orchestrator.simulation.store import StoredProbes

        return StoredProbes(simulated)
    return ssh_probes(state, body)


def ssh_probes(state: StateDirectory, body: Mapping[str, Any]) -> Probes:
    from orchestrator.adapters.netmiko_devices import NetmikoDevices
    from orchestrator.adapters.ssh_probes import SshProbes

    sessions = NetmikoDevices({Credential.CUT: state.probe_key})
    return SshProbes(sessions, vantage_points(state, body), authorities=state.probe_authorities)


def vantage_points(state: StateDirectory, body: Mapping[str, Any]) -> dict[str, Target]:
    """From the pack; from the inventory and `known_hosts` on disk when it says nothing of them."""
    listed = body.get("vantage_points")
    if listed:
        return {
            name: Target(name, "host", str(host["address"]), str(host["user"]), tuple(host["host_keys"]), int(host.get("port", 22)))
            for name, host in listed.items()
        }
    from orchestrator.adapters.inventory_yaml import read_inventory
    from orchestrator.adapters.known_hosts import read_known_hosts

    known = read_known_hosts(state.known_hosts)
    site = read_inventory(inventory_path()).site
    return {
        host.name: Target(host.name, "host", str(host.management), host.user, tuple(known.get(str(host.management), ())))
        for host in site.hosts
        if host.management is not None
    }


def policy_on_disk() -> Policy | None:
    """For naming things only; None when the files cannot be used."""
    from orchestrator.adapters.policy_yaml import read_policy

    try:
        return read_policy(policy_path()).policy
    except (OrchestratorError, OSError):
        return None


def _record_of(state: StateDirectory) -> tuple[Callable[[], Log], Callable[[], int], float]:
    """How the log is opened, how what went to the spool gets into it, and how long the intent waits for it. Nothing waits for a
    server that is known to be away."""
    try:
        url = postgres_url(state)
    except OrchestratorError:  # whoever opens the log is told; the events are spooled
        url = ""
    if not url:
        return (lambda: open_log(state)), (lambda: merge_spool(state)), INTENT_WAITS_S
    from orchestrator.adapters.postgres_writer import PostgresWriter

    writers: list[PostgresWriter] = []

    def log() -> Log:
        writers.append(PostgresWriter(url, state.log_head))
        return writers[-1]

    def merge() -> int:
        for writer in writers:
            writer.end()  # nothing is appended behind the back of the merge
            if writer.failed:
                raise LogUnavailable(writer.failed)
        return merge_spool(state)

    return log, merge, POSTGRES_INTENT_WAITS_S


def merge_spool(state: StateDirectory) -> int:
    """How many events went from the spool into the log, marked as late. Raises LogUnavailable, LogBroken."""
    from orchestrator.adapters.spool import Spool

    with open_log(state) as log:
        return Spool(state.spool, state.spool_fallback).merge_into(log)


def blocklist(state: StateDirectory) -> tuple[Prefix, ...]:
    """What the log says is blocked; nothing where no log was ever begun. Raises LogUnavailable, LogBroken."""
    from orchestrator.domain.folding import fold

    if not log_is_there(state):
        return ()
    with open_log(state, read_only=True) as log:
        return fold(log.read()).blocklist


def spool(state: StateDirectory, events: Sequence[NewEvent]) -> None:
    from orchestrator.adapters.spool import Spool

    Spool(state.spool, state.spool_fallback).append(events)


def _once(make: Callable[[], Devices]) -> Callable[[], Devices]:
    """Made by whoever asks first; the others wait for it. An error is met again by whoever asks next."""
    lock = threading.Lock()
    made: list[Devices] = []

    def get() -> Devices:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get
