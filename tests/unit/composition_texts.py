"""What a device would hold after the rendered text, put down as the device lists it, for the real parsers to read.

No device is imitated further than these scripts need: commands that they do not contain are an error here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from orchestrator.dialects.base import Script
from orchestrator.dialects.iptables import IptablesDialect
from orchestrator.dialects.iptables_rules import HOOKS
from orchestrator.dialects.nftables import NftablesDialect
from orchestrator.dialects.nftables_rules import TABLE, as_listed
from orchestrator.domain.layer import Observed

EPOCH, CONFIRM = 7, 300


@dataclass
class NftTable:
    """The table that `nft -f -` would make of scripts."""

    sets: dict[str, list[str]] = field(default_factory=dict)
    chains: dict[str, list[str]] = field(default_factory=dict)
    elements: dict[str, dict[str, str]] = field(default_factory=dict)  # set → key → what follows it

    def run(self, script: Script) -> None:
        for line in script.filled(epoch=EPOCH, confirm=CONFIRM).text.splitlines():
            verb, kind, rest = line.split(" ", 2)
            name, _, body = rest.removeprefix(TABLE).strip().partition(" ")
            getattr(self, f"_{verb}_{kind}")(name, body)

    def _add_table(self, name: str, body: str) -> None: ...

    def _add_set(self, name: str, body: str) -> None:
        self.sets.setdefault(name, [part.strip() for part in body.strip("{ }").split(";") if part.strip()])

    def _flush_set(self, name: str, _: str) -> None:
        self.elements[name] = {}

    def _add_chain(self, name: str, body: str) -> None:
        lines = self.chains.setdefault(name, [])
        if body:
            lines.insert(0, body.strip("{ }"))

    def _flush_chain(self, name: str, _: str) -> None:
        self.chains[name] = [line for line in self.chains[name] if line.startswith("type ")]

    def _delete_chain(self, name: str, _: str) -> None:
        del self.chains[name]

    def _add_rule(self, name: str, body: str) -> None:
        self.chains[name].append(body)

    def _add_element(self, name: str, body: str) -> None:
        for word in body.strip("{ }").split(", "):
            key, _, after = word.partition(" timeout ")
            self.elements.setdefault(name, {})[key] = after

    def _delete_element(self, name: str, body: str) -> None:
        del self.elements[name][body.strip("{ }")]

    def read_back(self) -> Observed:
        lines = [f"table {TABLE} {{"]
        for kind, objects in (("set", self.sets), ("chain", self.chains)):
            for name, body in objects.items():
                lines += [f"\t{kind} {name} {{", *(f"\t\t{as_listed(line)}" for line in body), "\t}"]
        lines.append("}")
        listed = [{"set": {"name": name, "elem": [_json(*one) for one in self.elements.get(name, {}).items()]}} for name in self.sets]
        text = "\n".join(["=== structure", *lines, "=== elements", json.dumps({"nftables": listed}), "=== boot", "=== end", ""])
        return NftablesDialect().parse(text)


def _json(key: str, after: str) -> Any:
    words = [_json_word(word) for word in key.split(" . ")]
    value = {"concat": words} if len(words) > 1 else words[0]
    return {"elem": {"val": value, "timeout": CONFIRM, "expires": CONFIRM}} if after else value


def _json_word(word: str) -> Any:
    word = word.strip('"')
    if word.isdigit():
        return int(word)
    if re.fullmatch(r"\d+-\d+", word):
        return {"range": [int(end) for end in word.split("-")]}
    if "/" in word:
        address, length = word.split("/")
        return {"prefix": {"addr": address, "len": int(length)}}
    return word


@dataclass
class IptablesChains:
    """The chains that `iptables-restore --noflush` would make of the lines in scripts, both families."""

    chains: dict[int, dict[str, list[str]]] = field(default_factory=lambda: {4: {}, 6: {}})

    def lay(self, script: Script) -> None:
        for family, lines in zip((4, 6), re.findall(r"^rules=\$\(cat <<'RULES'\n(.*?)\nRULES$", script.text, re.S | re.M), strict=True):
            chains = self.chains[family] = {"containment": [], "containment-b": [], f"containment-e{EPOCH}": []}
            for line in lines.splitlines():
                if declared := re.fullmatch(r":(\S+) - \[0:0\]", line):
                    chains[declared[1]] = []
                else:
                    _, name, rule = line.split(" ", 2)
                    chains[name].append(rule)

    def change(self, script: Script, stop: str) -> None:
        """The lines `id rule` of an opening, each put first."""
        for family, lines in re.findall(r"^wanted(4|6)=\$\(cat <<'RULES'[^\n]*\n(.*?)\nRULES$", script.text, re.S | re.M):
            for line in lines.splitlines():
                self.chains[int(family)]["containment-open"].insert(0, line.split(" ", 1)[1].replace("@STOP@", stop))

    def read_back(self, now: int) -> Observed:
        text = []
        for family, chains in self.chains.items():
            text += [f"=== rules {family}", *(f"-N {name}" for name in chains)]
            text += [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
            text += [line for hook, chain in HOOKS.items() for line in (f"-A {hook} -j {chain}", f"first -A {hook} -j {chain}")]
        return IptablesDialect().parse("\n".join([*text, "=== now", str(now), "=== boot", "=== end", ""]))
