"""The block list on the devices: put there with all else that is owed (`subtracting.py`), taken off by the open key.

Taking something off opens nothing that is not approved; it needs the votes that approved it, two people, a device that is as
the log says, and this server to be the one that acts.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain import conditions, decide_blocklist
from orchestrator.domain.blocklist import within
from orchestrator.domain.compile import without_prefixes
from orchestrator.domain.events import EventType as E
from orchestrator.domain.layer import Observed, networks_in_order
from orchestrator.domain.making import ORCHESTRATOR, EventMaker
from orchestrator.domain.network import Prefix
from orchestrator.domain.posture import SitePosture
from orchestrator.domain.state import SiteState
from orchestrator.domain.undeclared import undeclared
from orchestrator.ports import Credential, DeviceStep
from orchestrator.service.collaborators import Collaborators
from orchestrator.service.device_steps import DeviceSteps, expected_by_the_log
from orchestrator.service.journal import Journal
from orchestrator.service.subtracting import Told, block_body


@dataclass(frozen=True)
class Blocking:
    collaborators: Collaborators
    journal: Journal

    def end(self) -> SiteState:
        """Blocks whose time is over end now, by the log."""
        return self.journal.decide(decide_blocklist.over)

    def to_release(self, state: SiteState) -> tuple[str, ...]:
        """Devices that still block what has been taken off the list. What somebody else has put there is drift, and stays."""
        if state.ratified is None or state.posture is SitePosture.ISOLATING:
            return ()  # a cut-off is at work on the devices: it comes first
        ever = _ever(state)
        return tuple(
            device.name
            for device in state.devices.values()
            if device.slots and any(not within((network,), state.blocklist) and within((network,), ever) for network in device.blocked)
        )

    def release(self, device: str) -> Told:
        """The list of the device becomes the log's (with what was never on ours), and is read back. Raises NotActing, LogUnavailable."""
        state = self.journal.state()
        if gone := undeclared(state, [device]):
            return Told(device, gone[device])
        declared = conditions.in_force(state).site.device(device)
        dialect, target = self.collaborators.dialect_for(declared.platform), self.collaborators.target_for(declared)
        before = self._read(device)
        if isinstance(before, str):
            return Told(device, before)
        if differences := expected_by_the_log(state.device(device)).differences(before):
            return Told(device, "nothing is taken off its block list, for it is not as the log says: " + "; ".join(differences))
        foreign = [rest for network in before.blocked for rest in without_prefixes(network, _ever(state))]
        wanted, epoch = networks_in_order((*state.blocklist, *foreign)), state.device(device).epoch
        script = dialect.unblock(wanted).filled(epoch=state.epoch if epoch is None else epoch)
        self.journal.require_acting()
        deadline_s = self.collaborators.device_deadline_s
        changing = self.collaborators.devices_by_platform(declared.platform)
        answers = [outcome for outcomes in changing.run({target: (script,)}, credential=Credential.OPEN, deadline_s=deadline_s, verb="unblock") for outcome in outcomes]  # fmt: skip  # noqa: E501
        seen = self._read(device)
        body, wrong = block_body(wanted, seen, script, exactly=True)
        self.journal.decide(lambda state, now: [EventMaker(state, ORCHESTRATOR, now)(E.BLOCKLIST_DEVICE_APPLIED, body, device=device)])
        refused = [outcome.detail for outcome in answers if outcome.step is not DeviceStep.APPLIED]
        return Told(device, "; ".join((*refused, *wrong)) if wrong else "")

    def _read(self, device: str) -> Observed | str:
        return DeviceSteps(self.collaborators, self.journal, "", lambda: None).read([device])[device]


def _ever(state: SiteState) -> tuple[Prefix, ...]:
    """Everything that has been on the list, at any time."""
    return networks_in_order(network for block in state.blocks.values() for network in block.networks)
