"""The form of the policy files: YAML, keys, kinds of values. Each broken copy: file, line, what is wrong, what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.broken_files import Broken, assert_found, copy_files, edit, findings_of

B = Broken

FORM = (
    B(
        "duplicate key in a flow",
        "flows.yaml",
        "direction: in",
        "direction: in\n    direction: out",
        "direction: out",
        "duplicate key",
        "remove one of the two",
        after="portal-gps:",
    ),
    B(
        "duplicate flow",
        "flows.yaml",
        "  portal-gps:",
        "  portal-hospitals:",
        "portal-hospitals:",
        "duplicate key",
        "remove one of the two",
        after="addresses: [10.20.11.10",
    ),
    B("duplicate section", "care.yaml", "\ncare:", "\nkeep:", "keep:", "duplicate key", "remove one of the two", after="internal-logs"),
    B(
        "bad indentation",
        "flows.yaml",
        "    direction: in",
        "   direction: in",
        "direction: in",
        "expected",
        "mend the YAML",
        after="portal-gps:",
    ),
    B(
        "unclosed bracket",
        "partners.yaml",
        '[198.51.100.20/32, "2001:db8:100::20/128"]',
        "[198.51.100.20/32",
        "contact: Union",
        "expected",
        "mend the YAML",
    ),
    B("tab", "people.yaml", "  eng-2:", "\teng-2:", "eng-2:", "cannot start any token", "mend the YAML"),
    B("unknown section", "care.yaml", "\nkeep:", "\nkeeps:", "keeps:", "unknown section 'keeps'", "use one of applications"),
    B(
        "unknown key in a flow",
        "flows.yaml",
        "direction: in",
        "direction: in\n    colour: red",
        "colour:",
        "flows.portal-gps.colour: Extra inputs",
        "remove this key",
        after="portal-gps:",
    ),
    B(
        "missing key in a flow",
        "flows.yaml",
        "    direction: in\n",
        "",
        "portal-gps:",
        "flows.portal-gps.direction: Field required",
        "add this key",
        after="portal-gps:",
        found_after="",
    ),
    B(
        "name written twice",
        "flows.yaml",
        "direction: in",
        "direction: in\n    name: gps",
        "name: gps",
        "the key above is the name",
        "remove this key",
        after="portal-gps:",
    ),
    B(
        "bad duration",
        "stages.yaml",
        "observation: 4h",
        "observation: 4 hours",
        "observation: 4 hours",
        "a duration is a whole number and a unit",
        "docs/policy.md",
        after="P0-lifelines:",
    ),
    B("duration without unit", "stages.yaml", "fresh: 24h", "fresh: 24", "fresh: 24", "a duration is a whole number", "docs/policy.md"),
    B(
        "negative duration",
        "stages.yaml",
        "open_for: 7d",
        "open_for: -7d",
        "open_for: -7d",
        "a duration is a whole number",
        "docs/policy.md",
    ),
    B(
        "bad service",
        "flows.yaml",
        "services: [tcp/443]",
        "services: [https]",
        "services: [https]",
        "'https' is no service",
        "docs/policy.md",
        after="portal-gps:",
    ),
    B(
        "digits of another script",
        "flows.yaml",
        "services: [tcp/8443]",
        "services: [tcp/\uff18\uff14\uff14\uff13]",
        "services: [tcp/\uff18\uff14\uff14\uff13]",
        "is no service",
        "docs/policy.md",
    ),
    B(
        "port out of range",
        "flows.yaml",
        "services: [tcp/8443]",
        "services: [tcp/84430]",
        "services: [tcp/84430]",
        "ports are 1 to 65535",
        "docs/policy.md",
    ),
    B(
        "range upside down",
        "flows.yaml",
        "services: [tcp/8443]",
        "services: [tcp/90-80]",
        "services: [tcp/90-80]",
        "the lower one first",
        "docs/policy.md",
    ),
    B(
        "bad address",
        "flows.yaml",
        "10.20.26.10",
        "10.20.26.300",
        "10.20.26.300",
        "'10.20.26.300' is not an IPv4 or IPv6 address",
        "write it like",
    ),
    B(
        "prefix with host bits",
        "partners.yaml",
        "198.51.100.20/32",
        "198.51.100.20/24",
        "198.51.100.20/24",
        "is not an IPv4 or IPv6 prefix",
        "write it like",
    ),
    B("bad direction", "flows.yaml", "direction: in", "direction: inwards", "direction: inwards", "'inwards'", "use one of those listed"),
    B("bad role", "people.yaml", "roles: [director]", "roles: [boss]", "roles: [boss]", "'boss'", "use one of those listed"),
    B(
        "unknown role in votes",
        "stages.yaml",
        "{incident-commander: 1, network-engineer: 1}",
        "{commander: 1}",
        "{commander: 1}",
        "commander",
        "use one of those listed",
    ),
    B(
        "zero votes",
        "stages.yaml",
        "{incident-commander: 1, network-engineer: 1}",
        "{incident-commander: 0}",
        "{incident-commander: 0}",
        "greater than or equal to 1",
        "docs/policy.md",
    ),
    B(
        "no gates",
        "stages.yaml",
        "    gates:\n      - {evidence: mail-relay-rebuilt, title: {en: Relay rebuilt and checked, "
        "fr: Relais reconstruit et vérifié}, fresh: 7d}\n",
        "    gates: []\n",
        "gates: []",
        "stages.P1-inbound-mail.gates",
        "give at least one",
    ),
    B(
        "no votes",
        "stages.yaml",
        "votes: {incident-commander: 1, network-engineer: 1}",
        "votes: {}",
        "votes: {}",
        "votes",
        "give at least one",
    ),
    B(
        "one language",
        "stages.yaml",
        "title: {en: Lifelines, fr: Liens vitaux}",
        "title: {en: Lifelines}",
        "title: {en: Lifelines}",
        "title.fr: Field required",
        "add this key",
    ),
    B("bad name", "flows.yaml", "  payment:", "  Payment:", "  Payment:", "'Payment'", "small letters"),
    B("small stage name", "stages.yaml", "  P3-outbound-mail:", "  p3:", "  p3:", "'p3'", "stages begin with a capital"),
    B("bad criterion", "applications.yaml", "care: vital", "care: enormous", "care: enormous", "'enormous'", "use one of those listed"),
    B(
        "keep names two things",
        "care.yaml",
        "    zone: telephony\n",
        "    zone: telephony\n    flow: samu-hub\n",
        "telephony-trunk:",
        "either a `zone` or a `flow`",
        "docs/policy.md",
    ),
    B(
        "keep without reason",
        "care.yaml",
        "    reason: The telephones are how the crisis is run and how patients call.\n",
        "",
        "telephony-trunk:",
        "reason: Field required",
        "add this key",
    ),
    B(
        "empty reason",
        "care.yaml",
        "reason: The telephones are how the crisis is run and how patients call.",
        'reason: ""',
        'reason: ""',
        "at least 1 character",
        "docs/policy.md",
    ),
    B(
        "sacrifice without substitute",
        "profiles.yaml",
        "        instead: Results by paper, decided by the biologist on duty.\n",
        "",
        "- care: lab-workstations",
        "instead: Field required",
        "add this key",
    ),
    B(
        "section is a list",
        "people.yaml",
        "people:\n",
        "people: []\nothers:\n",
        "people: []",
        "a mapping is expected, not []",
        "write `name: value` lines",
    ),
    B(
        "flow is a text",
        "flows.yaml",
        "  portal-gps:\n",
        "  portal-gpx: soon\n  portal-gps:\n",
        "portal-gpx",
        "a mapping is expected, not 'soon'",
        "write `name: value` lines",
    ),
    B("version of the future", "site.yaml", "version: 1", "version: 2", "version: 2", "version", "use one of those listed"),
    B(
        "no default profile",
        "site.yaml",
        "default_profile: internet\n",
        "",
        "# yaml-language-server",
        "`default_profile:` is in none of the files",
        "add it",
    ),
    B(
        "site set twice",
        "people.yaml",
        "people:\n",
        "site: other\npeople:\n",
        "site: chu-valmont",
        "site is set twice: the first is at",
        "keep one",
        found_in="site.yaml",
    ),
    B(
        "same flow in two files",
        "care.yaml",
        "\ncare:\n",
        "\nflows:\n  payment: {}\ncare:\n",
        "payment:",
        "flows.payment is defined twice: the first is at",
        "rename one of the two",
        found_in="flows.yaml",
    ),
    B(
        "alias to itself",
        "people.yaml",
        "people:\n",
        "people: &all\n  every: *all\n",
        "every:",
        "people.every.title: Field required",
        "add this key",
    ),
    B(
        "aliases without end",
        "people.yaml",
        "people:\n",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{n}: &{n} [{', '.join(['*' + o] * 10)}]\n" for o, n in zip("abcdefgh", "bcdefghi", strict=True))
        + "people:\n",
        "# yaml-language-server",
        "expands to more than",
        "write less with",
    ),
)


@pytest.mark.parametrize("case", FORM, ids=lambda case: case.name)
def test_each_mistake_is_located_and_explained(case: Broken, tmp_path: Path) -> None:
    assert_found(case, tmp_path)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    edit(policy / "flows.yaml", "direction: in", "direction: inwards")
    edit(policy / "stages.yaml", "observation: 4h", "observation: long")
    edit(inventory, "platform: frr", "platform: ios")
    files = {Path(item.file).name for item in findings_of(inventory, policy)}
    assert files == {"flows.yaml", "stages.yaml", "valmont.yml"}


def test_a_file_with_another_ending_is_not_silently_ignored(tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    (policy / "more.yml").write_text("flows: {}\n", encoding="utf-8")
    (finding,) = findings_of(inventory, policy)
    assert finding.file.endswith("more.yml")
    assert "more.yaml" in finding.advice


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00bad", b"- a list\n", b"just text\n", b"", b"a: &x [*x]\n", b"a: 2001-13-45\n", b"[" * 4000, b"\x00"]
)
def test_no_content_of_a_file_gives_a_traceback(content: bytes, tmp_path: Path) -> None:
    inventory, policy = copy_files(tmp_path)
    (policy / "odd.yaml").write_bytes(content)
    findings = findings_of(inventory, policy)
    assert any(item.file.endswith("odd.yaml") and item.line >= 1 and item.advice for item in findings)
    inventory.write_bytes(content)
    assert any(item.file.endswith("valmont.yml") for item in findings_of(inventory, policy))


def test_missing_files_are_findings(tmp_path: Path) -> None:
    findings = findings_of(tmp_path / "no.yml", tmp_path / "none")
    assert {Path(item.file).name for item in findings} == {"no.yml", "none"}
