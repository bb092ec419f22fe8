"""The inventory and the policy of a site together: read, held against each other, every problem with file and line.

Used by `policy check` and by ratification, so that nothing can be ratified that the check refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from orchestrator.adapters.inventory_yaml import Inventory, read_inventory
from orchestrator.adapters.policy_yaml import PolicyFiles, read_policy
from orchestrator.domain.check import check
from orchestrator.domain.network import Site
from orchestrator.domain.policy import Policy
from orchestrator.errors import Finding, PolicyError, PolicyTestsFail

_T = TypeVar("_T")


@dataclass(frozen=True)
class SiteFiles:
    """What was read, coherent."""

    inventory: Inventory
    files: PolicyFiles

    @property
    def site(self) -> Site:
        return self.inventory.site

    @property
    def policy(self) -> Policy:
        return self.files.policy


def read_checked(inventory: Path, policy: Path, *, rehearsal: bool = False, unproved: bool = False, untested: bool = False) -> SiteFiles:
    """Raises PolicyError with everything that is wrong in either: first with the form of the files, then with what
    they say (`orchestrator.domain.check`). With `unproved`, a profile that does not cut what it promises is let pass: for
    the cut proof, which tells more of it. With `untested`, so are failing tests of the policy: for whoever asks why."""
    findings: list[Finding] = []
    read = _tried(lambda: read_inventory(inventory), findings)
    files = _tried(lambda: read_policy(policy, rehearsal=rehearsal), findings)
    if read is None or files is None:
        raise PolicyError(tuple(findings))
    problems = [
        item
        for item in check(read.site, files.policy)
        if not (unproved and _is_of_a_cut(item.path)) and not ((unproved or untested) and _is_of_a_test(item.path))
    ]
    if problems:
        located = [(files if source == "policy" else read).located(path, message, advice) for source, path, message, advice in problems]
        found = tuple(sorted(located, key=lambda finding: (finding.file, finding.line)))
        if all(_is_of_a_test(item.path) for item in problems):
            raise PolicyTestsFail(found, declared=len(files.policy.tests))
        raise PolicyError(found)
    return SiteFiles(read, files)


def _is_of_a_cut(path: Sequence[object]) -> bool:
    return len(path) > 2 and path[0] == "profiles" and path[2] == "cuts"


def _is_of_a_test(path: Sequence[object]) -> bool:
    """A test that fails, and not one that asks at a stage or under a profile that does not exist."""
    return len(path) == 3 and path[0] == "tests" and path[2] in ("expect", "source", "destination", "service")


def _tried(read: Callable[[], _T], findings: list[Finding]) -> _T | None:
    try:
        return read()
    except PolicyError as error:
        findings.extend(error.findings)
        return None
