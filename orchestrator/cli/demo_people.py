"""The people of the rehearsal: each gets an SSH key of their own, made for this run and gone with it."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from orchestrator.domain.people import Person
from orchestrator.domain.policy_words import Role
from orchestrator.domain.votes import assignment

NAMESPACES = "orchestrator-login@v1,reconnect-approval@v1,reconnect-delegation@v1,policy-ratification@v1"


class People:
    """Keys in `directory`, one file per person."""

    def __init__(self, people: Iterable[Person], directory: Path) -> None:
        self._people = {person.name: person for person in people}
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in self._people:
            if not self.key(name).exists():
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.key(name))]
                subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def key(self, person: str) -> Path:
        return self._directory / person

    def allowed_signers(self) -> str:
        """The OpenSSH `allowed_signers` file of all of them."""
        lines = []
        for name in sorted(self._people):
            kind, blob, *_ = self.key(name).with_suffix(".pub").read_text(encoding="utf-8").split()
            lines.append(f'{name} namespaces="{NAMESPACES}" {kind} {blob}')
        return "\n".join(lines) + "\n"

    def sign(self, person: str, namespace: str, file: Path) -> Path:
        """Signs a file as that person with stock ssh-keygen; returns the signature's path (`file.sig`, renamed)."""
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-f", str(self.key(person)), "-n", namespace, str(file)],
            check=True, stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
        signature = file.with_name(f"{file.name}.{person}.sig")
        file.with_name(f"{file.name}.sig").rename(signature)
        return signature

    def quorum(
        self, required: Mapping[Role, int], *, besides: Collection[str] = (), genesis: bool = False, owners: Collection[str] | None = None
    ) -> list[str]:
        """The fewest people who fill every place, none of them among `besides`; owners only of the applications concerned."""
        roles = {
            name: [role for role in person.roles if role is not Role.APPLICATION_OWNER or owners is None or name in owners]
            for name, person in self._people.items()
            if name not in besides and (person.genesis or not genesis)
        }
        chosen = assignment(required, roles)
        if chosen is None:
            raise ValueError(f"nobody can fill {dict(required)}")
        return sorted(chosen)
