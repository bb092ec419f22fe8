"""The export: everything that a reviewer needs to understand the restoration and to check it offline.

The same bytes for the same last event and the same arguments. Events stream through; memory does not grow with them,
but for the votes. Written to a folder beside the target, which takes its name when it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from orchestrator.domain.canonical import canonical, digest
from orchestrator.domain.chain import Chain
from orchestrator.domain.events import Event, EventType, Head, NewEvent, exported
from orchestrator.domain.people_keys import PeopleKeys
from orchestrator.errors import EnvironmentMissing, InputError, UnknownName
from orchestrator.export import archive, readme
from orchestrator.export import verify as verifier
from orchestrator.export.chronology import write_chronology
from orchestrator.ports import Clock, Log, Signatures

SCHEMA = "network-isolation-orchestrator/export/1"
TLP = ("TLP:CLEAR", "TLP:GREEN", "TLP:AMBER", "TLP:AMBER+STRICT", "TLP:RED")
_NAME = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)+", re.ASCII)  # in a folder of its own


@dataclass(frozen=True)
class About:
    """What the export is of, and who asked for it."""

    site: str
    by: str
    incident: str = ""
    tlp: str = "TLP:AMBER"


@dataclass(frozen=True)
class Material:
    """What goes in beside the events. `site_key` is the public key, `ssh-ed25519 AAAA…`; `attachments` name → content.

    `allowed_signers` serves for a log in which nothing was ratified.
    """

    site_key: str
    allowed_signers: str = ""
    attachments: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Export:
    """What was written: where, up to which head, and its id (the same for the same content)."""

    path: Path
    id: str
    head: Head
    rehearsal: bool


def create_export(
    log: Log, signatures: Signatures, out: Path, about: About, material: Material, *, clock: Clock, at: int | None = None
) -> Export:
    """Logs ExportCreated, then writes the events 0 to `at` (default: that event, the last one) to `out`.

    `out` is a folder that is made, or a file if it ends in .zip or .tar; it must not exist yet.
    Raises InputError for arguments that make no sense, UnknownName for an incident that a log that names incidents does
    not know, LogError, EnvironmentMissing when `out` cannot be written.
    """
    _check(out, about, material)
    before = log.head()
    if at is not None and not 0 <= at < before.size:
        raise InputError(f"there is no event {at}: the log has {before.size}", advice="give --at the number of its last event")
    incidents, rehearsal = _named_before(log.read())
    if about.incident and incidents and about.incident not in incidents:
        raise UnknownName(f"the log knows no incident {about.incident!r}", advice=f"it knows {', '.join(sorted(incidents))}")
    now = clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"head": {"size": before.size, "root": before.root}, "incident": about.incident, "tlp": about.tlp, "last": at}
    if rehearsal:
        body["rehearsal"] = True
    size = log.append([NewEvent(EventType.EXPORT_CREATED, now, about.by, body)]).size
    return write_export(log.read(), size if at is None else at + 1, signatures, out, about, material)


def _named_before(events: Iterable[Event]) -> tuple[set[str], bool]:
    """The incidents that the log names (an earlier export's wish names none), and whether the policy in force is a rehearsal's."""
    incidents, rehearsal = set[str](), False
    for event in events:
        if event.type is EventType.POLICY_RATIFIED:
            rehearsal = event.body.get("rehearsal") is True
        incident = event.body.get("incident")
        if isinstance(incident, str) and incident and event.type is not EventType.EXPORT_CREATED:
            incidents.add(incident)
    return incidents, rehearsal


def write_export(events: Iterable[Event], size: int, signatures: Signatures, out: Path, about: About, material: Material) -> Export:
    """Writes the first `size` events. Raises LogBroken when they do not follow each other, and as `create_export`."""
    _check(out, about, material)
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.absolute().parent) as temporary:
            folder = Path(temporary, "export")
            folder.mkdir()
            written = _write(folder, events, size, signatures, about, material)
            if out.suffix in archive.SUFFIXES:
                archive.pack(folder, Path(temporary, out.name), out.stem)
                Path(temporary, out.name).rename(out)
            else:
                folder.rename(out)
    except OSError as error:
        raise EnvironmentMissing(f"the export cannot be written to {out}: {error}", advice="give --out a place with room") from error
    return Export(out, written.id, written.head, written.rehearsal)


def site_key_fingerprint(public_line: str) -> str:
    """As `ssh-keygen -l` prints it."""
    return "SHA256:" + b64encode(hashlib.sha256(b64decode(public_line.split()[1])).digest()).decode("ascii").rstrip("=")


def _version() -> str:
    try:
        return metadata.version("network-isolation-orchestrator")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return "unknown"


# Writing


@dataclass
class _Passed:
    """What the stream of events leaves behind."""

    chain: Chain = field(default_factory=Chain)
    votes: list[Event] = field(default_factory=list)
    rehearsal: bool = False
    keys: PeopleKeys | None = None  # None: nothing was ever ratified
    first_at: str = ""
    last_at: str = ""
    id: str = ""

    @property
    def head(self) -> Head:
        return self.chain.head()


def _check(out: Path, about: About, material: Material) -> None:
    if out.exists():
        raise InputError(f"{out} exists already", advice="give --out a new name: an export is never written over another")
    if about.tlp not in TLP:
        raise InputError(f"{about.tlp!r} is not a TLP marking", advice=f"one of {', '.join(TLP)}")
    if not about.site or "\n" in about.site:
        raise InputError("the export needs the name of the site")
    for name in material.attachments:
        if not _NAME.fullmatch(name) or name.startswith("votes/"):
            raise InputError(f"an attachment cannot be called {name!r}")


def _write(folder: Path, events: Iterable[Event], size: int, signatures: Signatures, about: About, material: Material) -> _Passed:
    passed = _Passed()
    (folder / "votes").mkdir()
    with (
        (folder / "events.jsonl").open("wb") as lines,
        (folder / "chronology.csv").open("w", encoding="utf-8", newline="") as table,
    ):
        for event in write_chronology(_checked(events, size, passed), table):
            lines.write(canonical(exported(event)) + b"\n")
            _write_vote(folder, event, passed)
    if passed.chain.size != size:
        raise InputError(f"there are {passed.chain.size} events, not {size}")
    (folder / "votes/index.tsv").write_text("".join(verifier.vote_row(exported(vote)) for vote in passed.votes), encoding="utf-8")
    _write_head(folder, passed, signatures, about)
    _write_people(folder, material, passed.keys)
    for name, content in material.attachments.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    _write_texts(folder, passed, about, material)
    _write_manifest(folder, passed, about, material)
    _write_sums(folder, signatures)
    return passed


def _checked(events: Iterable[Event], size: int, passed: _Passed) -> Iterator[Event]:
    """The first `size` events, each verified to follow the one before."""
    for event in events:
        if passed.chain.size == size:
            return
        passed.chain = passed.chain.follow(event)
        passed.rehearsal = passed.rehearsal or event.body.get("rehearsal") is True
        if passed.keys is not None or event.type is EventType.POLICY_RATIFIED:
            passed.keys = (passed.keys or PeopleKeys()).after(event)
        passed.first_at = passed.first_at or event.at
        passed.last_at = event.at
        yield event


def _write_vote(folder: Path, event: Event, passed: _Passed) -> None:
    if event.type is not EventType.VOTE_CAST:
        return
    passed.votes.append(event)
    for ending, key in ((".statement", "statement"), (".sig", "signature")):
        (folder / f"votes/{event.seq:06d}{ending}").write_bytes(str(event.body.get(key, "")).encode("utf-8"))


def _write_head(folder: Path, passed: _Passed, signatures: Signatures, about: About) -> None:
    """The checkpoint as C2SP's tlog-checkpoint words it: origin, size, base64 of the root."""
    root = b64encode(bytes.fromhex(passed.head.root)).decode("ascii")
    text = f"network-isolation-orchestrator/{about.site}\n{passed.head.size}\n{root}\n".encode()
    (folder / "checkpoint").write_bytes(text)
    (folder / "checkpoint.sig").write_text(signatures.sign(verifier.CHECKPOINT_NAMESPACE, text), encoding="ascii")


def _write_people(folder: Path, material: Material, keys: PeopleKeys | None) -> None:
    """The keys that counted, those of the past with their end; the file's only where nothing was ever ratified."""
    site = verifier.site_line(material.site_key)
    people = [
        line
        for line in (material.allowed_signers if keys is None else keys.history()).splitlines()
        if line.split(maxsplit=1)[:1] != [verifier.SITE]
    ]
    (folder / "allowed_signers").write_text("".join(f"{line}\n" for line in [*people, site]), encoding="utf-8")
    (folder / "site_key.pub").write_text(material.site_key + "\n", encoding="ascii")


def _write_texts(folder: Path, passed: _Passed, about: About, material: Material) -> None:
    facts = readme.Facts(
        site=about.site,
        incident=about.incident,
        tlp=about.tlp,
        rehearsal=passed.rehearsal,
        size=passed.head.size,
        root=passed.head.root,
        votes=len(passed.votes),
        first_at=passed.first_at,
        last_at=passed.last_at,
        fingerprint=site_key_fingerprint(material.site_key),
    )
    (folder / "LISEZMOI.txt").write_text(readme.french(facts), encoding="utf-8")
    (folder / "README.txt").write_text(readme.english(facts), encoding="utf-8")
    if passed.rehearsal:
        (folder / "REHEARSAL.txt").write_text("REHEARSAL / EXERCICE\n", encoding="utf-8")
    source = Path(str(verifier.__file__))
    for script in (source, source.with_suffix(".sh")):
        shutil.copyfile(script, folder / script.name)
        with contextlib.suppress(OSError):
            (folder / script.name).chmod(0o755)


def _write_manifest(folder: Path, passed: _Passed, about: About, material: Material) -> None:
    files = {name: verifier.sha256(folder / name) for name in verifier.files_of(folder)}
    passed.id = digest([passed.head.root, about.site, about.incident, about.tlp, files])[:32]
    manifest = {
        "schema": SCHEMA,
        "tool": f"network-isolation-orchestrator {_version()}",
        "id": passed.id,
        "site": about.site,
        "incident": about.incident,
        "requested_by": about.by,
        "tlp": about.tlp,
        "rehearsal": passed.rehearsal,
        "period": {"first": passed.first_at, "last": passed.last_at},
        "size": passed.head.size,
        "root": passed.head.root,
        "site_key": material.site_key,
        "outside_anchors": [],
        "files": files,
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def _write_sums(folder: Path, signatures: Signatures) -> None:
    sums = "".join(f"{verifier.sha256(folder / name)}  {name}\n" for name in verifier.files_of(folder)).encode("utf-8")
    (folder / "SHA256SUMS").write_bytes(sums)
    (folder / "SHA256SUMS.sig").write_text(signatures.sign(verifier.EXPORT_NAMESPACE, sums), encoding="ascii")
