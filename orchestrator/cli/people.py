"""`orchestrator people`: who is there, with which keys; change keys by what others sign; revoke, stop, end sessions."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.cli.client import Client, add_options, show
from orchestrator.cli.exit_codes import OK
from orchestrator.cli.signing import sign
from orchestrator.domain.plain_text import shown
from orchestrator.errors import UsageError

NAMESPACE = "reconnect-people@v1"
ACTIONS = ("add-key", "remove-key", "re-enrol", "remove-person")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("people", help="people and their keys", description=__doc__)
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add(verbs, "list", "who there is, with roles", run_list)
    keys = _add(verbs, "keys", "the keys that count, and those that were taken away", run_keys)
    keys.add_argument("--out", type=Path, metavar="FILE", help="write them as an allowed_signers file, to be ratified")
    _add(verbs, "changes", "changes of keys: pending, in force, stopped", run_changes)
    statement = _add(verbs, "statement", "the text that others sign to change somebody's keys", run_statement)
    statement.add_argument("change", choices=ACTIONS)
    statement.add_argument("concerned", metavar="PERSON", help="whose keys")
    statement.add_argument("--add", type=Path, action="append", default=[], metavar="FILE.pub", help="a public key (repeatable)")
    statement.add_argument("--remove", action="append", default=[], metavar="SHA256:…", help="a key's fingerprint (repeatable)")
    statement.add_argument("--reason", required=True, metavar="TEXT")
    statement.add_argument("--out", type=Path, metavar="FILE", help="write it there (default: standard output)")
    signing = verbs.add_parser("sign", help="sign such a text; needs no server: FILE.sig is what you give back")
    signing.add_argument("statement", type=Path, metavar="FILE")
    signing.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="your private key, or the public one of a key in your agent"
    )
    signing.add_argument("--out", type=Path, metavar="FILE", help="where the signature goes (default: the statement's name and .sig)")
    signing.set_defaults(func=run_sign)
    submit = _add(verbs, "submit", "hand in what enough people have signed", run_submit)
    submit.add_argument("statement", type=Path, metavar="FILE")
    submit.add_argument("--signature", type=Path, action="append", required=True, metavar="FILE.sig", help="once per person")
    stop = _add(verbs, "stop", "stop a pending change: one officer, or the person concerned", run_stop)
    stop.add_argument("change", metavar="CHANGE", help="as `orchestrator people changes` names it")
    stop.add_argument("--reason", required=True, metavar="TEXT")
    revoke = _add(verbs, "revoke", "take a key away, at once and for good", run_revoke)
    revoke.add_argument("concerned", metavar="PERSON", help="whose key")
    revoke.add_argument("fingerprint", metavar="SHA256:…", help="as `orchestrator people keys` shows it")
    revoke.add_argument("--reason", required=True, metavar="TEXT")
    sessions = _add(verbs, "end-sessions", "end every session of a person, at once", run_end_sessions)
    sessions.add_argument("concerned", metavar="PERSON", help="whose")
    sessions.add_argument("--reason", default="", metavar="TEXT")


def _add(verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help_: str, run: Any) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=help_)
    add_options(parser)
    parser.set_defaults(func=run)
    return parser


def run_list(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/people")
    show(
        arguments,
        answer,
        "\n".join(f"{one['person']}: {one['title']} ({', '.join(one['roles']) or 'no role of their own'})" for one in answer),
    )
    return OK


def run_keys(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/people/keys")
    if arguments.out is not None:
        arguments.out.write_text(answer["allowed_signers"], encoding="utf-8")
    lines = [f"{key['person']}: {key['fingerprint']} ({key['type']}){_limits(key)}" for key in answer["keys"]]
    lines += [
        f"{key['person']}: {key['fingerprint']} taken away at {key['at']} by {key['by']}: {key['reason']}" for key in answer["revoked"]
    ]
    show(arguments, answer, "\n".join(lines))
    return OK


def run_changes(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).get("/v1/people/changes")
    show(arguments, answer, "\n".join(map(_line, answer)) or "no key was changed since the ratification")
    return OK


def run_statement(arguments: argparse.Namespace) -> int:
    """Exit 0; the text goes to a file or to standard output, exactly as it is signed."""
    query: dict[str, str | list[str]] = {"action": arguments.change, "person": arguments.concerned, "reason": arguments.reason}
    if arguments.add:
        query["key"] = [_read(path).strip() for path in arguments.add]
    if arguments.remove:
        query["remove"] = arguments.remove
    answer = Client(arguments).get("/v1/people/statement", **query)
    if arguments.out is None:
        print(json.dumps(answer) if arguments.json else answer["statement"], end="\n" if arguments.json else "")
        return OK
    arguments.out.write_text(answer["statement"], encoding="utf-8")
    show(arguments, answer, f"{arguments.out}: {answer['needed']} of {', '.join(answer['signers'])} sign it: orchestrator people sign")
    return OK


def run_sign(arguments: argparse.Namespace) -> int:
    """Shows what is signed; asks no server."""
    text = _read(arguments.statement)
    try:
        said = json.loads(text)
        if said["what"] != "people":
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{arguments.statement} is no statement about people", advice="orchestrator people statement") from None
    print(shown(_to_be_signed(said)))
    target = arguments.out or arguments.statement.with_name(arguments.statement.name + ".sig")
    target.write_text(sign(arguments.key, NAMESPACE, text), encoding="ascii")
    print(f"{target}: give it to whoever hands it in")
    return OK


def run_submit(arguments: argparse.Namespace) -> int:
    body = {"statement": _read(arguments.statement), "signatures": [_read(path) for path in arguments.signature]}
    answer = Client(arguments).post("/v1/people/changes", body)
    show(arguments, answer, _line(answer))
    return OK


def run_stop(arguments: argparse.Namespace) -> int:
    answer = Client(arguments).post(f"/v1/people/changes/{quote(arguments.change, safe='')}/stop", {"reason": arguments.reason})
    show(arguments, answer, _line(answer))
    return OK


def run_revoke(arguments: argparse.Namespace) -> int:
    body = {"fingerprint": arguments.fingerprint, "reason": arguments.reason}
    answer = Client(arguments).post(f"/v1/people/{quote(arguments.concerned, safe='')}/keys/revoke", body)
    left = ", ".join(answer["keys_left"]) or f"none: {answer['needed']} of {', '.join(answer['signers'])} can enrol another"
    show(arguments, answer, f"{answer['revoked']} of {answer['person']} does not count any more; keys left: {left}")
    return OK


def run_end_sessions(arguments: argparse.Namespace) -> int:
    path = f"/v1/people/{quote(arguments.concerned, safe='')}/sessions/revoke"
    answer = Client(arguments).post(path, {"reason": arguments.reason})
    show(arguments, answer, f"{answer['person']}: {answer['sessions']} sessions ended")
    return OK


def _line(change: dict[str, Any]) -> str:
    until = (
        f"in force at {change['in_force_at']} unless it is stopped"
        if change["state"] == "pending"
        else f"{change['state']} since {change['ended_at']}"
    )
    why = f" ({change['ended_because']})" if change["ended_because"] else ""
    what = f"{change['action']} of {change['person']}: {change['reason']}"
    return f"{change['change']}: {what}; signed by {', '.join(change['signed_by'])}; {until}{why}"


def _limits(key: dict[str, Any]) -> str:
    parts = [f"from {key['valid_after']}" if key["valid_after"] else "", f"until {key['valid_before']}" if key["valid_before"] else ""]
    return "".join(f", {part}" for part in parts if part)


def _to_be_signed(said: dict[str, Any]) -> str:
    adds = "".join(f"\n  adds     {key}" for key in said["adds"])
    removes = "".join(f"\n  removes  {key}" for key in said["removes"])
    return f"{said['action']} of {said['person']}, {said['site']}: {said['reason']}{adds}{removes}\n  expires {said['expires']}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
