"""`orchestrator policy ratify` as people use it, signing with stock ssh-keygen."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.cli import exit_codes, main

ROOT = Path(__file__).parents[2]
PEOPLE = ("rssi", "eng-1", "commander")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory with the keys of the three people who ratify; the files of the project are on disk."""
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(place))
    monkeypatch.setenv("ORCHESTRATOR_INVENTORY", str(ROOT / "inventory/valmont.yml"))
    monkeypatch.setenv("ORCHESTRATOR_POLICY", str(ROOT / "policies/valmont"))
    lines = []
    for person in PEOPLE:
        key = tmp_path / person
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", person, "-f", str(key)], check=True)
        kind, public = key.with_suffix(".pub").read_text().split()[:2]
        lines.append(f"{person} {kind} {public}\n")
    (place / "allowed_signers").write_text("".join(lines))
    (place / "known_hosts").write_text("10.20.250.12 ssh-ed25519 AAAA\n")
    return place


def signed(tmp_path: Path, statement: Path, person: str) -> str:
    done = subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-n", "policy-ratification@v1", "-f", str(tmp_path / person)],
        input=statement.read_bytes(),
        capture_output=True,
        check=True,
    )
    signature = tmp_path / f"{person}.sig"
    signature.write_bytes(done.stdout)
    return f"--signature={person}={signature}"


def test_write_sign_hand_in_and_the_pack_is_there(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    statement = tmp_path / "statement"
    assert main(["policy", "ratify", "--statement-out", str(statement)]) == exit_codes.OK
    assert json.loads(statement.read_text())["what"] == "ratification"
    two = [signed(tmp_path, statement, person) for person in PEOPLE[:2]]
    assert main(["policy", "ratify", "--statement", str(statement), *two]) == exit_codes.REFUSED
    assert "1 incident-commander still missing" in capsys.readouterr().err
    assert not (state / "cut-pack.json").exists()
    three = [*two, signed(tmp_path, statement, PEOPLE[2])]
    assert main(["policy", "ratify", "--statement", str(statement), *three]) == exit_codes.OK
    assert "eng-1 (network-engineer)" in capsys.readouterr().out
    body = json.loads((state / "cut-pack.json").read_text())["body"]
    assert body["ratified"] is True
    devices = {device["device"]: device for device in body["profiles"]["total"]["devices"]}
    assert devices["fw-ext"]["host_keys"] == ["ssh-ed25519 AAAA"]
    assert devices["vpn"]["host_keys"] == []
    assert main(["policy", "ratify", "--pack-only"]) == exit_codes.OK
    assert json.loads((state / "cut-pack.previous.json").read_text())["body"] == body


def test_a_pack_without_votes_says_so_and_ratifies_nothing(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "ratify", "--pack-only"]) == exit_codes.REFUSED
    assert main(["policy", "ratify", "--pack-only", "--unratified"]) == exit_codes.OK
    assert "NOBODY RATIFIED" in capsys.readouterr().out
    assert json.loads((state / "cut-pack.json").read_text())["body"]["ratified"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--unratified"],
        ["--signature", "rssi"],
        ["--signature", "rssi=nosuch.sig"],
        ["--statement", "nosuch", "--signature", "rssi=nosuch.sig"],
    ],
)
@pytest.mark.usefixtures("state")
def test_what_cannot_be_understood_is_bad_input(arguments: list[str]) -> None:
    assert main(["policy", "ratify", *arguments]) == exit_codes.BAD_INPUT


def test_who_signs_a_second_policy_is_shown_what_it_changes(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    statement = tmp_path / "statement"
    main(["policy", "ratify", "--statement-out", str(statement)])
    assert "this would be the first policy" in capsys.readouterr().out
    signatures = [signed(tmp_path, statement, person) for person in PEOPLE]
    assert main(["policy", "ratify", "--statement", str(statement), *signatures]) == exit_codes.OK
    assert main(["policy", "diff"]) == exit_codes.OK
    assert "no difference" in capsys.readouterr().out
    changed = tmp_path / "policy"
    shutil.copytree(ROOT / "policies/valmont", changed)
    flows = changed / "flows.yaml"
    flows.write_text(flows.read_text().replace("services: [tcp/8443]", "services: [tcp/8443, tcp/8080]"))
    monkeypatch.setenv("ORCHESTRATOR_POLICY", str(changed))
    with (state / "allowed_signers").open("a") as signers:
        signers.write("eng-2 ssh-ed25519 AAAAnotakey\n")
    assert main(["policy", "diff"]) == exit_codes.OK
    told = capsys.readouterr().out
    assert "IT WIDENS" in told
    assert "+ allowed_signers.eng-2" in told
    assert main(["policy", "ratify", "--statement-out", "-"]) == exit_codes.OK
    shown = capsys.readouterr()
    assert json.loads(shown.out)["what"] == "ratification"
    assert "+ 10.20.12.10/32 → 198.51.100.32/32 tcp/8080 (out)" in shown.err
