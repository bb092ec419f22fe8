"""People's words are shown as they are, or not put on record at all."""

from __future__ import annotations

import pytest

from orchestrator.domain.plain_text import plain, shown
from orchestrator.domain.statement import read_statement
from orchestrator.errors import UsageError
from tests.service.reopening import after_the_cut

STRANGE = ("\x1b[2J", "a\nb", "a\rb", "\x00", "\u009b2J", "\u202efdp", "\u2066x", "\u2028", "zero\u200bwidth", "\ud800")


@pytest.mark.parametrize("text", STRANGE)
def test_what_a_terminal_would_show_otherwise_is_refused_and_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"^U\+[0-9A-F]{4} has no place here"):
        plain(text)
    assert all(character.isprintable() or character == "\n" for character in shown(text))


def test_french_and_figures_pass_as_they_are() -> None:
    for text in ("Décision n° 12 : œuvre « à chaud » — 3 × 4 h, 50 %", "ligne", ""):
        assert plain(text) == shown(text) == text
    assert plain("one\n\ttwo", lines=True) == shown("one\n\ttwo")
    with pytest.raises(ValueError, match=r"U\+001B"):
        plain("one\n\x1b[A", lines=True)
    assert shown("\x1b[2Jgone") == "\\u001b[2Jgone"


def test_a_vote_says_its_reason_on_one_line() -> None:
    reopening = after_the_cut(approved="P0-lifelines")
    statement = reopening.stages.vote_statement("eng-3", "P0-lifelines", "deny", "no")
    read_statement(statement)
    with pytest.raises(UsageError):
        read_statement(statement.replace('"reason":"no"', '"reason":"no\\nyou approve"'))
