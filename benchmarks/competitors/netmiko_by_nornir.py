"""Nornir with Netmiko's `linux` driver, 20 workers: the rules as a here-document. `netmiko_by_nornir.py DEVICES LAYER`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from nornir import InitNornir
from nornir.core.task import Result, Task
from nornir_netmiko.tasks import netmiko_send_command

WORKERS = 20
DONE = "laid-with-status"


def lay(task: Task, text: str) -> Result:
    command = f"nft -f - <<'RULES'\n{text}RULES\necho {DONE} $?"
    answer = task.run(netmiko_send_command, command_string=command, expect_string=rf"{DONE} \d+", cmd_verify=False)
    if f"{DONE} 0" not in answer.result:
        raise RuntimeError(answer.result)
    return Result(host=task.host)


def main(devices_file: str, layer_file: str) -> int:
    given = json.loads(Path(devices_file).read_text())
    options = {"use_keys": True, "key_file": given["key"], "ssh_strict": True, "alt_host_keys": True, "alt_key_file": given["known_hosts"]}
    hosts = {
        device["name"]: {
            "hostname": device["address"], "username": device["user"], "platform": "linux",
            "connection_options": {"netmiko": {"extras": {**options, "fast_cli": True}}},
        }
        for device in given["devices"]
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        files = {name: str(Path(directory) / f"{name}.yaml") for name in ("hosts", "groups", "defaults")}
        for name, file in files.items():
            Path(file).write_text(json.dumps(hosts if name == "hosts" else {}))
        nornir = InitNornir(
            runner={"plugin": "threaded", "options": {"num_workers": WORKERS}},
            inventory={
                "plugin": "SimpleInventory",
                "options": {"host_file": files["hosts"], "group_file": files["groups"], "defaults_file": files["defaults"]},
            },
            logging={"enabled": False},
        )
        answers = nornir.run(task=lay, text=Path(layer_file).read_text())
        if answers.failed:
            print({host: str(answer.exception) for host, answer in answers.failed_hosts.items()}, file=sys.stderr)
        return int(answers.failed)


sys.exit(main(*sys.argv[1:]))
