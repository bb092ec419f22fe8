"""The process in which ansible-runner runs: the first one of a PID namespace of its own.

Started by `ansible_devices`, which see. Standard library and ansible-runner only. Standard input brings one job,
its length on a line and then its JSON, and stays open: when it ends, the parent has gone or has had enough, and this
process exits at once. With the first process of a PID namespace the kernel ends all others: playbook, workers, ssh masters.

Standard output carries JSON lines: `{"ready": true}`, one `{"event", "host"}` when Ansible begins with a host, one
`{"event", "host", "res"}` per script that ended, and `{"stats": true}` when the playbook came to its end.
"""

from __future__ import annotations

import json
import os
import select
import threading
import time
from pathlib import Path
from typing import Any

OF_A_SCRIPT = ("runner_item_on_ok", "runner_item_on_failed")
OF_A_HOST = ("runner_on_unreachable", "runner_on_failed")  # a host that did not come to its first script
KEPT = ("rc", "stdout", "stderr", "msg", "unreachable", "failed", "module_stderr", "cmd", "timedout")
BEGINS = "runner_on_start"


def main() -> None:
    with os.fdopen(os.dup(0), "rb") as stdin:
        job = json.loads(stdin.read(int(stdin.readline())))
    threading.Thread(target=_end_with_the_parent, args=(time.monotonic() + job["deadline_s"],), daemon=True).start()
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints must not look like an event

    import ansible_runner

    directory = Path(job["directory"])
    for name, content in job["files"].items():
        (directory / name).write_text(content)

    def say(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=out)

    def handle(event: dict[str, Any]) -> bool:
        name, data = event["event"], event.get("event_data", {})
        if name in OF_A_SCRIPT or (name in OF_A_HOST and "results" not in data.get("res", {})):
            say({"event": name, "host": data["host"], "res": {key: data["res"][key] for key in KEPT if key in data["res"]}})
        elif name == BEGINS:
            say({"event": name, "host": data["host"]})
        elif name == "playbook_on_stats":
            say({"stats": True})
        return False  # nothing is kept

    say({"ready": True})
    ansible_runner.run(
        private_data_dir=str(directory), playbook=job["playbook"], inventory=str(directory / "inventory.json"),
        cmdline=f"--forks {job['forks']} -e @{directory / 'scripts.json'}", event_handler=handle, quiet=True,
        suppress_env_files=True, envvars={}, settings={"suppress_ansible_output": True, "pexpect_timeout": 1},
    )  # fmt: skip
    out.flush()
    os._exit(0)


def _end_with_the_parent(expires: float) -> None:
    select.select([0], [], [], max(0.0, expires - time.monotonic()))
    os._exit(70)


if __name__ == "__main__":
    main()
