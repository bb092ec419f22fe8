"""The steps of applying a stage carry the same numbers and names in the code, the documents and both runbooks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.domain.apply_steps import APPLY_STEPS
from orchestrator.service import execution

ROOT = Path(__file__).parents[2]
ENGLISH = [(step.number, step.en) for step in APPLY_STEPS]
FRENCH = [(step.number, step.fr) for step in APPLY_STEPS]


@pytest.mark.parametrize(
    ("page", "section", "steps"),
    [
        ("docs/stages.md", "## Applying a stage", ENGLISH),
        ("docs/runbook.md", "## 3. Open a stage", ENGLISH),
        ("docs/runbook.fr.md", "## 3. Ouvrir un palier", FRENCH),
    ],
)
def test_a_page_numbers_them_alike(page: str, section: str, steps: list[tuple[int, str]]) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").partition(section + "\n")[2].partition("\n## ")[0]
    assert [(int(number), name) for number, name in re.findall(r"^(\d+)\. \*\*(.+?)\.\*\*", text, flags=re.M)] == steps


def test_the_code_numbers_them_alike() -> None:
    listed = re.findall(r"^ ?(\d+) ([a-z -]+)", execution.__doc__ or "", flags=re.M)
    assert [(int(number), name.strip()) for number, name in listed] == [(step.number, step.en.lower()) for step in APPLY_STEPS]
    code = Path(execution.__file__).read_text(encoding="utf-8")
    named = {int(number) for line in re.findall(r"# ((?:\d+ ?)+)(?:$|,)", code, flags=re.M) for number in line.split()}
    assert named == {step.number for step in APPLY_STEPS}, "every step is marked where it happens"
