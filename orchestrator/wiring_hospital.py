"""Which hospital this process acts on: the real one, or the simulated one that ORCHESTRATOR_SIMULATION names (a file)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.settings import inventory_path

if TYPE_CHECKING:
    from orchestrator.dialects.base import Dialect
    from orchestrator.dialects.surroundings import Surroundings
    from orchestrator.simulation.store import StoredHospital


def simulation_file() -> str:
    return os.environ.get("ORCHESTRATOR_SIMULATION", "")


def simulation() -> StoredHospital | None:
    """The simulated hospital; None for the real one. Raises PolicyError for an inventory that cannot be read."""
    if not simulation_file():
        return None
    from orchestrator.adapters.inventory_yaml import read_inventory
    from orchestrator.simulation.store import StoredHospital

    return StoredHospital(read_inventory(inventory_path()).site, Path(simulation_file()))


def dialect_named(platform: str) -> Dialect:
    """The words of a platform, in this hospital. Raises UnknownName for a platform without a dialect."""
    if simulation_file():
        from orchestrator.simulation.dialect import SimulatedDialect

        return SimulatedDialect(platform)
    from orchestrator.dialects import dialect_for

    return dialect_for(platform)


def surroundings_named(platform: str) -> Surroundings:
    """How what lies beside the layer is read there, in this hospital. Raises KeyError for a platform without a dialect."""
    from orchestrator.dialects.surroundings import SNAPSHOT_ONLY, surroundings_for

    return SNAPSHOT_ONLY if simulation_file() else surroundings_for(platform)
