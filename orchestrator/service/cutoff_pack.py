"""Steps 1 and 2 of the cut-off: the cut pack, and the profile. Standard library only (see `cutoff.py` for the steps).

Nothing written in a file can refuse a cut-off: a pack that is missing, broken or badly signed is passed over, with a
warning that the verdict repeats, for the previous good one, then for the files on disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.dialects.base import Script
from orchestrator.domain.pack import SCHEMA, devices_of
from orchestrator.errors import InputError, OrchestratorError, Refused, UnknownName
from orchestrator.ports import Target

if TYPE_CHECKING:
    from pathlib import Path

NOT_RATIFIED = "the pack was made from files that nobody ratified"


@dataclass(frozen=True)
class LoadedPack:
    """The body of the pack in use. `source`: `cut pack`, `previous cut pack`, `files on disk`, or a file name."""

    body: dict[str, Any]
    source: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Cut:
    """What is done on one device, epoch filled in. `layer` and `expected` stay JSON until the layer lies."""

    target: Target
    wave: int
    guards: tuple[str, ...]
    lay: Script
    persist: Script
    read_back: Script
    sessions: Script | None
    layer: dict[str, Any]
    expected: dict[str, Any]
    further: bool = False  # laid because another device did not take its layer

    @property
    def device(self) -> str:
        return self.target.device

    @property
    def key(self) -> str:
        """Names it among all cuts of a cut-off: a device may be cut again at a further guard."""
        return f"{self.device}[{', '.join(self.guards)}]" if self.further else self.device


def load_pack(
    candidates: Sequence[tuple[str, Path]],
    *,
    verify: Callable[[dict[str, Any], str], None],
    render: Callable[[str | None], dict[str, Any]],
    profile: str | None = None,
) -> LoadedPack:
    """The first candidate that can be read, is well formed and is signed by the site; else what `render` makes.

    `verify` raises NotAuthenticated for a bad signature; any other exception means that it cannot be checked here,
    which warns. Raises InputError only when no candidate and no file on disk can be used at all.
    """
    warnings: list[str] = []
    for name, path in candidates:
        try:
            body, unchecked = _read(path.read_bytes(), verify)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, Refused) as failure:
            warnings.append(f"the {name} cannot be used: {_reason(failure)}")
            continue
        return LoadedPack(body, name, (*warnings, *unchecked, *_about(body)))
    try:
        body = checked(render(profile))
    except Exception as failure:  # whatever is wrong with the files, the person has to know what is left to them
        lines = "\n  ".join([*warnings, f"the files on disk cannot be used: {_reason(failure)}"])
        raise InputError(
            f"there is nothing to cut with:\n  {lines}",
            advice="cut by hand from the paper sheet, or lay the pack of the safe with playbooks/cutoff.yml or `--pack FILE`",
        ) from failure
    warnings.append("no cut pack is used: the files on disk serve, as they are now")
    return LoadedPack(body, "files on disk", (*warnings, *_about(body)))


def _read(text: bytes, verify: Callable[[dict[str, Any], str], None]) -> tuple[dict[str, Any], tuple[str, ...]]:
    envelope = json.loads(text)
    body = checked(envelope["body"])
    try:
        verify(body, str(envelope["signature"]))
    except Refused:
        raise
    except Exception as failure:
        return body, (f"the signature of the cut pack could not be checked: {_reason(failure)}",)
    return body, ()


def _about(body: dict[str, Any]) -> tuple[str, ...]:
    return () if body.get("ratified") else (NOT_RATIFIED,)


def _reason(failure: BaseException) -> str:
    if isinstance(failure, FileNotFoundError):
        return "it is missing"
    if isinstance(failure, json.JSONDecodeError):
        return f"it is not JSON (line {failure.lineno})"
    if isinstance(failure, KeyError):
        return f"{failure.args[0]!r} is missing in it"
    if isinstance(failure, OrchestratorError):
        return str(failure.args[0])
    return f"{type(failure).__name__}: {failure}"


def checked(body: dict[str, Any]) -> dict[str, Any]:
    """The body, when everything that the cut needs before the layer lies is there. Raises ValueError, KeyError, TypeError."""
    if body["schema"] != SCHEMA:
        raise ValueError(f"its schema is {body['schema']!r}, this program reads {SCHEMA}")
    for profile in body["profiles"]:
        if not [cut_of(entry, 0) for entry in devices_of(body, profile)]:
            raise ValueError(f"profile {profile!r} has no device")
    if body["default_profile"] not in body["profiles"]:
        raise ValueError(f"its default profile {body['default_profile']!r} is not in it")
    return body


def chosen_profile(body: dict[str, Any], wanted: str | None) -> str:
    """The profile asked for, or the pack's default. Raises UnknownName with the list."""
    if wanted is None:
        return str(body["default_profile"])
    if wanted not in body["profiles"]:
        raise UnknownName(
            f"there is no isolation profile {wanted!r} in the cut pack", advice=f"use one of {', '.join(sorted(body['profiles']))}"
        )
    return wanted


def cuts_of(body: dict[str, Any], profile: str, epoch: int) -> tuple[Cut, ...]:
    """What to do on each device of the profile, far waves first."""
    return tuple(cut_of(entry, epoch) for entry in devices_of(body, profile))


def cut_of(entry: dict[str, Any], epoch: int) -> Cut:
    """One device entry of the pack. Raises KeyError, TypeError, ValueError for one that is not well formed."""
    target = Target(
        device=str(entry["device"]),
        platform=str(entry["platform"]),
        address=str(entry["address"]),
        user=str(entry["user"]),
        host_keys=tuple(str(line) for line in entry["host_keys"]),
        port=int(entry["port"]),
    )
    scripts = {key: _script(entry[key], epoch) for key in ("lay", "persist", "read_back", "sessions")}
    lay, persist, read_back = scripts["lay"], scripts["persist"], scripts["read_back"]
    if lay is None or persist is None or read_back is None:
        raise ValueError(f"a script of {target.device} does nothing")
    return Cut(
        target, int(entry["wave"]), tuple(entry["guards"]), lay, persist, read_back, scripts["sessions"], entry["layer"], entry["expected"]
    )


def _script(value: dict[str, Any] | None, epoch: int) -> Script | None:
    """None for a script that does nothing: a session less."""
    if value is None or (value["command"] in ("", "true", ":") and not value["text"]):
        return None
    if value["kind"] not in ("shell", "cli"):
        raise ValueError(f"{value['kind']!r} is no kind of script")
    return Script(str(value["command"]), str(value["text"]), value["kind"]).filled(epoch=epoch)
