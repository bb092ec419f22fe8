"""The Merkle tree of the log: RFC 6962 hashing, compact ranges, inclusion and consistency proofs.

    leaf  = SHA-256(0x00 || data)          node = SHA-256(0x01 || left || right)          empty tree = SHA-256("")

Hashes are bytes of 32. A proof is a tuple of hashes, lowest first. The verifying functions return a bool and never
raise: what is out of range or of the wrong length is simply not proved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EMPTY_ROOT = hashlib.sha256(b"").digest()
_HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """The hash of one leaf (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class CompactRange:
    """The tree's right edge: one hash per set bit of `size`, largest subtree first. Enough to append in O(log n)."""

    size: int = 0
    subtrees: tuple[bytes, ...] = ()

    def append(self, leaf: bytes) -> CompactRange:
        """The range with one more leaf (its hash)."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> CompactRange:
        """The range with more leaves. This one is unchanged, so a failed transaction has nothing to undo."""
        subtrees, size = list(self.subtrees), self.size
        for leaf in leaves:
            node, carry = leaf, size
            while carry & 1:
                node = node_hash(subtrees.pop(), node)
                carry >>= 1
            subtrees.append(node)
            size += 1
        return CompactRange(size, tuple(subtrees))

    def root(self) -> bytes:
        """The Merkle tree hash of everything appended so far."""
        if not self.subtrees:
            return EMPTY_ROOT
        *rest, node = self.subtrees
        for left in reversed(rest):
            node = node_hash(left, node)
        return node


def root(leaves: Iterable[bytes]) -> bytes:
    """The Merkle tree hash over leaf hashes."""
    return CompactRange().extend(leaves).root()


def _split(size: int) -> int:
    """The largest power of two smaller than `size` (size >= 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The audit path of leaf `index` (RFC 6962, 2.1.1). Raises IndexError outside the tree."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"leaf {index} is not in a tree of {len(leaves)}")
    path: list[bytes] = []
    low, high = 0, len(leaves)
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(root(leaves[middle:high]))
            high = middle
        else:
            path.append(root(leaves[low:middle]))
            low = middle
    return tuple(reversed(path))


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """The proof that the tree over the first `old_size` leaves is a prefix of this one (RFC 6962, 2.1.2).

    Raises IndexError unless 1 <= old_size <= len(leaves): a proof from an empty tree says nothing.
    """
    if not 1 <= old_size <= len(leaves):
        raise IndexError(f"{old_size} is not the size of an earlier tree of {len(leaves)}")
    path: list[bytes] = []
    low, high, whole = 0, len(leaves), True
    while old_size != high:
        middle = low + _split(high - low)
        if old_size <= middle:
            path.append(root(leaves[middle:high]))
            high = middle
        else:
            path.append(root(leaves[low:middle]))
            low, whole = middle, False
    if not whole:
        path.append(root(leaves[low:high]))
    return tuple(reversed(path))


def _well_formed(*hashes: bytes) -> bool:
    return all(len(value) == _HASH_BYTES for value in hashes)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> bool:
    """Whether `proof` shows the leaf hash at `index` in the tree of `size` leaves (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or not _well_formed(leaf, expected_root, *proof):
        return False
    first, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if first & 1 or first == last:
            node = node_hash(sibling, node)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and node == expected_root


def verify_consistency(old_size: int, old_root: bytes, size: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the older tree is a prefix of the newer one (RFC 9162, 2.1.4.2)."""
    if old_size == size and size >= 1:  # the same tree: nothing is hashed, so the roots may be in any form
        return not proof and old_root == new_root
    if not 1 <= old_size <= size or not _well_formed(old_root, new_root, *proof):
        return False
    path = list(proof)
    if old_size & (old_size - 1) == 0:  # the old tree is itself a subtree: its root starts the path
        path.insert(0, old_root)
    if not path:
        return False
    first, last = old_size - 1, size - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    old_node = new_node = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            new_node = node_hash(new_node, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and old_node == old_root and new_node == new_root
