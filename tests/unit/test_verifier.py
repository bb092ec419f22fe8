"""The stand-alone verifier: hundreds of seeded mutations of an export, each detected and its place named."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.memory_log import MemoryLog
from orchestrator.adapters.sshsig import sign
from orchestrator.domain import canonical as domain_canonical
from orchestrator.domain import merkle
from orchestrator.domain.events import Event, EventType, NewEvent, from_exported
from orchestrator.export import verify as verifier
from orchestrator.export.bundle import write_export
from tests.sample_log import ABOUT, PLAN, People, at, cast_vote, fill, people, sample_export

SIZE = 16
VOTES = (7, 8)
Mutation = tuple[str, Callable[[Path], None], Callable[[dict[str, Any]], bool]]


@pytest.fixture(scope="module")
def who(tmp_path_factory: pytest.TempPathFactory) -> People:
    return people(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def pristine(who: People, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_export(tmp_path_factory.mktemp("exports") / "export", who).path


def trusted(who: People) -> list[str]:
    return [who.site.public_line]


def lines_of(folder: Path) -> list[bytes]:
    return (folder / "events.jsonl").read_bytes().splitlines(keepends=True)


def write_lines(folder: Path, lines: list[bytes]) -> None:
    (folder / "events.jsonl").write_bytes(b"".join(lines))


def head_of(lines: list[bytes]) -> tuple[int, str]:
    return len(lines), merkle.root([bytes.fromhex(json.loads(line)["hash"]) for line in lines]).hex()


def changed_line(line: bytes, **changes: Any) -> bytes:
    return verifier.canonical({**json.loads(line), **changes}).encode() + b"\n"


def rehashed(line: bytes) -> bytes:
    event = json.loads(line)
    content = verifier.canonical({name: event[name] for name in verifier.FIELDS}).encode()
    return changed_line(line, hash=hashlib.sha256(b"\x00" + content).hexdigest())


def rechained(lines: list[bytes], start: int) -> list[bytes]:
    """What a forger does who knows the format: every hash and link from `start` on recomputed."""
    forged = lines[:start]
    for number in range(start, len(lines)):
        previous = json.loads(forged[-1])["hash"] if forged else verifier.GENESIS
        forged.append(rehashed(changed_line(lines[number], seq=number, previous=previous)))
    return forged


def resum(folder: Path) -> None:
    """Manifest and SHA256SUMS recomputed to fit; only what needs the site key stays as it was."""
    manifest = json.loads((folder / "manifest.json").read_text())
    names = [name for name in verifier.files_of(folder) if name not in verifier.NOT_IN_MANIFEST]
    manifest["files"] = {name: verifier.sha256(folder / name) for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=2, sort_keys=True) + "\n")
    names = [name for name in verifier.files_of(folder) if name not in verifier.NOT_IN_SUMS]
    (folder / "SHA256SUMS").write_text("".join(f"{verifier.sha256(folder / name)}  {name}\n" for name in names))


# What is done, and where it must be found


def at_event(seq: int, *problems: str) -> Callable[[dict[str, Any]], bool]:
    """The first finding names this event (and says what kind of thing happened to it)."""
    return lambda report: report["first"]["event"] == seq and (not problems or report["first"]["problem"] in problems)


def in_file(*names: str) -> Callable[[dict[str, Any]], bool]:
    return lambda report: any(finding["file"] in names for finding in report["findings"])


def bit_flips(folder: Path, dice: random.Random, each: int) -> Iterator[Mutation]:
    for name in verifier.files_of(folder):
        content = (folder / name).read_bytes()
        for _ in range(each):
            place, bit = dice.randrange(len(content)), dice.randrange(8)
            flipped = content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]
            line = content[:place].count(b"\n")
            found = at_event(line) if name == "events.jsonl" else in_file(name, f"{name}.sig")
            yield f"{name}: bit {bit} of byte {place}", writing(name, flipped), found


def writing(name: str, content: bytes) -> Callable[[Path], None]:
    def mutate(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return mutate


def removing(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def event_mutations(folder: Path, dice: random.Random) -> Iterator[Mutation]:
    lines = lines_of(folder)

    def put(mutated: list[bytes], fit: bool) -> Callable[[Path], None]:
        def mutate(copy: Path) -> None:
            write_lines(copy, mutated)
            if fit:
                resum(copy)

        return mutate

    for fit in (False, True):
        for seq in range(SIZE):
            rest = [*lines[:seq], *lines[seq + 1 :]]
            yield f"event {seq} deleted, sums {fit}", put(rest, fit), at_event(seq, "removed" if seq < SIZE - 1 else "truncated")
        for seq in dice.sample(range(SIZE), 6):
            yield f"event {seq} twice, sums {fit}", put([*lines[: seq + 1], *lines[seq:]], fit), at_event(seq + 1, "duplicated")
        for _ in range(10):
            one, two = sorted(dice.sample(range(SIZE), 2))
            mutated = [*lines]
            mutated[one], mutated[two] = mutated[two], mutated[one]
            yield f"events {one} and {two} swapped, sums {fit}", put(mutated, fit), at_event(one, "reordered")
        for size in dice.sample(range(SIZE), 6):
            yield f"truncated to {size}, sums {fit}", put(lines[:size], fit), at_event(size, "truncated")
        for seq in range(SIZE):
            field, value = dice.choice(
                [("actor", "mallory"), ("at", at(59)), ("device", "fw-int"), ("body", {"reason": "nothing"}), ("type", "CheckRan")]
            )
            changed = changed_line(lines[seq], **{field: value})
            yield f"event {seq}: {field}, sums {fit}", put([*lines[:seq], changed, *lines[seq + 1 :]], fit), at_event(seq, "changed")
            found = at_event(seq, "changed") if seq < SIZE - 1 else in_file("checkpoint")
            yield f"event {seq}: {field} and its hash, sums {fit}", put([*lines[:seq], rehashed(changed), *lines[seq + 1 :]], fit), found
        for seq in dice.sample(range(SIZE), 6):
            changed = changed_line(lines[seq], actor="mallory")
            forged = rechained([*lines[:seq], changed, *lines[seq + 1 :]], seq)
            yield f"rewritten from event {seq}, sums {fit}", put(forged, fit), rewritten_from(seq)
        extra = rehashed(changed_line(lines[-1], seq=SIZE, previous=json.loads(lines[-1])["hash"]))
        yield f"an event added, sums {fit}", put([*lines, extra], fit), at_event(SIZE, "added")


def rewritten_from(seq: int) -> Callable[[dict[str, Any]], bool]:
    """A forger who rechained everything is caught by the first head recorded after it: a voter's, the export's, the checkpoint."""
    seen = [size for size in (*VOTES, SIZE - 1) if size > seq]
    return at_event(seen[0] - 1, "rewritten") if seen else in_file("checkpoint")


def file_mutations(folder: Path, who: People, dice: random.Random) -> Iterator[Mutation]:
    names = verifier.files_of(folder)
    for name in names:
        yield f"{name} removed", removing(name), in_file(name)
    for one, two in (dice.sample(names, 2) for _ in range(12)):
        contents = ((folder / one).read_bytes(), (folder / two).read_bytes())

        def swap(copy: Path, one: str = one, two: str = two, contents: tuple[bytes, bytes] = contents) -> None:
            (copy / one).write_bytes(contents[1])
            (copy / two).write_bytes(contents[0])

        # changed events are named even where another file took their place
        yield f"{one} and {two} swapped", swap, in_file(one, two, f"{one}.sig", f"{two}.sig")
    yield "a file added", writing("votes/000009.sig", b"x"), in_file("votes/000009.sig")

    def add_and_resum(copy: Path) -> None:
        (copy / "policies/evil.yaml").write_bytes(b"x")
        resum(copy)

    yield "a file added and summed", add_and_resum, in_file("SHA256SUMS.sig")

    def link(copy: Path) -> None:
        (copy / "chronology.csv").rename(copy.parent / "moved.csv")
        (copy / "chronology.csv").symlink_to(copy.parent / "moved.csv")

    yield "a link in place of a file", link, in_file("chronology.csv")
    for name, namespace in (("checkpoint", verifier.CHECKPOINT_NAMESPACE), ("SHA256SUMS", verifier.EXPORT_NAMESPACE)):
        text = (folder / name).read_bytes()
        good = (folder / f"{name}.sig").read_text()
        body = "".join(good.splitlines()[1:-1])
        rewrapped = f"{verifier.BEGIN}\n{body}\n{verifier.END}\n"
        for what, signature in (
            ("by another key", sign(who.alice.private, namespace, text)),
            ("for another purpose", sign(who.site.private, verifier.VOTE_NAMESPACE, text)),
            ("of another text", sign(who.site.private, namespace, text + b"\n")),
            ("with junk behind it", good + "junk\n"),
            ("wrapped otherwise", rewrapped),
        ):
            yield f"{name} signed {what}", writing(f"{name}.sig", signature.encode()), in_file(f"{name}.sig")


def vote_mutations(folder: Path, who: People) -> Iterator[Mutation]:
    """The vote of event 7 forged inside the events, everything rechained, signed by the site's own (stolen) key again."""
    lines = lines_of(folder)
    vote = json.loads(lines[7])["body"]
    statement = json.loads(vote["statement"])
    for what, body in (
        ("signed by bob for alice", {**vote, "signature": sign(who.bob.private, verifier.VOTE_NAMESPACE, vote["statement"].encode())}),
        ("signed for another purpose", {**vote, "signature": sign(who.alice.private, "orchestrator-login@v1", vote["statement"].encode())}),
        ("counted for another plan", {**vote, "plan_digest": "77" * 32}),
        ("counted as a denial", {**vote, "choice": "deny"}),
        ("counted for bob", {**vote, "person": "bob"}),
        ("with another statement", {**vote, "statement": verifier.canonical({**statement, "reason": "forced"})}),
        ("without a signature", {key: value for key, value in vote.items() if key != "signature"}),
    ):
        forged = [*lines[:7], changed_line(lines[7], body=body), *lines[8:]]
        yield (
            f"vote {what}",
            resigned(who, rechained(forged, 7)),
            lambda report: any(finding["event"] == 7 for finding in report["findings"]),
        )


