"""YAML with line numbers: every value knows its line, and two equal keys are refused.

ruamel.yaml keeps positions and refuses duplicate keys by itself; PyYAML silently keeps the last of two.
pydantic's error locations are walked back to the line of the nearest value that exists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from orchestrator.errors import Finding, PolicyError

Key = str | int
MOST_VALUES = 1_000_000
MOST_BYTES = 64 * 1024 * 1024
DEEPEST = 60


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
    if path.exists() and not path.is_file():  # a pipe would be waited for, a device read until the memory is full
        raise PolicyError((Finding(str(path), 1, "cannot be read: it is no file", "put a file there, or take it away"),))
    try:
        if path.stat().st_size > MOST_BYTES:
            raise PolicyError((Finding(str(path), 1, f"is larger than {MOST_BYTES // 1024 // 1024} MiB", "split it into several files"),))
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(
            (Finding(str(path), 1, f"cannot be read: {error}", "check the path, its rights and that it is UTF-8"),)
        ) from error
    if _is_deep(text):
        raise PolicyError((Finding(str(path), 1, f"is nested more than {DEEPEST} levels deep", "write it flatter"),))
    try:
        root = _tree(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = (error.problem or str(error)).strip().splitlines()[0]
        advice = "remove one of the two" if "duplicate key" in problem else "mend the YAML at this line (indentation, quotes, brackets)"
        raise PolicyError((Finding(str(path), (mark.line if mark else 0) + 1, problem, advice),)) from error
    except (YAMLError, ValueError) as error:  # ruamel lets ValueError through for impossible dates and numbers
        problem = str(error).strip().splitlines()[0]
        raise PolicyError((Finding(str(path), 1, f"is not YAML: {problem}", "mend the file"),)) from error
    if not isinstance(root, CommentedMap):
        raise PolicyError((Finding(str(path), 1, "the top level must be a mapping", "start the file with `name: value` lines"),))
    if _is_huge(root):
        raise PolicyError((Finding(str(path), 1, f"expands to more than {MOST_VALUES} values", "write less with `&name` and `*name`"),))
    return Document(str(path), root)


@lru_cache(maxsize=32)
def _tree(text: str) -> Any:
    """The same text gives the same tree: reading is most of the time of a check, and nobody changes the tree."""
    return YAML(typ="rt").load(text)


def _is_deep(text: str) -> bool:
    """Brackets within brackets, or steps of indentation: ruamel's time grows with the square of the depth."""
    depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            if depth > DEEPEST:
                return True
        elif character in "]}":
            depth = max(0, depth - 1)
    return bool(re.search(rf"(?m)^[ -]{{{4 * DEEPEST}}}", text))


def _is_huge(root: Any) -> bool:
    """A few lines of aliases can stand for billions of values: counted before anything walks the tree."""
    left, count = [root], 0
    while left:
        node = left.pop()
        count += 1
        if count > MOST_VALUES:
            return True
        if isinstance(node, CommentedMap):
            left.extend(node.values())
        elif isinstance(node, CommentedSeq):
            left.extend(node)
    return False


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


def mapping_at(document: Document, value: Any, path: Sequence[Key], findings: list[Finding]) -> dict[str, Any]:
    """`value` as a plain mapping; anything else becomes a finding at `path` and counts as empty."""
    if isinstance(value, CommentedMap):
        return dict(value.items())
    if value is not None:
        findings.append(
            document.finding(path, f"{_where(path)}: a mapping is expected, not {_shown(value)}", "write `name: value` lines under it")
        )
    return {}


def validation_findings(
    document: Document, prefix: Sequence[Key], error: ValidationError, *, named: Callable[[tuple[Key, ...]], tuple[Key, ...]] = tuple
) -> tuple[Finding, ...]:
    """pydantic's errors as findings with file and line; `prefix` is where the validated value stands.

    `named` turns a location of the model into one of the file. A value that fits none of several kinds (IPv4 or IPv6)
    is one finding, not one per kind.
    """
    findings: dict[tuple[Key, ...], Finding] = {}
    for item in error.errors(include_url=False):
        inner = tuple(part for part in item["loc"] if isinstance(part, str | int))
        family = re.fullmatch(r"ip_v[46]_(address|network|interface)", item["type"])
        path = (*prefix, *named(inner[:-1] if family else inner))
        if path in findings:
            continue
        message = str(item["msg"]).removeprefix("Value error, ")
        advice = _ADVICE.get(item["type"], "see docs/policy.md and docs/inventory.md for what is expected here")
        if family:
            what, example = _ADDRESSES[family[1]]
            message, advice = f"{_shown(item['input'])} is not {what}", f"write it like {example}"
        elif item["type"] in ("enum", "literal_error", "string_pattern_mismatch"):
            message = f"{_shown(item['input'])}: {message}"
        findings[path] = document.finding(path, f"{_where(path)}: {message}", advice)
    return tuple(findings.values())


_ADVICE = {
    "extra_forbidden": "remove this key or correct its spelling",
    "missing": "add this key",
    "too_short": "give at least one",
    "enum": "use one of those listed",
    "literal_error": "use one of those listed",
    "string_pattern_mismatch": "small letters, digits and hyphens, a letter first (stages begin with a capital)",
    "tuple_type": "write a list: [one, two]",
    "dict_type": "write `name: value` lines, or {name: value}",
}
_ADDRESSES = {
    "address": ("an IPv4 or IPv6 address", '192.0.2.1 or "2001:db8::1"'),
    "network": ("an IPv4 or IPv6 prefix without host bits", '192.0.2.0/24 or "2001:db8::/64"'),
    "interface": ("an IPv4 or IPv6 address with its prefix length", '192.0.2.1/24 or "2001:db8::1/64"'),
}


def _where(path: Sequence[Key]) -> str:
    return ".".join(str(part) for part in path)


def _shown(value: Any) -> str:
    text = repr(plain(value))
    return text if len(text) <= 60 else f"{text[:57]}…"
