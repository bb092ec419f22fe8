"""The published JSON Schema: what the models say, what editors hold the hospital's own files against, and what they refuse."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from orchestrator.adapters.field_docs import field_docs
from orchestrator.adapters.policy_schema import models, schema_text
from orchestrator.cli import main
from orchestrator.domain.policy import Policy
from tests.unit.broken_files import POLICY, ROOT

COMMITTED = ROOT / "policies" / "policy.schema.json"
FILES = sorted(POLICY.rglob("*.yaml"))
HEAD = "# yaml-language-server: $schema=../policy.schema.json\n"


def validator() -> Draft202012Validator:
    schema = json.loads(COMMITTED.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def loaded(text: str) -> Any:
    """As an editor sees it: dates are text."""
    return _as_json(YAML(typ="safe", pure=True).load(text))


def _as_json(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _as_json(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_as_json(item) for item in node]
    return node.isoformat() if isinstance(node, date) else node


def test_the_committed_schema_is_what_the_models_give(tmp_path: Path) -> None:
    advice = "renew it: orchestrator policy schema --out policies/policy.schema.json"
    assert COMMITTED.read_text(encoding="utf-8") == schema_text(), advice
    assert main(["policy", "schema", "--out", str(tmp_path / "schema.json")]) == 0
    assert (tmp_path / "schema.json").read_text(encoding="utf-8") == schema_text()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_of_the_hospital_names_the_schema_and_keeps_to_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(HEAD)
    assert [error.message for error in validator().iter_errors(loaded(text))] == []


GATE = "{evidence: e, title: {en: a, fr: b}}"
STAGE = f"stages: {{P0: {{title: {{en: a, fr: b}}, gates: [{GATE}], votes: {{director: 1}}, observation: 1h}}}}"

BROKEN = {
    "unknown section": "flow: {}",
    "a list for a section": "flows: []",
    "unknown key": "flows: {m: {application: a, partners: [a], direction: in, services: [tcp/25], addresses: [192.0.2.1], colour: red}}",
    "missing key": "flows: {mail: {application: mail, partners: [a], direction: in, services: [tcp/25]}}",
    "no direction": "flows: {mail: {application: a, partners: [a], direction: both, services: [tcp/25], addresses: [192.0.2.1]}}",
    "no service": "flows: {mail: {application: a, partners: [a], direction: in, services: [http], addresses: [192.0.2.1]}}",
    "no address": "flows: {mail: {application: a, partners: [a], direction: in, services: [tcp/25], addresses: [here]}}",
    "a name with capitals": "people: {Eng: {title: x}}",
    "a stage without a capital": STAGE.replace("P0", "p0"),
    "no gate": STAGE.replace(GATE, ""),
    "a gate of no kind": STAGE.replace("evidence: e, ", ""),
    "a duration in words": STAGE.replace("1h", "a day"),
    "no role": STAGE.replace("director", "boss"),
    "one language": "applications: {a: {title: {en: a}, zone: z, owner: o, criteria: {care: high, volume: low, risk: low}}}",
    "a level that is none": "applications: {a: {title: {en: a, fr: b}, zone: z, owner: o, criteria: {care: huge, volume: low, risk: low}}}",
    "both a zone and a flow": "keep: {a: {zone: z, flow: f, reason: r}}",
    "an obligation without a date": "obligations: {a: {title: {en: a, fr: b}, kind: legal, source: s}}",
    "a tunnel that ends twice": "flows: {m: {application: a, partners: [a], direction: in, services: [esp], addresses: [192.0.2.1], "
    "ipsec: {opaque: true, terminates_on: vpn, inner: [192.0.2.0/24]}}}",
    "a network that is none": "partners: {a: {title: {en: a, fr: b}, kind: vendor, zone: z, networks: [everywhere]}}",
    "a kept flow in a list": "profiles: {p: {title: {en: a, fr: b}, layers: {d: [x]}, keeps: [{name: k}]}}",
    "an expectation of nothing": "tests: {t: {source: a, destination: b, service: tcp/1, expect: maybe}}",
    "a version to come": "version: 2",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_files_that_break_it_are_refused(text: str) -> None:
    assert not validator().is_valid(loaded(text))


def test_the_stage_that_they_break_is_whole() -> None:
    assert validator().is_valid(loaded(STAGE))


def test_every_key_is_explained() -> None:
    for name, model in models().items():
        silent = [field for field in model.model_fields if field not in field_docs(model) and field != "name"]
        assert not silent, f"{name}: say under each what it means: {silent}"
    assert set(field_docs(Policy)) >= {"version", "site", "default_profile", "ratification", "timezone", "compromised", "rehearsal"}
