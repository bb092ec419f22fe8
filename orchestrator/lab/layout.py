"""Where a rehearsal hospital keeps its things: names of namespaces, and the state directory.

    <directory>/                     0700; `hospital.json` marks it as ours, `lock` serialises up and down
        state/                       the orchestrator's own state directory; the hospital puts three things there:
        state/keys/{cut,open,probe}_ed25519(.pub)
        state/known_hosts            host keys of every management address
        state/probe-authorities.pem  whose certificates a TLS probe believes; its key is state/keys/authority.pem
        nodes/<node>/                the node's disk: rc, etc/, varlib/, sbin/, … and boot.log, holder (its process id)

Several hospitals can run at once: the namespaces of each start with its name and a dash. A name has no dash of its
own, so that no hospital's prefix matches the namespaces of another.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError

STATE_ROOT = Path("/run/orchestrator-lab")
SEGMENTS, ADMIN = "segments", "admin"  # the two namespaces that are no node of the inventory
_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")


def default_directory(name: str) -> Path:
    """The state directory used where none is given."""
    return STATE_ROOT / name


@dataclass(frozen=True)
class Layout:
    """Raises UsageError for a name that could not be a prefix of its own."""

    name: str
    directory: Path

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot name a rehearsal hospital", advice="use up to 12 lower-case letters and digits, a letter first"
            )

    @property
    def prefix(self) -> str:
        return f"{self.name}-"

    def namespace(self, node: str) -> str:
        return self.prefix + node

    @property
    def marker(self) -> Path:
        return self.directory / "hospital.json"

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def keys(self) -> Path:
        return self.state / "keys"

    @property
    def state(self) -> Path:
        """The state directory of the orchestrator that drives this hospital; the hospital puts `known_hosts` there."""
        return self.directory / "state"

    @property
    def known_hosts(self) -> Path:
        return self.state / "known_hosts"

    @property
    def authority(self) -> Path:
        """The certificate of the hospital's own authority, where the orchestrator's TLS probes look for whom to trust."""
        return self.state / "probe-authorities.pem"

    @property
    def authority_key(self) -> Path:
        return self.keys / "authority.pem"

    def disk(self, node: str) -> Path:
        return self.directory / "nodes" / node

    def key(self, which: str) -> Path:
        """The private key `cut`, `open` or `probe`."""
        return self.keys / f"{which}_ed25519"

    def claim(self) -> None:
        """Makes the directory (0700). Raises UsageError when it belongs to something else."""
        if self.directory.exists() and not self.is_ours():
            raise UsageError(f"{self.directory} is not the state of hospital {self.name!r}", advice="give another --lab-dir")
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory.chmod(0o700)

    def create(self) -> None:
        """Marks the directory as ours, and makes what every hospital has in it."""
        self.marker.write_text(json.dumps({"hospital": self.name}) + "\n")
        self.state.mkdir(exist_ok=True, mode=0o700)
        self.keys.mkdir(exist_ok=True, mode=0o700)

    def is_ours(self) -> bool:
        """Whether the directory was made by a hospital of this name, or holds nothing."""
        if self.marker.exists():
            try:
                return bool(json.loads(self.marker.read_text())["hospital"] == self.name)
            except (OSError, ValueError, KeyError):
                return False
        return self.directory.is_dir() and {path.name for path in self.directory.iterdir()} <= {self.lock.name}
