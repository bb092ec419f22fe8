"""The export: what is in it, that it is the same each time, and that stock tools check it."""

from __future__ import annotations

import csv
import hashlib
import json
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.adapters.spool import Spool
from orchestrator.adapters.sqlite_log import SqliteLog
from orchestrator.domain.events import EventType, NewEvent
from orchestrator.errors import InputError, LogBroken, UnknownName
from orchestrator.export.bundle import About, Material, create_export, write_export
from orchestrator.export.verify import verify
from tests.sample_log import ABOUT, FixedClock, People, at, fill, people, sample_export


@pytest.fixture(scope="module")
def who(tmp_path_factory: pytest.TempPathFactory) -> People:
    return people(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def folder(who: People, tmp_path: Path) -> Path:
    return sample_export(tmp_path / "export", who).path


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_everything_that_a_reviewer_needs_is_there(folder: Path) -> None:
    votes = {f"votes/{number}.{ending}" for number in ("000007", "000008") for ending in ("statement", "sig")} | {"votes/index.tsv"}
    texts = {"LISEZMOI.txt", "README.txt", "REHEARSAL.txt", "chronology.csv", "manifest.json"}
    proof = {"events.jsonl", "checkpoint", "checkpoint.sig", "SHA256SUMS", "SHA256SUMS.sig", "allowed_signers", "site_key.pub"}
    given = {"inventory/valmont.yml", "policies/stages.yaml"}
    assert set(digests(folder)) == votes | texts | proof | given | {"verify.py", "verify.sh"}
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["site"], manifest["incident"], manifest["tlp"]) == ("chu-valmont", "valmont-2026-06", "TLP:AMBER")
    assert manifest["period"] == {"first": at(0), "last": "2026-06-24T08:00:00.250Z"}
    assert manifest["files"] == {
        name: value for name, value in digests(folder).items() if name not in ("manifest.json", "SHA256SUMS", "SHA256SUMS.sig")
    }


def test_the_export_itself_is_logged_first(folder: Path) -> None:
    last = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert (last["type"], last["actor"], last["body"]["incident"]) == ("ExportCreated", "auditor1", "valmont-2026-06")
    assert last["body"]["head"]["size"] == last["seq"]


def test_the_same_head_gives_the_same_bytes(who: People, tmp_path: Path) -> None:
    log = MemoryLog()
    fill(log, who)
    made = [
        create_export(log, who.signatures(), tmp_path / name, ABOUT, who.material(), clock=FixedClock(), at=11)
        for name in ("one", "two", "x.zip", "x.tar")
    ]
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert len({export.id for export in made}) == 1
    again = create_export(log, who.signatures(), tmp_path / "again" / "x.zip", ABOUT, who.material(), clock=FixedClock(), at=11)
    assert again.path.read_bytes() == made[2].path.read_bytes()
    assert again.head == made[0].head
    assert log.head().size == 15 + 5  # each of the five is an event of its own, beyond `at`
    with zipfile.ZipFile(made[2].path) as zipped, tarfile.open(made[3].path) as tar:
        zipped.extractall(tmp_path / "zipped")
        tar.extractall(tmp_path / "tar", filter="data")
    for made_archive, unpacked in ((made[2].path, "zipped"), (made[3].path, "tar")):
        assert digests(tmp_path / unpacked / "x") == digests(tmp_path / "one")
        assert verify(made_archive)["verdict"] == "consistent, not anchored"


