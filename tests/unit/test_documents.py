"""Documents that are made from the code equal it. To renew them: `python -m tests.unit.test_documents`."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.adapters.policy_reference import reference
from orchestrator.cli import VERBS
from orchestrator.dialects.description import platforms_as_markdown

ROOT = Path(__file__).parents[2]
DEVICES = ROOT / "docs" / "devices.md"
REFERENCE = ROOT / "docs" / "policy-reference.md"
VALMONT = ROOT / "policies" / "valmont"
START, END = "<!-- made from the dialects' traits -->\n", "<!-- end -->\n"


def renewed() -> str:
    text = DEVICES.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}{platforms_as_markdown()}{END}{after}"


def test_devices_page_says_what_the_dialects_declare() -> None:
    assert DEVICES.read_text(encoding="utf-8") == renewed(), "renew it: python -m tests.unit.test_documents"


def test_the_policy_reference_says_what_the_models_say() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference(VALMONT), "renew it: python -m tests.unit.test_documents"


def test_links_between_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_documents_name_only_verbs_that_exist() -> None:
    for page in [ROOT / "README.md", ROOT / "README.fr.md", *(ROOT / "docs").rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        code = [*re.findall(r"```(?:console|sh|bash)\n(.*?)```", text, flags=re.S), *re.findall(r"`([^`\n]+)`", text)]
        for verb in re.findall(r"^(?:\$ )?(?:\S*/)?orchestrator ([a-z][a-z-]*)\b", "\n".join(code), flags=re.M):
            assert verb in VERBS, f"{page.relative_to(ROOT)} speaks of `orchestrator {verb}`"


def test_every_invariant_has_tests_that_exist() -> None:
    page = (ROOT / "docs" / "invariants.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", page, flags=re.M)[1:]
    assert len(sections) == 10
    for section in sections:
        tests = re.findall(r"`(tests/[a-z_/]+\.py)::([A-Za-z_0-9]+)`", section)
        assert tests, f"invariant {section.splitlines()[0]} names no test"
        for file, name in tests:
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name} does not exist"


if __name__ == "__main__":
    DEVICES.write_text(renewed(), encoding="utf-8")
    REFERENCE.write_text(reference(VALMONT), encoding="utf-8")
