"""What a server that died, or was stopped, has left under way: found in the state, and in nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.device_step_states import DeviceStepState
from orchestrator.domain.stage_names import RESUME
from orchestrator.domain.stages import RUNNING, StageState
from orchestrator.domain.state import SiteState

_NO_OUTCOME = frozenset({DeviceStepState.INTENDED, DeviceStepState.SENT})


@dataclass(frozen=True)
class LeftOver:
    """`goes_on`: stages that are observed, or resumed, as before. `reverts`: stages that are closed, with the state that they were
    found in. `unsettled`: devices of whose last command nothing is known. `late`: devices on which an opening of before could
    still arrive."""

    goes_on: tuple[str, ...]
    reverts: tuple[tuple[str, StageState], ...]
    unsettled: tuple[str, ...]
    late: tuple[str, ...]

    @property
    def is_nothing(self) -> bool:
        """Nothing has to be done about it."""
        return not self.reverts and not self.unsettled


def left_over(state: SiteState) -> LeftOver:
    running = [(name, status.state) for name, status in state.stages.items() if status.state in RUNNING]
    going = [name for name, now in running if now is StageState.OBSERVING or (name == RESUME and now is StageState.APPLYING)]
    unsettled = tuple(device.name for device in state.devices.values() if device.step in _NO_OUTCOME and device.slots)
    reverts = tuple((name, now) for name, now in running if name not in going)
    opening = {name for name, _ in reverts}
    late = tuple(
        device.name for device in state.devices.values() if device.slots and (device.name in unsettled or opening & set(device.pending))
    )
    return LeftOver(tuple(going), reverts, unsettled, late)