def test_stock_tools_check_it(folder: Path) -> None:
    """By hand, as the README says; then the page of shell."""
    assert subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=False).returncode == 0
    for row in (folder / "votes/index.tsv").read_text().splitlines():
        number, person, when, stage, choice = row.split("\t")
        assert (stage, choice) == ("P4-images", "approve")
        command = ["ssh-keygen", "-Y", "verify", "-f", "allowed_signers", "-I", person, "-n", "reconnect-approval@v1"]
        command += ["-s", f"votes/{number}.sig", "-O", f"verify-time={when}"]
        done = subprocess.run(
            command, cwd=folder, input=(folder / f"votes/{number}.statement").read_bytes(), capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
    command = [
        "ssh-keygen",
        "-Y",
        "verify",
        "-f",
        "allowed_signers",
        "-I",
        "orchestrator",
        "-n",
        "orchestrator-checkpoint@v1",
        "-s",
        "checkpoint.sig",
    ]
    done = subprocess.run(command, cwd=folder, input=(folder / "checkpoint").read_bytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    origin, size, root, end = (folder / "checkpoint").read_text().split("\n")
    assert (origin, size, end) == ("network-isolation-orchestrator/chu-valmont", "16", "")
    assert len(root) == 44


@pytest.mark.parametrize(("trusted", "code", "verdict"), [(True, 0, "genuine"), (False, 1, "consistent, not anchored")])
def test_the_copies_inside_come_to_the_same_verdict(
    folder: Path, who: People, tmp_path: Path, trusted: bool, code: int, verdict: str
) -> None:
    key = tmp_path / "known.pub"
    key.write_text(f"{who.site.public_line} from the safe\n")
    shell = subprocess.run(["sh", "verify.sh", *([str(key)] if trusted else [])], cwd=folder, capture_output=True, text=True, check=False)
    assert (shell.returncode, shell.stdout.splitlines()[-1], shell.stderr) == (code, f"verdict: {verdict}", "")
    command = [sys.executable, "-I", "-S", str(folder / "verify.py"), *(["--trusted-key", str(key)] if trusted else [])]
    python = subprocess.run([*command, "--json"], cwd="/", capture_output=True, text=True, check=False)
    assert (python.returncode, python.stderr) == (code, "")
    report = json.loads(python.stdout)
    assert (report["verdict"], report["events"], report["votes"], report["rehearsal"]) == (verdict, 16, 2, True)
    assert not list(folder.rglob("__pycache__"))


def test_the_chronology_is_what_timesketch_takes(folder: Path) -> None:
    with (folder / "chronology.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:3] == ["message", "datetime", "timestamp_desc"]
    assert rows[1]["message"].startswith("CutoffOrdered by emergency (reason: intranet en panne")
    assert rows[1]["datetime"] == "2026-06-23T21:00:01.123+00:00"
    assert [row["seq"] for row in rows] == [str(number) for number in range(16)]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())


def test_both_languages_tell_how_to_check(folder: Path, who: People) -> None:
    french, english = (folder / "LISEZMOI.txt").read_text(), (folder / "README.txt").read_text()
    for text in (french, english):
        assert "TLP:AMBER" in text
        assert "verify.py --trusted-key" in text
        assert "valmont-2026-06" in text
        assert "SHA256:" in text
    listed = subprocess.run(["ssh-keygen", "-l", "-f", folder / "site_key.pub"], capture_output=True, text=True, check=True).stdout
    assert listed.split()[1] in french
    assert who.site.public_line.split()[1] not in french


def test_a_rehearsal_is_marked_everywhere_and_only_then(who: People, folder: Path, tmp_path: Path) -> None:
    real = sample_export(tmp_path / "real", who, rehearsal=False)
    for export, marked in ((folder, True), (real.path, False)):
        assert (export / "REHEARSAL.txt").exists() is marked
        assert json.loads((export / "manifest.json").read_text())["rehearsal"] is marked
        assert ("REHEARSAL" in (export / "README.txt").read_text()) is marked
        assert ("EXERCICE" in (export / "LISEZMOI.txt").read_text()) is marked
        assert ("[REHEARSAL]" in (export / "chronology.csv").read_text()) is marked
        assert verify(export)["rehearsal"] is marked


def test_bad_input_is_refused_before_anything_is_written(who: People, tmp_path: Path) -> None:
    log = MemoryLog()
    fill(log, who)
    out = tmp_path / "export"

    def export(about: About = ABOUT, material: Material | None = None, last: int | None = None) -> None:
        create_export(log, who.signatures(), out, about, material or who.material(), clock=FixedClock(), at=last)

    before = log.head()
    with pytest.raises(UnknownName, match="valmont-2026-06"):
        export(About("chu-valmont", "auditor1", "another incident"))
    for wrong in (About("chu-valmont", "auditor1", tlp="TLP:PINK"), About("", "auditor1"), About("a\nb", "auditor1")):
        with pytest.raises(InputError):
            export(wrong)
    for last in (-1, before.size):
        with pytest.raises(InputError, match="there is no event"):
            export(last=last)
    for name in ("../outside", "votes/000001.sig", "manifest.json", "a/.hidden", "a b/c", "/etc/passwd"):
        with pytest.raises(InputError, match="attachment"):
            export(material=who.material(**{name: b""}))
    assert log.head() == before
    assert list(tmp_path.iterdir()) == []
    export()
    with pytest.raises(InputError, match="exists already"):
        export()


def test_events_that_do_not_follow_each_other_are_not_exported(who: People, tmp_path: Path) -> None:
    log = MemoryLog()
    fill(log, who)
    events = list(log.read())
    with pytest.raises(LogBroken) as caught:
        write_export([*events[:4], *events[5:]], len(events) - 1, who.signatures(), tmp_path / "export", ABOUT, who.material())
    assert caught.value.seq == 4
    assert list(tmp_path.iterdir()) == []


# The command line


@pytest.fixture
def state(who: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "state"
    monkeypatch.setenv("ORCHESTRATOR_STATE", str(root))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.chdir(Path(__file__).parents[2])
    with SqliteLog(root / "log.sqlite") as log:
        fill(log, who)
    (root / "allowed_signers").write_text(who.allowed_signers)
    return root


def test_export_verify_and_log_on_the_command_line(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Spool(state / "spool").append([NewEvent(EventType.CUTOFF_ORDERED, at(500), "emergency", {"reason": "while the log was full"})])
    out = tmp_path / "export"
    assert cli.main(["audit", "export", "--out", str(out), "--incident", ABOUT.incident, "--by", "auditor1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["events"], said["merged_from_spool"], said["rehearsal"]) == (18, 1, True)
    assert (out / "inventory/valmont.yml").read_bytes() == Path("inventory/valmont.yml").read_bytes()
    assert "spooled and merged late" in (out / "chronology.csv").read_text()

    assert cli.main(["audit", "verify", str(out)]) == 1
    key, head = str(state / "site_key.pub"), f"18:{said['root']}"
    assert cli.main(["audit", "verify", str(out), "--trusted-key", key, "--known-head", head]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "verdict: genuine"
    lines = (out / "events.jsonl").read_bytes()
    (out / "events.jsonl").write_bytes(lines.replace(b"emergency", b"emergencY", 1))
    assert cli.main(["audit", "verify", str(out), "--trusted-key", key, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["first"]["event"] == 1
    assert cli.main(["audit", "verify", str(tmp_path / "nowhere")]) == 3
    assert cli.main(["audit", "export", "--out", str(out)]) == 3
    capsys.readouterr()

    assert cli.main(["audit", "log", "--json"]) == 0
    assert capsys.readouterr().out.encode().startswith(lines)
    assert cli.main(["audit", "log", "--start", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("     1  2026-06-23T21:00:01.123Z  CutoffOrdered by emergency")


def test_no_secret_is_exported(state: Path, tmp_path: Path) -> None:
    planted = [b"planted-token-5d1f", b"planted-lease-77aa"]
    database = sqlite3.connect(state / "log.sqlite")
    for number, secret in enumerate(planted):
        database.execute("INSERT INTO volatile (kind, key, value) VALUES ('token', ?, ?)", (str(number), secret.decode()))
    database.commit()
    database.close()
    (state / "cut-pack.json").write_bytes(planted[0])
    assert cli.main(["audit", "export", "--out", str(tmp_path / "export")]) == 0
    private = (state / "site_key").read_text().splitlines()[1:-1]
    forbidden = [*planted, b"PRIVATE KEY", *(line.encode() for line in private)]
    for path in (tmp_path / "export").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in forbidden if secret in content], path
