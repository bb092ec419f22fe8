#!/usr/bin/env python3
"""Verifies an export of the restoration log. Python 3.8 or later, its standard library, and `ssh-keygen`; nothing else.

    python3 verify.py [FOLDER | FILE.zip | FILE.tar] [--trusted-key FILE] [--known-head SIZE:ROOT] [--json]

1. events: every line canonical (RFC 8785), its hash SHA-256(0x00 || canonical event), chained to the one before
2. the Merkle root (RFC 6962) over all events equals the one in `checkpoint`, and every head that an event has recorded
   or that is known from outside (paper logbook, an older export) is the head of the first SIZE events
3. `checkpoint` and SHA256SUMS are signed by the site key: the trusted one if given, else the one in the export
4. every vote's statement is signed by its person's key, which was valid at that time and in the keys that counted by then, and
   says what the vote counts for; every ratification is signed by keys that were in force before it (the first: by its own), and
   so is every change of keys and every delegation, by those whom the policy asks for; nothing was approved, applied or opened
   without the votes that the ratified policy asks for, by distinct persons, none of them the proposer
5. every file has the digest that SHA256SUMS and the manifest say; none is missing, none was added

Verdicts: `genuine` (exit 0): all of it holds, and the site key is the trusted one, given from outside. `consistent, not
anchored` (1): it all fits together, but whoever made it could have made all of it. `broken` (2): says what and where.
Exit 3: the command line is wrong.
The copy of this file in an export proves nothing about that export: compare its digest with one known from outside.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

GENUINE, NOT_ANCHORED, BROKEN = "genuine", "consistent, not anchored", "broken"
EXIT_CODES = {GENUINE: 0, NOT_ANCHORED: 1, BROKEN: 2}
SITE = "orchestrator"  # the site key's name in allowed_signers
CHECKPOINT_NAMESPACE = "orchestrator-checkpoint@v1"
EXPORT_NAMESPACE = "orchestrator-export@v1"
VOTE_NAMESPACE = "reconnect-approval@v1"
PEOPLE_NAMESPACE = "reconnect-people@v1"
DELEGATION_NAMESPACE = "reconnect-delegation@v1"
RESUME = "resume"
RATIFICATION_NAMESPACE = "policy-ratification@v1"
FIELDS = ("seq", "previous", "type", "at", "actor", "stage", "device", "body")
NOT_IN_SUMS = ("SHA256SUMS", "SHA256SUMS.sig")
NOT_IN_MANIFEST = (*NOT_IN_SUMS, "manifest.json")
GENESIS = "0" * 64
EXACT = 2**53 - 1
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


class Broken(Exception):
    """Something does not verify: what kind of problem, in which file, at which event."""

    def __init__(self, file: str, problem: str, detail: str, event: int | None = None) -> None:
        super().__init__(detail)
        self.finding = {"file": file, "event": event, "problem": problem, "detail": detail}


@dataclass
class Events:
    """What reading the events leaves behind: leaf hashes, votes, recorded heads (seq, size, root), rehearsal or not.

    `ratifications` in order; `keys`: number of whatever is signed -> the `allowed_signers` text that it is checked with.
    `story`: the events that openings hang on, and those of people's keys.
    """

    leaves: list[bytes] = field(default_factory=list)
    votes: list[dict[str, Any]] = field(default_factory=list)
    heads: list[tuple[int, int, str]] = field(default_factory=list)
    ratifications: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[int, str] = field(default_factory=dict)
    story: list[dict[str, Any]] = field(default_factory=list)
    rehearsal: bool = False


# Canonical JSON (RFC 8785), without floats; Merkle tree (RFC 6962)


def canonical(value: Any) -> str:
    """The RFC 8785 text of a value. Raises ValueError for floats, inexact integers and what is not JSON."""
    if value is None or isinstance(value, (bool, str)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int) and abs(value) <= EXACT:
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in keys) + "}"
    raise ValueError(f"{value!r} is not allowed")


def refuse_number(number: str) -> Any:
    raise ValueError(f"the number {number} is not an integer")


def exact(number: str) -> int:
    if len(number) > 17 or abs(int(number)) > EXACT:
        raise ValueError(f"the number {number} is not the same in every reader")
    return int(number)


DECODER = json.JSONDecoder(parse_float=refuse_number, parse_constant=refuse_number, parse_int=exact)
ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def parse(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for floats and inexact integers."""
    return DECODER.decode(text)


def is_canonical(text: str, value: Any) -> bool:
    """Whether `text` is the RFC 8785 form of `value`, which was parsed from it."""
    if text.isascii() or max(text) < "\ud800":  # then keys sort by code points as they do by UTF-16
        return ENCODER.encode(value) == text
    return canonical(value) == text


def append_leaf(subtrees: list[bytes], size: int, leaf: bytes) -> None:
    """Adds one leaf hash to the perfect subtrees of a tree of `size` leaves."""
    while size & 1:
        leaf = hashlib.sha256(b"\x01" + subtrees.pop() + leaf).digest()
        size >>= 1
    subtrees.append(leaf)


def root_of(subtrees: list[bytes]) -> str:
    if not subtrees:
        return hashlib.sha256(b"").hexdigest()
    node = subtrees[-1]
    for left in reversed(subtrees[:-1]):
        node = hashlib.sha256(b"\x01" + left + node).digest()
    return node.hex()


def roots_at(leaves: list[bytes], sizes: set[int]) -> dict[int, str]:
    """size -> Merkle root (hex) of the first `size` leaves, for those of the sizes that there are."""
    subtrees: list[bytes] = []
    roots = {0: root_of([])} if 0 in sizes else {}
    for number, leaf in enumerate(leaves):
        append_leaf(subtrees, number, leaf)
        if number + 1 in sizes:
            roots[number + 1] = root_of(subtrees)
    return roots


