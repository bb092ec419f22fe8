"""docs/approval-with-curl.md, run as it stands: an approval with curl and ssh-keygen only, against a server process."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.api.state_directory import ROOT, cut_off_in


def test_the_page_opens_a_stage(tmp_path: Path) -> None:
    page = (ROOT / "docs/approval-with-curl.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    state = cut_off_in(tmp_path, ("eng-1", "eng-2", "commander", "rssi"))
    work = tmp_path / "work"
    work.mkdir()
    with state.serving():
        done = subprocess.run(
            ["bash", "-u"],
            input="\n".join(blocks),
            cwd=work,
            env={**state.environment, "SOCKET": str(state.socket), "KEYS": str(state.keys)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    lines = done.stdout.splitlines()
    assert "P0-lifelines is open" in lines, done.stdout + done.stderr
    assert lines.index("awaiting-approval") < lines.index("approved") < lines.index("applying")
    refusal = lines[-1]
    assert refusal.startswith("409 predecessor-not-open: P4-images: ")
    assert refusal in page, "the page shows what is really answered"
