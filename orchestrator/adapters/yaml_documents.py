"""YAML with line numbers: every value knows its line, and two equal keys are refused.

ruamel.yaml keeps positions and refuses duplicate keys by itself; PyYAML silently keeps the last of two.
pydantic's error locations are walked back to the line of the nearest value that exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from orchestrator.errors import Finding, PolicyError

Key = str | int


@dataclass(frozen=True)
class Document:
    """One YAML file: its path as given, and its tree with positions."""

    file: str
    root: CommentedMap

    def line(self, path: Iterable[Key]) -> int:
        """The line (1-based) of the value at `path`, or of the nearest ancestor that exists."""
        node: Any = self.root
        line = 1
        for key in path:
            try:
                if isinstance(node, CommentedMap) and key in node:
                    line = int(node.lc.key(key)[0]) + 1
                elif isinstance(node, CommentedSeq) and isinstance(key, int):
                    line = int(node.lc.item(key)[0]) + 1
                else:
                    break
                node = node[key]
            except (KeyError, IndexError, TypeError, AttributeError):
                break
        return line

    def finding(self, path: Iterable[Key], message: str, advice: str) -> Finding:
        return Finding(self.file, self.line(path), message, advice)


def read_document(path: Path) -> Document:
    """Reads one YAML file whose top level is a mapping.

    Raises PolicyError (file, line, message, advice) for unreadable files, bad YAML and duplicate keys.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(
            (Finding(str(path), 1, f"cannot be read: {error}", "check the path, its rights and that it is UTF-8"),)
        ) from error
    try:
        root = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or str(error)).strip().splitlines()[0]
        advice = "remove one of the two" if "duplicate key" in problem else "mend the YAML at this line (indentation, quotes, brackets)"
        raise PolicyError((Finding(str(path), (mark.line if mark else 0) + 1, problem, advice),)) from error
    except YAMLError as error:
        raise PolicyError((Finding(str(path), 1, f"is not YAML: {error}", "mend the file"),)) from error
    if not isinstance(root, CommentedMap):
        raise PolicyError((Finding(str(path), 1, "the top level must be a mapping", "start the file with `name: value` lines"),))
    return Document(str(path), root)


def plain(node: Any) -> Any:
    """The tree as plain dicts, lists and scalars (no positions)."""
    if isinstance(node, CommentedMap):
        return {str(key) if not isinstance(key, str) else key: plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def validation_findings(document: Document, prefix: Sequence[Key], error: ValidationError) -> tuple[Finding, ...]:
    """pydantic's errors as findings with file and line; `prefix` is where the validated value stands."""
    findings = []
    for item in error.errors(include_url=False):
        path = [*prefix, *(part for part in item["loc"] if isinstance(part, str | int))]
        where = ".".join(str(part) for part in path)
        advice = {
            "extra_forbidden": "remove this key or correct its spelling",
            "missing": "add this key",
        }.get(item["type"], "see docs/policy.md and docs/inventory.md for what is expected here")
        findings.append(document.finding(path, f"{where}: {item['msg']}", advice))
    return tuple(findings)
