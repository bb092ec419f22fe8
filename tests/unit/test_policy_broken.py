"""How many broken policies are held against `policy check`: each by a test of its own, with file, line and advice."""

from __future__ import annotations

from tests.unit import (
    test_policy_addresses,
    test_policy_form,
    test_policy_ipsec,
    test_policy_limits,
    test_policy_names,
    test_policy_profiles,
    test_policy_stages,
    test_policy_tests,
    test_policy_tests_form,
    test_policy_words,
)
from tests.unit.broken_files import Broken

PLACES: tuple[tuple[Broken, ...], ...] = (
    test_policy_form.FORM,
    test_policy_names.CASES,
    test_policy_addresses.CASES,
    test_policy_limits.CASES,
    test_policy_profiles.CASES,
    test_policy_stages.CASES,
    test_policy_ipsec.CASES,
    test_policy_words.CASES,
    test_policy_tests_form.CASES,
    test_policy_tests.CASES,
)


def test_at_least_two_hundred_different_policies_are_broken() -> None:
    edits = {(case.file, case.old, case.new, case.after) for cases in PLACES for case in cases}
    assert len(edits) == sum(map(len, PLACES)), "two cases break the same thing"
    assert len(edits) >= 200
    assert all(case.says and case.advises and case.at for cases in PLACES for case in cases)
