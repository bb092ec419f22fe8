"""The floor: asyncssh on one event loop, one `nft -f -` per device, nothing else. `floor_asyncssh.py DEVICES LAYER`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import asyncssh


async def lay(device: dict[str, Any], key: str, known_hosts: str, text: str) -> None:
    connection = asyncssh.connect(
        device["address"], username=device["user"], client_keys=[key], known_hosts=known_hosts, config=None, agent_path=None
    )
    async with connection as session:
        await session.run("nft -f -", input=text, check=True)


async def main(devices_file: str, layer_file: str) -> None:
    given = json.loads(Path(devices_file).read_text())
    text = Path(layer_file).read_text()
    await asyncio.gather(*(lay(device, given["key"], given["known_hosts"], text) for device in given["devices"]))


asyncio.run(main(*sys.argv[1:]))
