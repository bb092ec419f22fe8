"""Devices that hold something of ours by the log, and that an inventory does not declare: nobody would know their address, their
platform or their keys, so nothing could be closed, fenced or lifted there. No such inventory is ratified. Where one was ratified
before that was refused, whatever is asked of such a device is `unknown`, and the others are dealt with as ever."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.domain.network import Site
from orchestrator.domain.state import SiteState
from orchestrator.errors import Refused


def holding(state: SiteState) -> tuple[str, ...]:
    """Devices on which a layer or an opening of ours lies by the log, or may."""
    return tuple(device.name for device in state.devices.values() if any((device.slots, device.openings, device.releases, device.pending)))


def require_declared(state: SiteState, site: Site) -> None:
    """Raises Refused (rule `device-holds-a-layer`) for an inventory without a device that holds something of ours."""
    if missing := [name for name in holding(state) if name not in site.devices_by_name]:
        raise Refused(
            f"the inventory has no device {', '.join(missing)}, where a layer of ours lies: nothing could be closed or lifted there",
            rule="device-holds-a-layer",
            advice="keep it in the inventory, under its name, until its layer is lifted; then ratify without it",
        )


def undeclared(state: SiteState, names: Iterable[str]) -> dict[str, str]:
    """Of these devices, those that the ratified inventory does not declare, each with what to tell people."""
    known = state.ratified.site.devices_by_name if state.ratified is not None else {}
    why = "the ratified inventory has no device of this name: nothing can be sent to it; ratify an inventory that has it again"
    return {name: f"{name}: {why}" for name in names if name not in known}
