"""Random damage to the files: whatever a slip of the hand makes of them, the answer is findings, never a traceback."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.broken_files import INVENTORY, INVENTORY_NAME, POLICY, copy_files, findings_of, location

FILES = {INVENTORY_NAME: INVENTORY, **{path.name: path for path in sorted(POLICY.glob("*.yaml"))}}
LENGTHS = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in FILES.items()}
VALUES = ("", "null", "[]", "{}", "12", "-1", "true", "[null]", "{a: b}", "x", "10.20.21.10", "2001:db8::1", "1.5", "2020-01-01", "[[[]]]")
PLACES = st.sampled_from(sorted(FILES)).flatmap(lambda name: st.tuples(st.just(name), st.integers(0, LENGTHS[name] - 1)))


def damaged(line: str, how: str, value: str) -> list[str]:
    if how == "delete":
        return []
    if how == "repeat":
        return [line, line]
    if how == "indent":
        return ["  " + line]
    return [line.partition(":")[0] + ": " + value]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=PLACES, how=st.sampled_from(["delete", "repeat", "indent", "replace", "replace"]), value=st.sampled_from(VALUES))
def test_damage_gives_findings_and_no_traceback(place: tuple[str, int], how: str, value: str) -> None:
    name, index = place
    with tempfile.TemporaryDirectory() as folder:
        inventory, policy = copy_files(Path(folder))
        path = location(Path(folder), name)
        lines = path.read_text(encoding="utf-8").splitlines()
        lines[index : index + 1] = damaged(lines[index], how, value)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for finding in findings_of(inventory, policy):
            assert Path(finding.file).name in FILES
            assert 1 <= finding.line <= len(Path(finding.file).read_text(encoding="utf-8").splitlines()) + 1
            assert finding.message
            assert finding.advice
