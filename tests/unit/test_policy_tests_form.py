"""The form of the policy's own tests, each mistake once; what they say is asked in `test_policy_tests`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.broken_files import Broken as B
from tests.unit.broken_files import assert_found

CASES = (
    # the form of tests
    B(
        "an unknown stage in a test",
        "tests.yaml",
        "until: P1-inbound-mail",
        "until: P1-mail",
        "mail-in-waits",
        "unknown stage 'P1-mail'",
        "did you mean P1-inbound-mail",
        "  mail-in-waits",
    ),
    B(
        "an unknown stage after",
        "tests.yaml",
        "after: [P1-inbound-mail]",
        "after: [P1-mail]",
        "mail-in-after-p1",
        "unknown stage 'P1-mail'",
        "did you mean",
    ),
    B(
        "an unknown profile in a test",
        "tests.yaml",
        "profile: total,",
        "profile: all,",
        "samu-hub-in-total",
        "unknown profile 'all'",
        "use one of",
    ),
    B(
        "a point that is none",
        "tests.yaml",
        "after: [P1-inbound-mail]",
        "after: [P1-inbound-mail], until: P0-lifelines",
        "mail-in-after-p1",
        "asks until P0-lifelines, but after P1-inbound-mail",
        "a later stage",
    ),
    B(
        "neither passes nor blocked",
        "tests.yaml",
        "expect: passes}",
        "expect: maybe}",
        "samu-hub-is-kept",
        "expect: 'maybe': Input should be 'passes' or 'blocked'",
        "one of those listed",
    ),
    B("nothing expected", "tests.yaml", ", expect: passes}", "}", "samu-hub-is-kept", "expect: Field required", "add this key"),
    B(
        "from itself",
        "tests.yaml",
        "destination: hub-sante,",
        "destination: samu,",
        "samu-hub-is-kept",
        "source and destination are the same",
        "docs/policy.md",
    ),
    B(
        "from nobody",
        "tests.yaml",
        "source: samu,",
        'source: "",',
        "samu-hub-is-kept",
        "source: String should have at least 1 character",
        "docs/policy.md",
    ),
    B("by no service", "tests.yaml", "service: tcp/5671", "service: amqp", "samu-hub-is-kept", "'amqp' is no service", "docs/policy.md"),
    B(
        "after is no list",
        "tests.yaml",
        "after: [P1-inbound-mail]",
        "after: P1-inbound-mail",
        "mail-in-after-p1",
        "after: Input should be a valid tuple",
        "write a list",
    ),
    B(
        "a test with a name too long",
        "tests.yaml",
        "samu-hub-is-kept:",
        "samu-hub-is-kept-whatever-happens:",
        "samu-hub-is-kept",
        "should match pattern",
        "small letters",
    ),
    B(
        "a test twice",
        "tests.yaml",
        "samu-hub-has-this-address:",
        "samu-hub-is-kept:",
        "source: 10.20.26.10",
        "duplicate key",
        "remove one of the two",
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_contradiction_is_located_and_explained(case: B, tmp_path: Path) -> None:
    assert_found(case, tmp_path)
