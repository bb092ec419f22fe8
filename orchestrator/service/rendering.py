"""Renders a stage's changes for `orchestrator.domain.planning`, which knows no dialect."""

from __future__ import annotations

from orchestrator.dialects.base import Fence, Script
from orchestrator.domain.layer import DeviceChange
from orchestrator.domain.network import Device, Site
from orchestrator.domain.plan import RenderedScript
from orchestrator.domain.planning import Render
from orchestrator.service.pack_making import DialectFor


def renderer(dialect_for: DialectFor) -> Render:
    """The scripts (open, confirm, close) of a change, with their placeholders, in the words of the device's platform."""

    def render(device: Device, change: DeviceChange, until: bool) -> tuple[RenderedScript, RenderedScript, RenderedScript]:
        dialect = dialect_for(device.platform.value)
        return _as_voted(dialect.open(change)), _as_voted(dialect.confirm(change, until=until)), _as_voted(dialect.close(change))

    return render


def unfenced_devices(site: Site, dialect_for: DialectFor) -> frozenset[str]:
    """The devices that a late command can reopen: they count as open in every proof (invariant 9)."""
    return frozenset(device.name for device in site.devices if dialect_for(device.platform.value).traits.fence is Fence.NONE)


def _as_voted(script: Script) -> RenderedScript:
    return RenderedScript(kind=script.kind, command=script.command, text=script.text)