def resigned(who: People, lines: list[bytes]) -> Callable[[Path], None]:
    """The whole export made again from these events by someone who has the site key."""
    events = [from_exported(line.decode()) for line in lines]

    def mutate(folder: Path) -> None:
        shutil.rmtree(folder)
        write_export(events, len(events), who.signatures(), folder, ABOUT, who.material())

    return mutate


def test_every_mutation_is_detected_and_its_place_named(pristine: Path, who: People, tmp_path: Path) -> None:
    dice = random.Random("export mutations 2026")
    mutations = [
        *bit_flips(pristine, dice, each=2),
        *event_mutations(pristine, dice),
        *file_mutations(pristine, who, dice),
        *vote_mutations(pristine, who),
    ]
    assert len(mutations) >= 200
    missed = []
    for number, (what, mutate, located) in enumerate(mutations):
        copy = tmp_path / f"{number}" / "export"
        shutil.copytree(pristine, copy)
        mutate(copy)
        report = verifier.verify(copy, trusted(who))
        if report["verdict"] != verifier.BROKEN or not located(report):
            missed.append(f"{what}: {report['verdict']}, {report['first']}")
        shutil.rmtree(copy.parent)
    assert not missed, f"{len(missed)} of {len(mutations)}:\n" + "\n".join(missed)