# 1. Events


def read_events(folder: Path, root: str) -> Events:
    """Reads and checks all events; `root` is the checkpoint's. Raises Broken naming the first bad one."""
    found, lines, keys = Events(), [], Keys()
    if (folder / "events.jsonl").is_symlink() or not (folder / "events.jsonl").is_file():
        raise Broken("events.jsonl", "missing", "events.jsonl is missing, or is no regular file")
    with (folder / "events.jsonl").open("rb") as file:
        for line in file:
            event = read_event(line)
            lines.append(event and (event["seq"], event["previous"], event["hash"]))
            if event is None:
                continue
            body = event["body"]
            found.rehearsal = found.rehearsal or body.get("rehearsal") is True
            if event["type"] in STORY:
                found.story.append(event)
            if event["type"] in SIGNED and (keys.text is not None or event["type"] == "PolicyRatified"):
                found.keys[event["seq"]] = keys.text if keys.text is not None else str(body.get("allowed_signers"))
            keys.follow(event)
            if event["type"] == "PolicyRatified":
                found.ratifications.append(event)
            if event["type"] == "VoteCast":
                found.votes.append(event)
                body = {**body, "head": vote_statement(event).get("log_head")}
            head = body.get("head")
            if isinstance(head, dict) and type(head.get("size")) is int and isinstance(head.get("root"), str):
                found.heads.append((event["seq"], head["size"], head["root"]))
    check_chain(lines, root)
    found.leaves = [bytes.fromhex(line[2]) for line in lines if line]
    return found


def read_event(line: bytes) -> dict[str, Any] | None:
    """The event of one line, or None when the line is not one whose content gives its hash."""
    try:
        text = line.decode("utf-8")
        event: dict[str, Any] = parse(text)
        if text[-1:] != "\n" or set(event) != {*FIELDS, "hash"} or not is_canonical(text[:-1], event):
            return None
        if type(event["seq"]) is not int or not isinstance(event["body"], dict) or not isinstance(event["at"], str):
            return None
        # In canonical order nothing that could hold this text follows it, so the last one is the event's own.
        before, own, after = text[:-1].rpartition(f',"hash":{ENCODER.encode(event["hash"])}')
        content = (before + after).encode("utf-8")
        return event if own and hashlib.sha256(b"\x00" + content).hexdigest() == event["hash"] else None
    except (ValueError, TypeError, RecursionError):
        return None


