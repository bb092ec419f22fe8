"""People's words as they are put on record: text that a terminal shows as it is.

A reason with a line break, an escape sequence or a change of writing direction could show others, before they sign,
something else than what is asked of them.
"""

from __future__ import annotations

import unicodedata

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, format, surrogate, line and paragraph separator
_LINES = "\n\t"


def plain(text: str, *, lines: bool = False) -> str:
    """The text. Raises ValueError for what is not shown as it is; with `lines`, line breaks and tabs are."""
    for character in text:
        if unicodedata.category(character) in _UNSEEN and not (lines and character in _LINES):
            raise ValueError(f"U+{ord(character):04X} has no place here: letters, digits, signs and spaces, on one line")
    return text


def shown(text: str) -> str:
    r"""For a terminal, whoever wrote it: what is not shown as it is becomes its `\u…` (line breaks and tabs stay)."""
    strange = {character for character in set(text) if unicodedata.category(character) in _UNSEEN and character not in _LINES}
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in strange}) if strange else text
