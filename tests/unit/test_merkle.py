"""The tree and the canonical form, against the conformance data of the standards' own projects and by cases of ours."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain import merkle
from orchestrator.domain.canonical import canonical
from orchestrator.domain.events import Event, EventType, event_bytes, event_bytes_of, plain
from orchestrator.errors import InputError

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"


def _vectors(folder: str) -> list[Path]:
    """The vector files; one that does not exist when the folder is missing, so that the test can say so."""
    return sorted((VECTORS / folder).rglob("*.json")) or [VECTORS / folder / "missing.json"]


def _load(path: Path) -> Any:
    if not path.exists():
        pytest.skip(f"the conformance data is not there: {path.parent}")
    return json.loads(path.read_text(encoding="utf-8"))


def _bytes(value: str) -> bytes:
    return base64.b64decode(value)


@pytest.mark.parametrize("path", _vectors("rfc6962/inclusion"), ids=lambda path: str(path.relative_to(VECTORS)))
def test_inclusion_vectors(path: Path) -> None:
    case = _load(path)
    proof = [_bytes(node) for node in case["proof"] or []]
    proved = merkle.verify_inclusion(_bytes(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, _bytes(case["root"]))
    assert proved is not case["wantErr"], case["desc"]


@pytest.mark.parametrize("path", _vectors("rfc6962/consistency"), ids=lambda path: str(path.relative_to(VECTORS)))
def test_consistency_vectors(path: Path) -> None:
    case = _load(path)
    proof = [_bytes(node) for node in case["proof"] or []]
    proved = merkle.verify_consistency(case["size1"], _bytes(case["root1"]), case["size2"], _bytes(case["root2"]), proof)
    assert proved is not case["wantErr"], case["desc"]


@pytest.mark.parametrize("path", _vectors("rfc8785/input"), ids=lambda path: path.name)
def test_canonical_vectors(path: Path) -> None:
    assert canonical(_load(path)) == (VECTORS / "rfc8785" / "output" / path.name).read_bytes()


def test_known_hashes() -> None:
    """The constants that every implementation of RFC 6962 has."""
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert (
        merkle.root([merkle.leaf_hash(b""), merkle.leaf_hash(b"\x00")]).hex()
        == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    )


def _by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(_by_definition(leaves[:split]), _by_definition(leaves[split:]))


@pytest.mark.parametrize("size", range(34))
def test_every_proof_of_every_small_tree(size: int) -> None:
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(size)]
    root = merkle.root(leaves)
    assert root == _by_definition(leaves)
    for index in range(size):
        proof = merkle.inclusion_proof(leaves, index)
        assert merkle.verify_inclusion(leaves[index], index, size, proof, root)
        for other in range(size):
            assert merkle.verify_inclusion(leaves[index], other, size, proof, root) is (other == index)
    for old in range(1, size + 1):
        proof = merkle.consistency_proof(leaves, old)
        old_root = merkle.root(leaves[:old])
        assert merkle.verify_consistency(old, old_root, size, root, proof)
        forged = merkle.node_hash(old_root, old_root)
        assert not merkle.verify_consistency(old, forged, size, root, proof)
        assert not merkle.verify_consistency(old, old_root, size, forged, proof)
        assert not merkle.verify_consistency(old, old_root, size, root, (*proof, old_root))
        if proof:
            assert not merkle.verify_consistency(old, old_root, size, root, proof[:-1])


def test_a_range_appends_a_logarithm_of_hashes() -> None:
    edge = merkle.CompactRange().extend(merkle.leaf_hash(str(number).encode()) for number in range(1000))
    assert len(edge.subtrees) == (1000).bit_count()
    before = edge.root()
    assert edge.append(merkle.leaf_hash(b"more")).root() != before
    assert edge.root() == before  # appending left it as it was


def test_proofs_outside_the_tree_are_refused() -> None:
    leaves = [merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")]
    for wrong in (-1, 2):
        with pytest.raises(IndexError):
            merkle.inclusion_proof(leaves, wrong)
    for wrong in (0, 3):
        with pytest.raises(IndexError):
            merkle.consistency_proof(leaves, wrong)


_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(_TEXT, st.none() | _TEXT, st.dictionaries(_TEXT, _JSON, max_size=4))
def test_the_fast_form_of_an_event_is_the_canonical_one(actor: str, device: str | None, body: dict[str, Any]) -> None:
    event = Event(EventType.CHECK_RAN, "2026-06-23T21:04:05.123Z", actor, body, None, device, 7, "00" * 32)
    text = canonical(body).decode("utf-8")
    assert event_bytes_of(7, "00" * 32, "CheckRan", event.at, actor, None, device, text) == event_bytes(event)
    assert plain(body) == body


@pytest.mark.parametrize("wrong", [1.5, 2**53, -(2**53), b"bytes", {1: "x"}, {"deep": [{"er": 0.1}]}, object()])
def test_what_an_event_cannot_hold_is_refused(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"body\.value"):
        plain({"value": wrong})
