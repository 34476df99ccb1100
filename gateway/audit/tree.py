"""The Merkle tree of RFC 6962: hashes, inclusion and consistency proofs; pure, knows no database.

A proof is a list of ranges of leaves. Every range falls apart into complete subtrees, so whoever
keeps (or can compute) the hashes of those makes proofs without reading every leaf.
Source: RFC 6962, sections 2.1 to 2.1.2; RFC 9162, sections 2.1.3.2 and 2.1.4.2, for verification.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


class Node(NamedTuple):
    """A complete subtree: the leaves `position << level` up to the next one's."""

    level: int
    position: int


class Range(NamedTuple):
    """Leaves from `start` up to, not including, `end`; a subtree of some tree."""

    start: int
    end: int


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def subtrees(leaves: Range) -> list[Node]:
    """Return the complete subtrees that a range falls apart into, from the left."""
    found, start = [], leaves.start
    while start < leaves.end:
        level = (leaves.end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        found.append(Node(level, start >> level))
        start += 1 << level
    return found


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return a range's hash from those of its complete subtrees, from the left."""
    if not hashes:
        return EMPTY_ROOT
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = node_hash(left, result)
    return result


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree over some leaves' hashes."""
    frontier = Frontier()
    for each in leaf_hashes:
        frontier.append(each)
    return frontier.root


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the ranges whose hashes prove that leaf `index` is in the tree of `size` leaves.

    Raises:
        ValueError: There is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    start, end, path = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(Range(middle, end))
            end = middle
        else:
            path.append(Range(start, middle))
            start = middle
    return path[::-1]


def consistency_ranges(old: int, size: int) -> list[Range]:
    """Return the ranges whose hashes prove that the tree of `old` leaves grew into that of `size`.

    Raises:
        ValueError: `old` is not between 1 and `size`; nothing needs proof for an empty tree.
    """
    if not 0 < old <= size:
        raise ValueError(f"a tree of {old} does not grow into one of {size}")
    start, end, path = 0, size, []
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(Range(middle, end))
            end = middle
        else:
            path.append(Range(start, middle))
            start = middle
    # The old tree itself is known to who verifies, unless it is only a part of its left side.
    return ([Range(start, end)] if start else []) + path[::-1]


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof leads from a leaf's hash to the root."""
    if not 0 <= index < size:
        return False
    position, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            result = node_hash(sibling, result)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and result == root


def is_consistent(
    old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether a proof shows that the tree of `old` leaves is the beginning of that of `size`."""
    if not 0 <= old <= size:
        return False
    if old in (0, size):
        return not proof and old_root == (EMPTY_ROOT if old == 0 else root)
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    position, last = old - 1, size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and before == old_root and after == root


class Frontier:
    """The right edge of a growing tree: the hashes of its complete subtrees, nothing else."""

    def __init__(self, size: int = 0, hashes: bytes = b"") -> None:
        """Take up a tree of `size` leaves where `hashes` left it.

        Raises:
            ValueError: The hashes are not those of a tree of that size.
        """
        if len(hashes) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"a tree of {size} has {size.bit_count()} complete subtrees")
        self.size = size
        self._hashes = [hashes[i : i + HASH_BYTES] for i in range(0, len(hashes), HASH_BYTES)]

    @property
    def packed(self) -> bytes:
        """The hashes, the largest subtree first."""
        return b"".join(self._hashes)

    @property
    def root(self) -> bytes:
        """The tree's root."""
        return fold(self._hashes)

    def append(self, leaf: bytes, on_node: Callable[[Node, bytes], None] | None = None) -> None:
        """Add a leaf's hash; `on_node` is told of every subtree that it completes."""
        level, position, result = 0, self.size, leaf
        while position & 1:
            result = node_hash(self._hashes.pop(), result)
            level, position = level + 1, position >> 1
            if on_node is not None:
                on_node(Node(level, position), result)
        self._hashes.append(result)
        self.size += 1


def _split(size: int) -> int:
    """Return the largest power of two that is smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)