def test_the_pristine_export_is_genuine(pristine: Path, who: People) -> None:
    report = verifier.verify(pristine, trusted(who), [head_of(lines_of(pristine)), head_of(lines_of(pristine)[:5])])
    assert (report["verdict"], report["findings"]) == (verifier.GENUINE, [])
    assert verifier.verify(pristine)["verdict"] == verifier.NOT_ANCHORED


def test_the_page_of_shell_finds_what_digests_and_signatures_show(pristine: Path, who: People, tmp_path: Path) -> None:
    dice = random.Random("shell")
    key = tmp_path / "known.pub"
    key.write_text(who.site.public_line + "\n")
    flips = [mutation for mutation in bit_flips(pristine, dice, each=1) if not mutation[0].startswith("verify.sh")]
    forged = [mutation for mutation in file_mutations(pristine, who, dice) if "signed" in mutation[0] or "added" in mutation[0]]
    for what, mutate, _located in [*dice.sample(flips, 12), *forged]:
        copy = tmp_path / "copy" / "export"
        shutil.copytree(pristine, copy)
        mutate(copy)
        done = subprocess.run(["sh", str(copy / "verify.sh"), str(key)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.splitlines()[-1]) == (2, "verdict: broken"), f"{what}: {done.stdout}{done.stderr}"
        shutil.rmtree(copy.parent)


def test_re_signed_by_another_key_it_fits_together_but_is_not_the_trusted_one(pristine: Path, who: People, tmp_path: Path) -> None:
    forger = people(tmp_path / "forger")
    forged = rechained([*lines_of(pristine)[:3], changed_line(lines_of(pristine)[3], actor="mallory"), *lines_of(pristine)[4:7]], 3)
    copy = tmp_path / "export"
    shutil.copytree(pristine, copy)
    resigned(forger, forged)(copy)
    assert verifier.verify(copy)["verdict"] == verifier.NOT_ANCHORED
    report = verifier.verify(copy, trusted(who))
    assert (report["verdict"], report["first"]["file"], report["first"]["problem"]) == (verifier.BROKEN, "site_key.pub", "another key")
    shell = subprocess.run(["sh", "verify.sh", str(write_key(tmp_path, who))], cwd=copy, capture_output=True, text=True, check=False)
    assert shell.returncode == 2
    assert "not the trusted key" in shell.stdout


def write_key(folder: Path, who: People) -> Path:
    (folder / "known.pub").write_text(who.site.public_line + "\n")
    return folder / "known.pub"


def test_an_older_export_and_a_fork_by_the_site_key_need_a_known_head(pristine: Path, who: People, tmp_path: Path) -> None:
    older = sample_export(tmp_path / "older", who, last=10).path
    known = head_of(lines_of(pristine))
    assert verifier.verify(older, trusted(who))["verdict"] == verifier.GENUINE
    report = verifier.verify(older, trusted(who), [known])
    assert (report["verdict"], report["first"]["event"], report["first"]["problem"]) == (verifier.BROKEN, 11, "truncated")

    fork = MemoryLog()
    fill(fork, who, more=5)
    events = list(fork.read())
    write_export(events, len(events), who.signatures(), tmp_path / "fork", ABOUT, who.material())
    assert verifier.verify(tmp_path / "fork", trusted(who))["verdict"] == verifier.GENUINE
    report = verifier.verify(tmp_path / "fork", trusted(who), [known])
    assert (report["verdict"], report["first"]["event"], report["first"]["problem"]) == (verifier.BROKEN, 15, "forked")


def test_a_vote_by_a_key_that_had_expired_is_found(who: People, tmp_path: Path) -> None:
    log = MemoryLog()
    fill(log, who)
    late = cast_vote(log, "alice", who.alice, 0)
    log.append([NewEvent(EventType.VOTE_CAST, "2026-07-01T10:00:00.000Z", "alice", late.body, stage="P4-images")])
    events = list(log.read())
    write_export(events, len(events), who.signatures(), tmp_path / "export", ABOUT, who.material())
    report = verifier.verify(tmp_path / "export", trusted(who))
    assert (report["verdict"], [finding["event"] for finding in report["findings"]]) == (verifier.BROKEN, [15])


def test_without_ssh_keygen_nothing_is_called_genuine(pristine: Path, who: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    report = verifier.verify(pristine, trusted(who))
    assert (report["verdict"], report["findings"], len(report["not_checked"])) == (verifier.NOT_ANCHORED, [], 1)


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_damaged_archives_are_broken(who: People, tmp_path: Path, name: str) -> None:
    archive = sample_export(tmp_path / name, who).path
    content = archive.read_bytes()
    dice = random.Random(name)
    for _ in range(15):
        place = dice.randrange(len(content))
        archive.write_bytes(content[:place] + bytes([content[place] ^ 1 << dice.randrange(8)]) + content[place + 1 :])
        report = verifier.verify(archive, trusted(who))
        if report["verdict"] == verifier.GENUINE:  # a flip in a time or a mode, which nobody reads
            assert report["head"] == "{}:{}".format(*head_of(lines_of(sample_export(tmp_path / f"{name}-{place}", who).path)))
        else:
            assert report["first"] is not None
    archive.write_bytes(content[: len(content) // 2])
    assert verifier.verify(archive, trusted(who))["verdict"] == verifier.BROKEN


def test_its_canonical_json_and_tree_are_those_of_the_product() -> None:
    value = {"\U0001f3e5": 1, "\ufb33": [None, True, -5, 2**53 - 1], "é": {"\x7f": '"\\\x00\u2028/'}, "a": "", "A": []}
    assert verifier.canonical(value).encode() == domain_canonical.canonical(value)
    for wrong in (1.0, 2**53, {"a": [0.5]}, float("nan")):
        with pytest.raises(ValueError, match="not allowed"):
            verifier.canonical(wrong)
    for text in ("1.5", "1e3", "NaN", "-Infinity"):
        with pytest.raises(ValueError, match="is not an integer"):
            verifier.parse(text)
    text = domain_canonical.canonical(value).decode()
    assert verifier.is_canonical(text, verifier.parse(text))
    for other in (json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")), text.replace(",", ", ", 1), text + "\n"):
        assert not verifier.is_canonical(other, verifier.parse(other))
    for text in ("9007199254740992", "-9007199254740992", "9" * 5000):
        with pytest.raises(ValueError, match="not the same"):
            verifier.parse(text)
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(40)]
    assert verifier.roots_at(leaves, set(range(41))) == {size: merkle.root(leaves[:size]).hex() for size in range(41)}


def test_it_is_one_file_of_old_python_and_the_standard_library() -> None:
    source = Path(str(verifier.__file__)).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
    newer = ("removeprefix", "removesuffix", "strict=True", "is_relative_to")
    assert not [word for word in newer if word in source]


def test_heads_and_keys_on_the_command_line(tmp_path: Path) -> None:
    program = [sys.executable, str(verifier.__file__)]
    (tmp_path / "empty.pub").write_text("no key here\n")
    for wrong in (
        [str(tmp_path / "none")],
        [str(tmp_path), "--known-head", "7"],
        [str(tmp_path), "--trusted-key", str(tmp_path / "empty.pub")],
    ):
        assert subprocess.run([*program, *wrong], capture_output=True, check=False).returncode == 3
    empty = subprocess.run([*program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (empty.returncode, empty.stdout.splitlines()[0]) == (2, "MISSING: events.jsonl: events.jsonl is missing, or is no regular file")


def test_the_sample_is_what_the_tests_take_it_for(pristine: Path) -> None:
    events = [from_exported(line.decode()) for line in lines_of(pristine)]
    assert len(events) == SIZE
    assert tuple(event.seq for event in events if event.type is EventType.VOTE_CAST) == VOTES
    assert all(isinstance(event, Event) for event in events)
    assert events[7].body["plan_digest"] == PLAN
    assert base64.b64decode((pristine / "checkpoint").read_text().split("\n")[2]).hex() == head_of(lines_of(pristine))[1]
