"""Copies of the good files of the CHU de Valmont with one small thing broken, for the tests of `policy check`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.site_files import read_checked
from orchestrator.errors import Finding, PolicyError

ROOT = Path(__file__).resolve().parents[2]
INVENTORY, POLICY = ROOT / "inventory" / "valmont.yml", ROOT / "policies" / "valmont"
INVENTORY_NAME = INVENTORY.name


@dataclass(frozen=True)
class Broken:
    """One edit: in `file`, `old` (once, from `after` on) becomes `new`. Expected: a finding on the first line from
    `after` on that holds `at`, in the file `found_in` (default: the edited one), saying `says` and advising `advises`."""

    name: str
    file: str
    old: str
    new: str
    at: str
    says: str
    advises: str
    after: str = ""
    found_in: str = ""
    found_after: str | None = None


def copy_files(folder: Path) -> tuple[Path, Path]:
    """Copies inventory and policy; returns their paths."""
    inventory, policy = folder / "valmont.yml", folder / "policy"
    shutil.copy(INVENTORY, inventory)
    shutil.copytree(POLICY, policy)
    return inventory, policy


def edit(path: Path, old: str, new: str, after: str = "") -> None:
    text = path.read_text(encoding="utf-8")
    start = text.index(after)
    assert old in text[start:], f"{old!r} is not in {path.name} after {after!r}: the test is out of date"
    path.write_text(text[:start] + text[start:].replace(old, new, 1), encoding="utf-8")


def line_of(path: Path, at: str, after: str = "") -> int:
    """The line (1-based) of the first `at` from `after` on."""
    text = path.read_text(encoding="utf-8")
    return text.count("\n", 0, text.index(at, text.index(after))) + 1


def findings_of(inventory: Path, policy: Path) -> tuple[Finding, ...]:
    """What `policy check` says; nothing else than a PolicyError may come out."""
    try:
        read_checked(inventory, policy)
    except PolicyError as error:
        return error.findings
    return ()


def location(folder: Path, file: str) -> Path:
    return folder / "valmont.yml" if file == "valmont.yml" else folder / "policy" / file


def assert_found(case: Broken, folder: Path) -> None:
    """Breaks a copy in `folder` and holds what the check says against what the case expects."""
    inventory, policy = copy_files(folder)
    edit(location(folder, case.file), case.old, case.new, case.after)
    findings = findings_of(inventory, policy)
    where = location(folder, case.found_in or case.file)
    same = case.found_after is None and not case.found_in
    line = line_of(where, case.at, case.after if same else case.found_after or "")
    told = "\n".join(map(str, findings))
    assert any(case.says in item.message for item in findings), told
    wanted = [item for item in findings if (item.file, item.line) == (str(where), line) and case.says in item.message]
    assert any(case.advises in item.advice for item in wanted), f"wanted line {line}:\n{told}"
