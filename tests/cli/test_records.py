"""Records and waivers as people type them, each command a process of its own, against a server process."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.api.state_directory import cut_off_in

OK, BAD_INPUT, REFUSED = 0, 3, 4
STAGE = "P0-lifelines"
DOCUMENT = "ab" * 32


def test_records_and_waivers_from_the_command_line(tmp_path: Path) -> None:
    state = cut_off_in(tmp_path, ("rssi", "commander", "eng-1", "eng-2"))

    def run(person: str, *words: str, expect: int = OK) -> str:
        done = state.orchestrator(*words, "--as", person)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    with state.serving():
        for person in ("rssi", "commander", "eng-1", "eng-2"):
            run(person, "login", "--key", str(state.keys / person))

        asked = ("attestation", "add", "doctolib", "--way", "ours")
        assert "requested" in run("rssi", *asked, "--state", "requested")
        assert "from here: requested, received, refused" in run("rssi", *asked, "--state", "accepted", "--sha256", DOCUMENT, expect=REFUSED)
        run("rssi", *asked, "--state", "received", "--sha256", DOCUMENT)
        run("rssi", *asked, "--state", "verified")
        reserved = run("rssi", *asked, "--state", "accepted-with-reservation", "--reservation", "one segment unseen")
        assert "ours to doctolib accepted-with-reservation" in reserved
        assert "one segment unseen" in run("commander", "attestation", "list")

        run("rssi", "evidence", "add", "eradication", "--zone", "lab", "--sha256", DOCUMENT)
        assert "names its zone" in run("rssi", "evidence", "add", "eradication", "--sha256", DOCUMENT, expect=BAD_INPUT)
        assert json.loads(run("rssi", "evidence", "list", "--json"))[0]["zone"] == "lab"
        assert "efs is not ready" in run("eng-1", "partner", "ready", "efs", "--not")
        assert "efs is not ready" in run("eng-1", "partner", "list")
        since = (datetime.now(UTC) - timedelta(hours=80)).isoformat(timespec="seconds")
        watched = ("--coverage", "dmz-in", "dmz-out", "core", "--sha256", DOCUMENT)
        assert "no alert from" in run("rssi", "monitor", "report", "detection", "--since", since, "--alerts", "0", *watched)
        assert json.loads(run("rssi", "monitor", "list", "--json"))[0]["alerts"] == 0
        assert "successful" in run("eng-1", "care", "probe")
        assert "successful" in run("eng-1", "care", "list")

        why = ("--reason", "their desk is closed", "--risk", "it stays closed on their side", "--days", "3")
        assert "waiver grant W1" in run("rssi", "waiver", "request", STAGE, "partner-ready", "--partner", "efs", *why)
        assert "waiver-needs-a-second-person" in run("rssi", "waiver", "grant", "W1", expect=REFUSED)
        assert "cannot-be-waived" in run("rssi", "waiver", "request", STAGE, "care", *why, expect=REFUSED)
        assert "W1 partner-ready of P0-lifelines for efs" in run("commander", "waiver", "grant", "W1")
        assert "in force" in run("eng-1", "waiver", "list")
        assert "[waived: partner-ready]" in run("eng-1", "stage", "list")
        assert "WAIVED · DÉROGATION W1" in run("eng-1", "stage", "show", STAGE)
        assert "waiver    W1 partner-ready of P0-lifelines for efs" in state.orchestrator("status").stdout

        run("eng-1", "stage", "plan", STAGE, "--partner", "efs")
        for kind in ("cut-verified", "configurations-archived", "owner-named"):
            run("rssi", "evidence", "add", kind, "--stage", STAGE, "--sha256", DOCUMENT)
        voted = run("eng-2", "stage", "vote", STAGE, "--key", str(state.keys / "eng-2"), "--yes")
        before, _, after = voted.partition("vote recorded")
        assert "WAIVED · DÉROGATION W1" in before, "a voter sees it before signing"
        assert "still needed" in after
        assert "ended: W1" in run("eng-1", "waiver", "end", "W1", "--reason", "they have called")
        assert json.loads(state.orchestrator("status", "--json").stdout)["waivers"] == []
