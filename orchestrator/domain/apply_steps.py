"""The steps of applying a stage, in order: the one list that code, documents and runbook number alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ApplyStep:
    number: int
    en: str
    fr: str


APPLY_STEPS = tuple(
    ApplyStep(number, en, fr)
    for number, (en, fr) in enumerate(
        (
            ("Re-check", "Revérifier"),
            ("The way in", "L'accès d'administration"),
            ("Care before", "Les soins avant"),
            ("Intent", "L'intention"),
            ("Lay", "Poser"),
            ("Read back", "Relire"),
            ("Probe", "Sonder"),
            ("Confirm", "Confirmer"),
            ("Observe", "Observer"),
            ("Open", "Ouvert"),
        ),
        start=1,
    )
)
