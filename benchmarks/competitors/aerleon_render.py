"""A policy's flows rendered for nftables by Aerleon: a yardstick, not a rival (it renders; it neither checks nor proves)."""

from __future__ import annotations

from typing import Any

from aerleon import api
from aerleon.lib import naming

from orchestrator.domain.policy import Flow, Policy


class Terms:
    """One term per flow and partner; names are resolved here, outside the time that is taken."""

    def __init__(self, policy: Policy) -> None:
        networks: dict[str, Any] = {}
        services: dict[str, Any] = {}
        self._terms = []
        for flow in policy.flows:
            networks[f"A-{flow.name}"] = {"values": [{"address": str(address)} for address in flow.addresses]}
            services[f"S-{flow.name}"] = [{"protocol": "tcp", "port": service.ports[0]} for service in flow.services if service.ports]
            self._terms += [self._term(flow, partner) for partner in flow.partners]
        for partner in policy.partners:
            networks[partner.name] = {"values": [{"address": str(network)} for network in partner.networks]}
        self._definitions = naming.Naming()
        self._definitions.ParseDefinitionsObject({"networks": networks, "services": services}, "bench")

    def render(self) -> int:
        """The characters of the rendered text."""
        policy: Any = {"filename": "bench", "filters": [{"header": {"targets": {"nftables": "mixed output"}}, "terms": self._terms}]}
        found = api.Generate([policy], self._definitions)
        return sum(map(len, (found or {}).values()))

    @staticmethod
    def _term(flow: Flow, partner: str) -> dict[str, str]:
        source, destination = (partner, f"A-{flow.name}") if flow.direction == "in" else (f"A-{flow.name}", partner)
        return {
            "name": f"{flow.name}-{partner}", "source-address": source, "destination-address": destination,
            "destination-port": f"S-{flow.name}", "protocol": "tcp", "action": "accept",
        }  # fmt: skip
