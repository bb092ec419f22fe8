"""What people are told to type exists: every command that an advice names, with its options, is one of the command line's."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import VERBS, _parser

SOURCE = Path(__file__).parents[2] / "orchestrator"
_COMMAND = re.compile(r"(?:^|[;:,(] ?|\bor |\bthen )orchestrator ([a-z][a-z-]*)((?: [^\s;,:)]+)*)")


def advices(file: Path) -> Iterator[tuple[int, str]]:
    """The texts of `advice=` and of the third part of an Unmet."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg == "advice"]
        if isinstance(node.func, ast.Name) and node.func.id == "Unmet":
            given += node.args[2:3]
        yield from ((value.lineno, text) for value in given for text in _texts(value))


def _texts(value: ast.expr) -> Iterator[str]:
    if isinstance(value, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "NAME" for part in value.values)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from (*_texts(value.body), *_texts(value.orelse))


def _verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next((dict(action.choices or {}) for action in parser._actions if isinstance(action, argparse._SubParsersAction)), {})


def unknown_in(text: str) -> list[str]:
    """The words of the commands in a text that the command line does not know."""
    found = []
    for verb, rest in _COMMAND.findall(text):
        if verb not in VERBS:
            found.append(verb)
            continue
        parser = _verbs_of(_parser(verb))[verb]
        words = rest.split()
        actions = _verbs_of(parser)
        if actions and words and re.fullmatch(r"[a-z][a-z-]+", words[0]):
            if words[0] not in actions:
                found.append(f"{verb} {words[0]}")
                continue
            parser = actions[words[0]]
        options = {option for action in parser._actions for option in action.option_strings}
        found += [f"{verb} … {word}" for word in words if word.startswith("--") and word not in options]
    return found


def test_every_command_that_an_advice_names_exists() -> None:
    checked = 0
    wrong = []
    for file in SOURCE.rglob("*.py"):
        for line, text in advices(file):
            checked += len(_COMMAND.findall(text))
            wrong += [f"{file.relative_to(SOURCE)}:{line}: {what}" for what in unknown_in(text)]
    assert wrong == []
    assert checked > 40, "the search finds them at all"


@pytest.mark.parametrize(
    "text",
    ["orchestrator unblock", "orchestrator block grant --all U1", "do this; or: orchestrator lift agree X", "then orchestrator cutof"],
)
def test_the_search_sees_what_does_not_exist(text: str) -> None:
    assert unknown_in(text)
