"""The rules of the house: import directions, what must never be committed, documents that tell the truth."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked(*patterns: str) -> list[Path]:
    """The files that git tracks, or every file of a source archive."""
    listed = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=False)
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_imports_go_down_the_rooms_only() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_emergency_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, orchestrator.cli, orchestrator.cli.cutoff; "
        "heavy = {'pydantic', 'fastapi', 'ruamel', 'networkx', 'httpx', 'rich', 'ansible_runner', 'psycopg'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a private key", r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]{40}"),
        ("a registry address", r"https?://[^/\s]*(pypi|npmjs|pythonhosted)"),
    ],
)
def test_nothing_is_committed_that_must_not_be(what: str, pattern: str) -> None:
    for path in tracked():
        text = path.read_bytes().decode("utf-8", errors="replace")
        assert not re.search(pattern, text), f"{what} in {path.relative_to(ROOT)}"


def test_every_dependency_is_justified() -> None:
    reasons = (ROOT / "docs/decisions/0001-dependencies.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=\[ ]", requirement)[0]
        assert name in reasons, f"{name} is not justified in docs/decisions/0001-dependencies.md"
        assert "<" in requirement, f"{name} has no upper bound"


def test_the_lock_has_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^[a-z0-9][^\s=]*==", lock, flags=re.M | re.I)
    assert len(pinned) > 20
    assert lock.count("--hash=sha256:") >= len(pinned)
    assert "://" not in lock


def test_architecture_names_every_room() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for room in sorted(path.parent.name for path in (ROOT / "orchestrator").glob("*/__init__.py")):
        assert f"orchestrator/{room}/" in text, f"docs/architecture.md does not name orchestrator/{room}/"


def test_files_hold_one_idea_each() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in tracked("orchestrator/*.py")}
    whole = Path("orchestrator/export/verify.py")  # travels in every export, alone, as one file
    long = {str(path): count for path, count in lengths.items() if count > 400 and path != whole}
    assert lengths
    assert not long, f"split these: {long}"
