"""Where `serve` makes its socket, and where it refuses to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from orchestrator.cli.exit_codes import BAD_INPUT

ROOT = Path(__file__).parents[2]


def test_a_socket_in_a_directory_that_is_not_there_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    state, missing = tmp_path / "state", tmp_path / "slip" / "of-the-pen"
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "serve", "--socket", str(missing / "api.sock")],
        cwd=ROOT, env={**os.environ, "ORCHESTRATOR_STATE": str(state)}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == BAD_INPUT, done.stdout + done.stderr
    assert f"{missing}, the directory of the socket, is not there" in done.stderr
    assert "--socket" in done.stderr
    assert not missing.parent.exists()
    assert not state.exists(), "it was refused before anything was begun"
