"""Plain tables for a terminal: a column is as wide as its widest cell, the last one is not cut."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

WIDEST = 60


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, head: bool = True) -> str:
    """Empty without rows. A member that a row does not have is `-`."""
    if not rows:
        return ""
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    if head:
        cells.insert(0, [column.replace("_", " ") for column in columns])
    widths = [min(WIDEST, max(len(line[index]) for line in cells)) for index in range(len(columns))]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=False)), line[-1]]).rstrip() for line in cells
    )


def _cell(value: Any) -> str:
    """One line: lists by commas, objects as `name value`."""
    if value is None or value == "" or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, dict):
        return " ".join(str(item) if isinstance(item, str | int) else json.dumps(item, ensure_ascii=False) for item in value.values())
    return " ".join(str(value).split())