def vote_statement(event: dict[str, Any]) -> dict[str, Any]:
    """What the voter signed, as JSON; empty when it is not that."""
    try:
        statement = parse(event["body"]["statement"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return statement if isinstance(statement, dict) else {}


def check_chain(lines: list[Any], root: str) -> None:
    """That the events are 0, 1, 2, … each hanging on the one before. Raises Broken naming the first that is not."""
    places: dict[int, int] = {}
    for number, line in enumerate(lines):
        if line is not None:
            places.setdefault(line[0], number)
    previous = GENESIS
    for number, line in enumerate(lines):
        if line is None:
            raise Broken("events.jsonl", "changed", f"event {number} was changed: line {number + 1} does not give its hash", number)
        seq = line[0]
        if seq > number and number in places:
            detail = f"event {number} stands on line {places[number] + 1}, and event {seq} in its place"
            raise Broken("events.jsonl", "reordered", detail, number)
        if seq > number:
            raise Broken("events.jsonl", "removed", f"event {number} is missing: event {seq} stands in its place", number)
        if seq < number:
            problem = "duplicated" if places[seq] < number else "reordered"
            raise Broken("events.jsonl", problem, f"event {seq} stands again on line {number + 1}", number)
        if line[1] != previous:
            wrong = number - 1 if number and before_is_wrong(lines, number, root) else number
            raise Broken("events.jsonl", "changed", f"event {wrong} was changed: the chain breaks before event {number}", wrong)
        previous = line[2]


def before_is_wrong(lines: list[Any], number: int, root: str) -> bool:
    """Where the chain breaks before `number`, one of two was changed together with its hash: is it the one before?"""
    if number + 1 < len(lines):  # it is, if the chain goes on from this one
        return bool(lines[number + 1]) and lines[number + 1][1] == lines[number][2]
    leaves = [line[2] for line in lines[: number - 1]] + [lines[number][1], lines[number][2]]
    try:  # it is, if the hash that this one remembers gives the root of the checkpoint
        return roots_at([bytes.fromhex(leaf) for leaf in leaves], {len(leaves)})[len(leaves)] == root
    except (ValueError, TypeError):
        return False


# 2. The checkpoint and other heads


def read_checkpoint(folder: Path) -> tuple[int, str]:
    """(size, root in hex) of the checkpoint: origin, size, base64 root, one a line. Raises Broken."""
    lines = read(folder, "checkpoint").decode("utf-8", "replace").split("\n")
    try:
        root = base64.b64decode(lines[2], validate=True)
        if len(lines) != 4 or not lines[0] or lines[3] or len(root) != 32 or str(int(lines[1])) != lines[1]:
            raise ValueError
        if base64.b64encode(root).decode("ascii") != lines[2]:
            raise ValueError
    except (IndexError, ValueError):
        raise Broken("checkpoint", "changed", "the checkpoint is not in its form: origin, size, root") from None
    return int(lines[1]), root.hex()


def check_checkpoint(events: Events, size: int, root: str) -> None:
    """Raises Broken when the events are not those of the checkpoint; the heads that events record narrow down where."""
    count = len(events.leaves)
    if count < size:
        raise Broken("events.jsonl", "truncated", f"events {count} to {size - 1} are missing at the end", count)
    if count > size:
        raise Broken("events.jsonl", "added", f"the checkpoint ends before event {size}", size)
    roots = roots_at(events.leaves, {size} | {head[1] for head in events.heads})
    for seq, seen, seen_root in events.heads:
        if seen > seq or roots.get(seen) != seen_root:
            detail = f"the first {seen} events are not those that event {seq} saw"
            raise Broken("events.jsonl", "rewritten", detail, max(0, min(seen, count) - 1))
    if roots[size] != root:
        raise Broken("checkpoint", "rewritten", "its root is not that of the events: they were rewritten as a whole, or it was")


def check_known_head(events: Events, size: int, root: str) -> None:
    """Raises Broken when the first `size` events are not those whose head is known from outside."""
    count = len(events.leaves)
    if size > count:
        raise Broken("events.jsonl", "truncated", f"the known head is of {size} events, and the export ends before event {count}", count)
    if roots_at(events.leaves, {size})[size] != root:
        raise Broken("events.jsonl", "forked", f"the first {size} events are not those of the known head", max(0, size - 1))


# 3 and 4. Signatures


def check_armour(file: str, text: str) -> None:
    """SSH armour is malleable: only the one form that ssh-keygen writes is taken. Raises Broken."""
    lines = text.split("\n")
    try:
        body = base64.b64encode(base64.b64decode("".join(lines[1:-2]), validate=True)).decode("ascii")
    except ValueError:
        body = ""
    wrapped = [body[start : start + 70] for start in range(0, len(body), 70)]
    if not body or "\n".join([BEGIN, *wrapped, END, ""]) != text:
        raise Broken(file, "signature", "the signature is not in canonical armour")


def check_signature(signers: str, person: str, namespace: str, message: bytes, file: str, signature: str, when: str = "") -> None:
    """Runs `ssh-keygen -Y verify`. `signers` is the text of an allowed_signers file. Raises Broken."""
    check_armour(file, signature)
    with tempfile.TemporaryDirectory() as temporary:
        known, sig = Path(temporary, "signers"), Path(temporary, "sig")
        known.write_bytes(signers.encode("utf-8"))
        sig.write_bytes(signature.encode("utf-8"))
        command = ["ssh-keygen", "-Y", "verify", "-f", str(known), "-I", person, "-n", namespace, "-s", str(sig)]
        command += ["-O", f"verify-time={when}"] if when else []
        done = subprocess.run(command, input=message, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip().replace("\n", "; ")
        raise Broken(file, "signature", f"not a signature of {person} for {namespace}: {said}")


def public_keys(text: str) -> list[str]:
    """Every `type base64` in a public key or allowed_signers file."""
    return re.findall(r"(?m)(?:^|\s)((?:ssh|ecdsa|sk)-[\w@.-]+ [\w+/]+=*)(?=\s|$)", text)


def site_line(public_key: str) -> str:
    """The site key's line in the export's allowed_signers."""
    return f'{SITE} namespaces="{CHECKPOINT_NAMESPACE},{EXPORT_NAMESPACE}" {public_key}'


def site_signers(folder: Path, trusted: list[str] | None) -> str:
    """An allowed_signers text with the site key: the trusted one if given, else the export's. Raises Broken."""
    text = read(folder, "site_key.pub").decode("utf-8", "replace")
    own = public_keys(text)
    if len(own) != 1 or text != own[0] + "\n":
        raise Broken("site_key.pub", "changed", "it does not hold one public key")
    if trusted is not None and own[0] not in trusted:
        raise Broken("site_key.pub", "another key", "the export is signed by a key that is not the trusted one")
    if site_line(own[0]) not in read(folder, "allowed_signers").decode("utf-8", "replace").split("\n"):
        raise Broken("allowed_signers", "changed", "it does not name the site key")
    return site_line(own[0]) + "\n"


def check_site_signature(folder: Path, signers: str, name: str, namespace: str) -> None:
    signature = read(folder, name + ".sig").decode("utf-8", "replace")
    check_signature(signers, SITE, namespace, read(folder, name), name + ".sig", signature)


def vote_row(event: dict[str, Any]) -> str:
    """One line of votes/index.tsv: file, person, time as ssh-keygen takes it, stage, choice."""
    body = event["body"]
    when = re.sub(r"[-:T]", "", event["at"].partition(".")[0]) + "Z"
    return "\t".join([f"{event['seq']:06d}", str(body.get("person")), when, str(event["stage"]), str(body.get("choice"))]) + "\n"


def check_vote(folder: Path, signers: str, event: dict[str, Any], can_verify: bool) -> None:
    """One vote: its files are what the event says, it names its plan, its person signed it. Raises Broken."""
    body, seq = event["body"], event["seq"]
    for key in ("person", "statement", "signature", "plan_digest", "choice"):
        if not isinstance(body.get(key), str) or not body[key]:
            raise Broken("events.jsonl", "signature", f"the vote of event {seq} has no {key}", seq)
    name = f"votes/{seq:06d}"
    for ending, key in ((".statement", "statement"), (".sig", "signature")):
        if read(folder, name + ending) != body[key].encode("utf-8"):
            raise Broken(name + ending, "changed", f"it is not what event {seq} holds", seq)
    counted = {"voter": body["person"], "choice": body["choice"], "plan_digest": body["plan_digest"], "stage": event["stage"]}
    statement = vote_statement(event)
    for key in counted:
        if statement.get(key) != counted[key]:
            raise Broken(name + ".statement", "signature", f"the {key} that was signed is not the one that the vote counts for", seq)
    if not can_verify:
        return
    when, message = vote_row(event).split("\t")[2], body["statement"].encode("utf-8")
    try:
        check_signature(signers, body["person"], VOTE_NAMESPACE, message, name + ".sig", body["signature"], when)
    except Broken as error:
        error.finding["event"] = seq
        raise


def check_ratification(keys: str, event: dict[str, Any], can_verify: bool) -> None:
    """One ratification: its signers have signed these digests and these keys. Raises Broken."""
    body, seq = event["body"], event["seq"]
    text, votes = body.get("statement"), body.get("votes")
    try:
        statement = parse(text) if isinstance(text, str) else None
    except ValueError:
        statement = None
    if not isinstance(statement, dict) or not isinstance(votes, list) or not votes:
        raise Broken("events.jsonl", "signature", f"the ratification of event {seq} is signed by nobody", seq)
    keys_digest = hashlib.sha256(str(body.get("allowed_signers")).encode("utf-8")).hexdigest()
    said = {**{key: body.get(key) for key in ("policy_digest", "inventory_digest")}, "allowed_signers_digest": keys_digest}
    for key in said:
        if statement.get(key) != said[key]:
            raise Broken("events.jsonl", "signature", f"the {key} that was signed is not the one that event {seq} ratifies", seq)
    when = vote_row({**event, "stage": None}).split("\t")[2]
    for vote in votes if can_verify else []:
        person, signature = (str(vote.get(key)) for key in ("person", "signature")) if isinstance(vote, dict) else ("", "")
        try:
            check_signature(keys, person, RATIFICATION_NAMESPACE, str(text).encode("utf-8"), "events.jsonl", signature, when)
        except Broken as error:
            error.finding["event"] = seq
            raise


# 4. People's keys as the events change them


SIGNED = ("PolicyRatified", "VoteCast", "DelegationGranted", "PeopleChangeRequested")
STORY = (
    *SIGNED, "StagePlanned", "VotesVoided", "StageApproved", "StageDenied", "StageCancelled", "StageExpired", "StageStale",
    "StageApplying", "StageResumed", "StageOpened", "StagePartiallyOpened", "DeviceChangeIntended", "DelegationRevoked",
    "PeopleChangeStopped", "PeopleChangeInForce", "KeyRevoked", "StageReverted",
)  # fmt: skip
OPENS = ("open", "confirm", "loosen", "lift")  # what is meant to be done on a device, and lets something pass


class Keys:
    """What counts as `allowed_signers` while the events go by; `text` is None before anything was ratified."""

    def __init__(self) -> None:
        self.text: str | None = None
        self._ratified = ""
        self._added: list[str] = []
        self._gone: set[str] = set()
        self._asked: dict[str, dict[str, Any]] = {}

    def follow(self, event: dict[str, Any]) -> None:
        body, type_ = event["body"], event["type"]
        if type_ == "PolicyRatified":
            self._ratified, self._added = str(body.get("allowed_signers")), []
        elif type_ == "PeopleChangeRequested":
            self._asked[str(body.get("change"))] = body
            return
        elif type_ == "PeopleChangeInForce":
            asked = self._asked.get(str(body.get("change")), {})  # what was signed counts, not what this event says
            since = vote_row({**event, "stage": None}).split("\t")[2]
            adds, removes = ([*given] if isinstance(given, list) else [] for given in (asked.get("adds"), asked.get("removes")))
            self._gone.update(map(str, removes))
            self._added += [f'{asked.get("person")} valid-after="{since}" {key}' for key in adds]
        elif type_ == "KeyRevoked":
            self._gone.add(str(body.get("fingerprint")))
        else:
            return
        kept = "".join(line for line in self._ratified.splitlines(True) if not key_marks(line) & self._gone)
        self._added = [line for line in self._added if not key_marks(line) & self._gone]
        between = "\n" if self._added and kept and not kept.endswith("\n") else ""
        self.text = kept + between + "".join(line + "\n" for line in self._added)


def key_marks(line: str) -> set[str]:
    """The fingerprint of the key on a line, as `ssh-keygen -l` prints it; none for a comment."""
    marks = set()
    for key in public_keys(line) if not line.lstrip().startswith("#") else ():
        try:
            digest = hashlib.sha256(base64.b64decode(key.split()[1], validate=True)).digest()
            marks.add("SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("="))
        except ValueError:
            pass
    return marks


def check_delegation(keys: str, event: dict[str, Any], can_verify: bool) -> None:
    """One delegation that was granted: its giver has signed what it says. Raises Broken."""
    body, seq = event["body"], event["seq"]
    statement = vote_statement(event)
    for key in ("giver", "taker", "roles", "applications", "starts", "ends"):
        if statement.get(key) is None or statement.get(key) != body.get(key):
            raise Broken("events.jsonl", "signature", f"the {key} that was signed is not that of the delegation of event {seq}", seq)
    if can_verify:
        when = vote_row({**event, "stage": None}).split("\t")[2]
        signed_by(keys, str(body["giver"]), DELEGATION_NAMESPACE, str(body["statement"]), str(body.get("signature")), when, seq)


def check_change(keys: str, event: dict[str, Any], policy: dict[str, Any], can_verify: bool) -> None:
    """One change of a person's keys: enough others, whom the policy names, have signed it on the keys of then. Raises Broken."""
    body, seq = event["body"], event["seq"]
    statement = vote_statement(event)
    for key in ("action", "person", "adds", "removes"):
        if statement.get(key) is None or statement.get(key) != body.get(key):
            raise Broken("events.jsonl", "signature", f"the {key} that was signed is not that of the change of event {seq}", seq)
    if statement.get("what") != "people" or statement.get("keys_digest") != hashlib.sha256(keys.encode("utf-8")).hexdigest():
        raise Broken("events.jsonl", "signature", f"the change of event {seq} was signed on other keys", seq)
    rules, wanted = policy["people_changes"], set(policy["people_changes"]["roles"])
    possible = {one["name"] for one in policy["people"] if wanted & set(one["roles"])} - {body["person"]}
    signed = [(str(item.get("person")), str(item.get("signature"))) for item in body.get("signatures", ())]
    names = [name for name, _ in signed]
    if len(set(names)) != len(names) or not set(names) <= possible or len(names) < rules["signers"]:
        raise Broken("events.jsonl", "signature", f"the change of event {seq} is not signed by {rules['signers']} others who may", seq)
    if moment(str(body["in_force_at"])) - moment(event["at"]) < timedelta(seconds=int(rules["delay"].rstrip("s"))):
        raise Broken("events.jsonl", "signature", f"the change of event {seq} has less delay than the policy asks for", seq)
    when = vote_row({**event, "stage": None}).split("\t")[2]
    for name, signature in signed if can_verify else []:
        signed_by(keys, name, PEOPLE_NAMESPACE, str(body["statement"]), signature, when, seq)


def signed_by(keys: str, person: str, namespace: str, text: str, signature: str, when: str, seq: int) -> None:
    try:
        check_signature(keys, person, namespace, text.encode("utf-8"), "events.jsonl", signature, when)
    except Broken as error:
        error.finding["event"] = seq
        raise


# 4. Nothing opened without its votes


class Openings:
    """Follows plans and votes, and finds what was approved, applied or opened without enough of them.

    It does not trust the roles that a vote's event gives: they are looked up in the ratified policy, with turns of duty and
    delegations of that time. That each vote is signed is asked by `check_vote`.
    """

    def __init__(self) -> None:
        self.policy: dict[str, Any] | None = None
        self._ratified_seq = -1
        self._keys = Keys()
        self._plans: dict[str, dict[str, Any]] = {}
        self._granted: set[str] = set()  # stages that may open, by a plan that was voted on
        self._reverted: set[str] = set()  # of those: opened by nothing but another plan
        self._resumes: set[tuple[str, str]] = set()  # (stage, plan digest) that the resumption under way may resume
        self._loans: dict[str, dict[str, Any]] = {}
        self._changes: dict[str, dict[str, Any]] = {}  # of people's keys that are pending

    def follow(self, event: dict[str, Any]) -> None:
        """Raises Broken at the first event of an opening that has not its votes."""
        body, type_, stage, seq = event["body"], event["type"], str(event["stage"]), event["seq"]
        keys_before = self._keys.text
        self._keys.follow(event)
        if type_ == "PolicyRatified":
            if keys_before != self._keys.text:  # who lent a role by keys that changed signs anew
                for loan in self._loans.values():
                    loan.setdefault("revoked", event["at"])
            self._ratified(event)
        elif type_ == "StagePlanned":
            self._granted.discard(stage)
            self._plans[stage] = {
                "digest": body.get("plan_digest"),
                "proposer": event["actor"],
                "seq": seq,
                "votes": {},
                "resumes": {(one["stage"], one["plan_digest"]) for one in (body.get("plan") or {}).get("resumes") or ()},
            }
        elif type_ == "StageReverted":
            self._reverted.add(stage)
        elif type_ == "VoteCast":
            self._vote(event, stage)
        elif type_ == "VotesVoided":
            votes = self._plans.get(stage, {}).get("votes", {})
            for person in [body["person"]] if "person" in body else list(votes):
                votes.pop(person, None)
        elif type_ in ("StageDenied", "StageCancelled", "StageExpired", "StageStale"):
            self._plans.pop(stage, None)
        elif type_ == "DelegationGranted":
            self._loans[str(body.get("name"))] = {**body, "starts": max(str(body.get("starts")), event["at"])}
        elif type_ == "DelegationRevoked":
            self._loans.setdefault(str(body.get("name")), {})["revoked"] = event["at"]
        elif type_ in ("PeopleChangeRequested", "PeopleChangeStopped", "PeopleChangeInForce"):
            self._change(event)
        else:
            self._opening(event, stage)

    def _change(self, event: dict[str, Any]) -> None:
        """Only what is pending, for as long as it has to be, comes into force."""
        name, seq = str(event["body"].get("change")), event["seq"]
        if event["type"] == "PeopleChangeRequested":
            self._changes[name] = event["body"]
            return
        asked = self._changes.pop(name, None)
        if event["type"] == "PeopleChangeInForce" and (asked is None or moment(event["at"]) < moment(str(asked["in_force_at"]))):
            raise Broken("events.jsonl", "signature", f"event {seq} puts keys in force that nobody has signed, or too early", seq)

    def _ratified(self, event: dict[str, Any]) -> None:
        """The first by its own genesis set; later ones by the people of the policy before."""
        before, policy, seq = self.policy, event["body"].get("policy"), event["seq"]
        since, self._ratified_seq = self._ratified_seq, seq
        self._changes = {}
        if not isinstance(policy, dict) and before is None:
            return  # nothing to judge by: nothing is opened by it either
        if hashlib.sha256(canonical(policy).encode("utf-8")).hexdigest() != event["body"].get("policy_digest"):
            raise Broken("events.jsonl", "signature", f"the policy of event {seq} is not the one that was signed", seq)
        self.policy = policy
        if before is not None and not signed_since(event, since):
            raise Broken("events.jsonl", "signature", f"the policy of event {seq} was signed before the one that it follows", seq)
        judge = before if before is not None else self.policy
        names = [str(vote.get("person")) for vote in event["body"].get("votes") or () if isinstance(vote, dict)]
        genesis = {one["name"] for one in judge["people"] if one.get("genesis")}
        standing = {}
        for name in names:
            if before is None and name in genesis:
                standing[name] = {role: [name] for role in person_of(judge, name).get("roles", ())}
            elif before is not None:
                standing[name] = self._standing(judge, name, event["at"], granted=False)
        if len(set(names)) != len(names) or not seated(judge["ratification"], standing):
            raise Broken("events.jsonl", "votes", f"the policy of event {seq} was not ratified by those whom it takes", seq)

    def _vote(self, event: dict[str, Any], stage: str) -> None:
        """Counts for the present plan only, when it was signed after that, and once."""
        body, plan = event["body"], self._plans.get(stage)
        if plan is None or body.get("choice") != "approve" or body.get("plan_digest") != plan["digest"]:
            return
        if signed_since(event, plan["seq"]):
            plan["votes"].setdefault(str(body.get("person")), event)

    def _opening(self, event: dict[str, Any], stage: str) -> None:
        type_, body, seq = event["type"], event["body"], event["seq"]
        touches = type_ == "DeviceChangeIntended" and body.get("action") in OPENS and event["stage"] is not None
        if type_ in ("StageApproved", "StageApplying"):
            plan = self._plans.get(stage)
            digest = body.get("plan_digest")
            if self.policy is not None and (plan is None or digest != plan["digest"] or not self._has_quorum(stage, plan)):
                raise Broken("events.jsonl", "votes", f"{stage} has not the votes that event {seq} says", seq)
            if type_ == "StageApplying" and self.policy is not None and plan is not None:
                self._granted.add(stage)
                self._reverted.discard(stage)
                self._resumes = plan["resumes"] if stage == RESUME else self._resumes
        if type_ == "StageResumed":  # by the votes of the resumption, whatever let it open before
            again = (stage, body.get("plan_digest")) in self._resumes
            (self._granted.add if again else self._granted.discard)(stage)
        if stage == RESUME and type_ in ("StageOpened", "StagePartiallyOpened"):
            self._resumes = set()  # it is used once
        says = self.policy is not None and type_ in ("StageOpened", "StagePartiallyOpened", "StageResumed")
        unasked = stage not in self._granted and (says or touches or type_ == "StageApplying")
        if unasked or (says and stage in self._reverted):
            raise Broken("events.jsonl", "votes", f"event {seq} opens {stage} without votes", seq)

    def _has_quorum(self, stage: str, plan: dict[str, Any]) -> bool:
        policy = self.policy or {}
        base = stage.partition("+")[0]
        declared = next((one for one in policy["stages"] if one["name"] == base), None)
        votes = (policy.get("resume") or {}).get("votes") if stage == RESUME else (declared or {}).get("votes")
        if not votes:
            return False
        flows = {one["name"]: one["application"] for one in policy["flows"]}
        opens = {flows[name] for name in (declared or {}).get("flows", ())}
        busy = {plan["proposer"], *plan["votes"]}
        standing = {
            name: self._standing(policy, name, vote["at"], opens=opens, busy=busy)
            for name, vote in plan["votes"].items()
            if name != plan["proposer"]
        }
        return seated(votes, standing)

    def _standing(
        self, policy: dict[str, Any], name: str, at: str, *, opens: Any = None, busy: Any = (), granted: bool = True
    ) -> dict[str, list[str]]:
        """role -> by whose authority the person holds it at that time. `opens`: applications, for an application owner's vote."""
        now, person = moment(at), person_of(policy, name)
        turns = [
            duty["role"]
            for duty in policy.get("duties", ())
            for turn in duty["turns"]
            if turn["person"] == name and moment(turn["starts"]) <= now < moment(turn["ends"])
        ]
        found: dict[str, list[str]] = {}
        for role in [*person.get("roles", ()), *turns] if person else ():
            if role != "application-owner" or opens is None or owned(policy, person) & opens:
                found.setdefault(role, []).append(name)
        loans = [*policy.get("delegations", ()), *(self._loans.values() if granted else ())] if person else []
        for loan in loans:
            revoked = self._loans.get(str(loan.get("name")), {}).get("revoked")
            giver = person_of(policy, str(loan.get("giver")))
            if loan.get("taker") != name or not giver or giver["name"] in {name, *busy} or (revoked and moment(revoked) <= now):
                continue
            if not moment(str(loan["starts"])) <= now < moment(str(loan["ends"])):
                continue
            theirs = owned(policy, giver) & set(loan.get("applications") or owned(policy, giver))
            for role in set(loan["roles"]) & set(giver["roles"]):
                if role != "application-owner" or opens is None or theirs & opens:
                    found.setdefault(role, []).append(giver["name"])
        return found


def signed_since(event: dict[str, Any], seq: int) -> bool:
    """Whether whoever signed its statement had seen the event `seq` in the log."""
    head = vote_statement(event).get("log_head")
    return isinstance(head, dict) and type(head.get("size")) is int and head["size"] > seq


def seated(votes: dict[str, int], standing: dict[str, dict[str, list[str]]]) -> bool:
    """Whether distinct persons, by distinct authorities, fill every place. Nothing asked for is nothing granted."""
    places = [role for role in sorted(votes) for _ in range(votes[role])]

    def fill(at: int, persons: frozenset[str], authorities: frozenset[str]) -> bool:
        if at == len(places):
            return True
        for name in sorted(set(standing) - persons):
            for authority in sorted(set(standing[name].get(places[at], ())) - authorities):
                if fill(at + 1, persons | {name}, authorities | {authority}):
                    return True
        return False

    return bool(places) and fill(0, frozenset(), frozenset())


def person_of(policy: dict[str, Any], name: str) -> dict[str, Any]:
    return next((one for one in policy["people"] if one["name"] == name), {})


def owned(policy: dict[str, Any], person: dict[str, Any]) -> set[str]:
    """The applications that a person answers for, whichever side says so."""
    named = {one["name"] for one in policy["applications"] if one["owner"] == person.get("name")}
    return named | set(person.get("owns", ()))


def moment(text: str) -> datetime:
    """An RFC 3339 time. Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def check_story(events: Events, can_verify: bool) -> Iterator[dict[str, Any]]:
    """A finding for every event of an opening, or of people's keys, that has not the signatures that it takes."""
    openings = Openings()
    for event in events.story:
        keys = events.keys.get(event["seq"], "")
        try:
            if event["type"] == "DelegationGranted":
                check_delegation(keys, event, can_verify)
            if event["type"] == "PeopleChangeRequested" and openings.policy is not None:
                check_change(keys, event, openings.policy, can_verify)
            openings.follow(event)
        except Broken as error:
            yield error.finding
        except (ValueError, KeyError, TypeError, AttributeError):
            yield Broken("events.jsonl", "changed", f"event {event['seq']} cannot be understood", event["seq"]).finding


# 5. Files


def read(folder: Path, name: str) -> bytes:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise Broken(name, "missing", f"{name} is missing, or is no regular file")
    return path.read_bytes()


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def files_of(folder: Path) -> list[str]:
    """Every file, by its name with slashes; links are named and not followed."""
    names = []
    for base, folders, files in os.walk(str(folder)):
        for name in files + [name for name in folders if Path(base, name).is_symlink()]:
            names.append(Path(base, name).relative_to(folder).as_posix())
    return sorted(names)


def check_files(folder: Path) -> Iterator[dict[str, Any]]:
    """A finding for every file that is not what SHA256SUMS says."""
    try:
        text = read(folder, "SHA256SUMS").decode("utf-8", "replace")
    except Broken as error:
        yield error.finding
        return
    listed = dict(reversed(match) for match in re.findall(r"(?m)^([0-9a-f]{64})  ([A-Za-z0-9._/+-]+)$", text))
    if "".join(f"{listed[name]}  {name}\n" for name in sorted(listed)) != text:
        yield Broken("SHA256SUMS", "changed", "it is not in its form: digest, name, one a line, sorted").finding
    present = files_of(folder)
    for name in sorted({*listed, *present} - {*NOT_IN_SUMS}):
        if name not in present:
            yield Broken(name, "missing", f"{name} is listed in SHA256SUMS and missing").finding
        elif name not in listed:
            yield Broken(name, "added", f"{name} is not listed in SHA256SUMS").finding
        elif (folder / name).is_symlink() or sha256(folder / name) != listed[name]:
            yield Broken(name, "changed", f"{name} does not have the digest that SHA256SUMS gives").finding


def check_manifest(folder: Path, events: Events) -> None:
    """That the manifest and the list of votes speak of these events and files. Raises Broken."""
    count = len(events.leaves)
    try:
        manifest = parse(read(folder, "manifest.json").decode("utf-8"))
        said = (manifest["size"], manifest["root"], manifest["rehearsal"])
        names, files = [name for name in files_of(folder) if name not in NOT_IN_MANIFEST], manifest["files"]
    except (ValueError, KeyError, TypeError):
        raise Broken("manifest.json", "changed", "the manifest cannot be understood") from None
    if said != (count, roots_at(events.leaves, {count})[count], events.rehearsal):
        raise Broken("manifest.json", "changed", "the manifest speaks of other events")
    if files != {name: sha256(folder / name) for name in names}:
        raise Broken("manifest.json", "changed", "the manifest speaks of other files")
    if read(folder, "votes/index.tsv").decode("utf-8", "replace") != "".join(map(vote_row, events.votes)):
        raise Broken("votes/index.tsv", "changed", "it does not list the votes of the events")


# The whole


class Report:
    """Runs the checks and keeps what they find, in order."""

    def __init__(self) -> None:
        self.findings: list[dict[str, Any]] = []

    def attempt(self, check: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return check(*arguments)
        except Broken as error:
            self.findings.append(error.finding)
            return None


def verify_folder(folder: Path, trusted: list[str] | None, known_heads: list[tuple[int, str]]) -> dict[str, Any]:
    """The report on an export in a folder. Never raises for what the export holds."""
    report, not_checked = Report(), []
    can_verify = shutil.which("ssh-keygen") is not None
    try:
        root = read_checkpoint(folder)[1]
    except Broken:
        root = ""  # said below, after what the events themselves tell
    events = report.attempt(read_events, folder, root)  # 1
    checkpoint = report.attempt(read_checkpoint, folder)  # 2
    if events and checkpoint:
        report.attempt(check_checkpoint, events, *checkpoint)
    for head in sorted(known_heads) if events else []:
        report.attempt(check_known_head, events, *head)
    signers = report.attempt(site_signers, folder, trusted)
    if not can_verify:
        not_checked.append("signatures: there is no ssh-keygen on this machine")
    elif signers:  # 3
        report.attempt(check_site_signature, folder, signers, "checkpoint", CHECKPOINT_NAMESPACE)
        report.attempt(check_site_signature, folder, signers, "SHA256SUMS", EXPORT_NAMESPACE)
    people = (report.attempt(read, folder, "allowed_signers") or b"").decode("utf-8", "replace")
    before = len(report.findings)
    for vote in events.votes if events else []:  # 4
        report.attempt(check_vote, folder, events.keys.get(vote["seq"], people), vote, can_verify)
    for ratification in events.ratifications if events else []:
        report.attempt(check_ratification, events.keys[ratification["seq"]], ratification, can_verify)
    report.findings.extend(check_story(events, can_verify) if events else ())
    votes_hold = len(report.findings) == before
    report.findings.extend(check_files(folder))  # 5
    if events and votes_hold:
        report.attempt(check_manifest, folder, events)
    anchored = trusted is not None and not not_checked
    return {
        "verdict": BROKEN if report.findings else GENUINE if anchored else NOT_ANCHORED,
        "first": report.findings[0] if report.findings else None,
        "findings": report.findings,
        "not_checked": not_checked,
        "events": len(events.leaves) if events else None,
        "votes": len(events.votes) if events else None,
        "rehearsal": events.rehearsal if events else None,
        "head": f"{checkpoint[0]}:{checkpoint[1]}" if checkpoint else None,
        "trusted_key": trusted is not None,
        "known_heads": len(known_heads),
    }


def unpack(path: Path, folder: Path) -> None:
    """The regular files of a .zip or .tar, into `folder`; nothing may lie outside it, nothing twice. Raises Broken."""
    if zipfile.is_zipfile(str(path)):
        with zipfile.ZipFile(str(path)) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    with archive.open(entry) as source:
                        place(path.name, entry.filename, source, folder)
        return
    with tarfile.open(str(path)) as tar:
        for member in tar:
            if not member.isdir():
                content = tar.extractfile(member) if member.isfile() else None
                place(path.name, member.name, content, folder)


def place(archive: str, name: str, source: Any, folder: Path) -> None:
    """Writes one file of an archive. Raises Broken for what is no file, has a name of its own ideas, or comes twice."""
    if source is None or not re.match(r"^\w[\w.+-]*(/\w[\w.+-]*)*$", name, re.ASCII) or (folder / name).exists():
        raise Broken(archive, "changed", f"the archive holds something that it must not: {name!r}")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("wb") as copy:
        shutil.copyfileobj(source, copy)


def unpacked(path: Path, folder: Path) -> Path:
    """Where the export lies that the archive holds. Raises Broken."""
    try:
        unpack(path, folder)
    except Broken:
        raise
    except Exception as error:  # a damaged archive fails in many ways, all of them with the same meaning
        raise Broken(path.name, "changed", f"it cannot be unpacked: {error}") from error
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def verify(path: Path, trusted: list[str] | None = None, known_heads: list[tuple[int, str]] | None = None) -> dict[str, Any]:
    """The report on an export: a folder, or an archive of one. `trusted`: public keys as `type base64`."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            folder = path if path.is_dir() else unpacked(path, Path(temporary))
            return verify_folder(folder, trusted, known_heads or [])
        except Broken as error:
            finding = error.finding
        except OSError:
            raise  # of this machine
        except Exception as error:  # what no server has written fails in many ways, all of them with the same meaning
            finding = Broken(path.name, "changed", f"it holds what no export holds: {type(error).__name__} {error}").finding
    return {"verdict": BROKEN, "first": finding, "findings": [finding], "not_checked": [], "events": None}


def known_head(text: str) -> tuple[int, str]:
    size, _colon, root = text.partition(":")
    if not size.isdigit() or not re.match(r"^[0-9a-f]{64}$", root):
        raise argparse.ArgumentTypeError("a head is SIZE:ROOT, the root being 64 hexadecimal digits")
    return int(size), root


def print_report(report: dict[str, Any]) -> None:
    for finding in report["findings"]:
        place = finding["file"] if finding["event"] is None else f"{finding['file']}, event {finding['event']}"
        print(f"{finding['problem'].upper()}: {place}: {finding['detail']}")
    for note in report["not_checked"]:
        print(f"NOT CHECKED: {note}")
    if report["events"] is not None:
        kind = " of a REHEARSAL" if report["rehearsal"] else ""
        print(f"{report['events']} events{kind}, {report['votes']} votes, head {report['head']}")
    if report["verdict"] == NOT_ANCHORED:
        print("give --trusted-key with the site key that you know from elsewhere, and --known-head if you have one")
    print(f"verdict: {report['verdict']}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trusted-key", metavar="FILE", help="the site's public key, from elsewhere than the export")
    parser.add_argument("--known-head", metavar="SIZE:ROOT", type=known_head, action="append", default=[], help="may be repeated")
    parser.add_argument("--json", action="store_true", help="the whole report as one JSON object")


def run(options: argparse.Namespace) -> int:
    """Verifies and prints; the exit code. Raises ValueError, OSError for arguments that cannot be used."""
    trusted = None
    if options.trusted_key:
        trusted = public_keys(Path(options.trusted_key).read_text(encoding="utf-8"))
        if not trusted:
            raise ValueError(f"{options.trusted_key} holds no public key")
    if not Path(options.path).exists():
        raise ValueError(f"{options.path} does not exist")
    report = verify(Path(options.path), trusted, options.known_head)
    if options.json:
        print(json.dumps(report, ensure_ascii=False, sort_keys=True))
    else:
        print_report(report)
    return EXIT_CODES[report["verdict"]]


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(3, f"{self.format_usage()}{message}\n")  # not argparse's 2, which here means broken


def main() -> int:
    parser = Parser(description="Verifies an export of the restoration log, offline.")
    parser.add_argument("path", nargs="?", default=str(Path(__file__).resolve().parent), help="folder, .zip or .tar (default: here)")
    add_arguments(parser)
    options = parser.parse_args()
    try:
        return run(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
