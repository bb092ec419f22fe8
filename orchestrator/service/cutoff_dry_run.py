"""`cutoff --dry-run`: which live sessions would die, by application and destination. Reads; changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.ports import Credential, DeviceStep
from orchestrator.service.cutoff_pack import Cut, chosen_profile, cuts_of, load_pack
from orchestrator.service.cutoff_sessions import layers_on, sorted_out

if TYPE_CHECKING:
    from orchestrator.domain.layer import TrackedConnection
    from orchestrator.domain.policy import Policy
    from orchestrator.service.cutoff_surroundings import Order, Surroundings

DEADLINE_S = 10.0
_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 50: "esp", 58: "icmpv6"}


@dataclass
class DryRun:
    """`dying` counts sessions by (application, destination); one session counts on every device that tracks it."""

    site: str
    profile: str
    warnings: list[str]
    tracked: int = 0
    dying: Counter[tuple[str, str]] = field(default_factory=Counter)
    devices: dict[str, int] = field(default_factory=dict)  # how many would die there
    silent: dict[str, str] = field(default_factory=dict)  # device → why nothing is known of its sessions

    def as_json(self) -> dict[str, Any]:
        rows = [{"application": name, "destination": end, "sessions": count} for (name, end), count in self.dying.most_common()]
        return {
            "verb": "cutoff", "dry_run": True, "site": self.site, "profile": self.profile, "tracked": self.tracked,
            "would_die": sum(self.dying.values()), "sessions": rows, "devices": self.devices, "silent": self.silent,
            "warnings": self.warnings,
        }  # fmt: skip

    def lines(self) -> list[str]:
        lines = [f"DRY RUN — {self.site}, profile {self.profile}: {sum(self.dying.values())} of {self.tracked} tracked sessions would die"]
        lines += [f"  {count:6}  {name:<24} {end}" for (name, end), count in self.dying.most_common()]
        lines += [f"  unknown {device}: {why}" for device, why in self.silent.items()]
        return lines + [f"  warning {warning}" for warning in self.warnings]


def dry_run(order: Order, around: Surroundings, application_of: Callable[[TrackedConnection], str]) -> DryRun:
    """Raises what reading the pack raises: InputError, UnknownName."""
    pack = load_pack(around.candidates, verify=around.verify, render=around.render, profile=order.profile)
    profile = chosen_profile(pack.body, order.profile)
    cuts = {cut.device: cut for cut in cuts_of(pack.body, profile, 0)}
    found = DryRun(str(pack.body["site"]), profile, list(pack.warnings))
    scripts = {cut.target: (cut.read_back, cut.sessions) for cut in cuts.values() if cut.sessions is not None}
    for outcomes in around.devices().run(scripts, credential=Credential.CUT, deadline_s=DEADLINE_S, verb="cutoff"):
        cut, last = cuts[outcomes[0].device], outcomes[-1]
        if last.step is not DeviceStep.APPLIED or len(outcomes) < 2:
            found.silent[cut.device] = last.detail
            continue
        try:
            _count(cut, outcomes[0].output, last.output, pack.body, around, found, application_of)
        except Exception as failure:  # one unreadable answer must not hide the others
            found.silent[cut.device] = str(failure)
    return found


def _count(
    cut: Cut, read_back: str, listing: str, body: dict[str, Any], around: Surroundings, found: DryRun,
    application_of: Callable[[TrackedConnection], str],
) -> None:  # fmt: skip
    dialect = around.dialect(cut.target.platform)
    layers, _ = layers_on(cut.device, tuple(dialect.parse(read_back).slots), cut.layer, body)
    sessions = sorted_out(dialect, listing, layers)
    found.tracked += len(sessions.tracked)
    found.devices[cut.device] = len(sessions.outside)
    for connection in sessions.outside:
        port = f"/{connection.port}" if connection.port else ""
        end = f"{connection.destination} {_NAMES.get(connection.protocol, connection.protocol)}{port}"
        found.dying[application_of(connection), end] += 1


def applications(policy: Policy | None) -> Callable[[TrackedConnection], str]:
    """Tells the application of a connection by the flows of the policy; `(none named)` for what no flow describes."""

    def named(connection: TrackedConnection) -> str:
        for flow in policy.flows if policy else ():
            inside, outside = (connection.destination, connection.source)
            if flow.direction == "out":
                inside, outside = outside, inside
            if inside not in flow.addresses or not _serves(flow.services, connection):
                continue
            if any(
                outside in network for name in flow.partners for network in _networks(policy, name) if network.version == outside.version
            ):
                return flow.application
        return "(none named)"

    return named


def _serves(services: Sequence[Any], connection: TrackedConnection) -> bool:
    return any(
        service.protocol == connection.protocol
        and (service.ports is None or (connection.port is not None and service.ports[0] <= connection.port <= service.ports[1]))
        for service in services
    )


def _networks(policy: Policy | None, partner: str) -> Sequence[Any]:
    return policy.partner(partner).networks if policy else ()
