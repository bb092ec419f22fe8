"""What stands in the folder of the policy and is no file that could be read: refused at once, never waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.adapters.policy_yaml import read_policy
from orchestrator.adapters.yaml_documents import MOST_BYTES, read_document
from orchestrator.errors import PolicyError


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "flows.yaml")
    with pytest.raises(PolicyError) as refusal:
        read_policy(tmp_path)
    (finding,) = refusal.value.findings
    assert (finding.file, finding.line, finding.message) == (str(tmp_path / "flows.yaml"), 1, "cannot be read: it is no file")
    assert finding.advice


def test_a_link_to_a_device_without_an_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "flows.yaml").symlink_to("/dev/zero")
    with pytest.raises(PolicyError, match="it is no file"):
        read_document(tmp_path / "flows.yaml")


def test_a_folder_in_the_place_of_a_file_and_a_link_to_nowhere_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="it is no file"):
        read_document(tmp_path)
    (tmp_path / "flows.yaml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PolicyError, match=r"cannot be read: .*No such file"):
        read_document(tmp_path / "flows.yaml")


def test_a_file_beyond_all_measure_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "flows.yaml").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(PolicyError, match="is larger than 64 MiB"):
        read_document(tmp_path / "flows.yaml")
