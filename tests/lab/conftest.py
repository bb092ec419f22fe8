"""One rehearsal hospital for all lab tests of a run; it is removed afterwards, also when they fail."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.adapters.inventory_yaml import read_inventory
from orchestrator.domain.network import Site
from orchestrator.errors import EnvironmentMissing
from orchestrator.lab.hospital import Hospital
from orchestrator.lab.machine import require_machine
from tests.lab.cut_hospital import CutHospital

INVENTORY = Path(__file__).resolve().parents[2] / "inventory" / "valmont.yml"


@dataclass(frozen=True)
class Raised:
    """A hospital and how long `up` took, in seconds."""

    hospital: Hospital
    seconds: float


@pytest.fixture(scope="session")
def site() -> Site:
    return read_inventory(INVENTORY).site


@pytest.fixture(scope="session")
def raised(site: Site) -> Iterator[Raised]:
    try:
        require_machine()
    except EnvironmentMissing as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(missing))
    hospital = Hospital(site, f"t{os.getpid()}")
    started = time.monotonic()
    try:
        hospital.up()
        yield Raised(hospital, time.monotonic() - started)
    finally:
        hospital.down()


@pytest.fixture(scope="session")
def hospital(raised: Raised) -> Hospital:
    """The rehearsal hospital, up. A test that changes a device leaves it as it was."""
    return raised.hospital


@pytest.fixture(scope="session")
def ratified(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> CutHospital:
    """The same hospital, ratified, not cut. A test that cuts it lifts the layer again."""
    return CutHospital(hospital, tmp_path_factory.mktemp("ratified"))


@pytest.fixture(scope="module")
def unwritten(ratified: CutHospital) -> CutHospital:
    """The same hospital, whose log tells of nothing but its ratification: for whoever starts a server."""
    ratified.begin_anew()
    return ratified
