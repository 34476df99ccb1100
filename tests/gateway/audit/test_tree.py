"""The Merkle tree: RFC 6962's published vectors and recursion, and what must be found."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.tree import (
    EMPTY_ROOT,
    Frontier,
    Node,
    Range,
    consistency_ranges,
    fold,
    inclusion_ranges,
    is_consistent,
    is_included,
    leaf_hash,
    node_hash,
    root_of,
    subtrees,
)

# The reference vectors of Certificate Transparency's own implementations
# (github.com/google/certificate-transparency, python/ct/crypto/merkle_test.py).
VECTORS = (
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    (
        "606162636465666768696a6b6c6d6e6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
)
LEAVES = [leaf_hash(bytes.fromhex(leaf)) for leaf, _ in VECTORS]
INCLUSION = {
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
}
CONSISTENCY = {
    (1, 8): INCLUSION[0, 8],
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
}


def recursion(leaves):
    """The hash as section 2.1 of the RFC defines it."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else hashlib.sha256(b"").digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(recursion(leaves[:k]), recursion(leaves[k:]))


def hashes(leaves, ranges):
    return [recursion(leaves[start:end]) for start, end in ranges]


@pytest.mark.parametrize("size", range(1, 9))
def test_published_roots(size):
    assert root_of(LEAVES[:size]).hex() == VECTORS[size - 1][1]
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_published_inclusion_proofs(index, size):
    proof = hashes(LEAVES[:size], inclusion_ranges(index, size))
    assert tuple(each.hex() for each in proof) == INCLUSION[index, size]


@pytest.mark.parametrize(("old", "size"), CONSISTENCY)
def test_published_consistency_proofs(old, size):
    proof = hashes(LEAVES[:size], consistency_ranges(old, size))
    assert tuple(each.hex() for each in proof) == CONSISTENCY[old, size]


SIZES = range(1, 34)


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_is_proven_and_at_no_other_place(size):
    leaves = [leaf_hash(bytes([i])) for i in range(size)]
    root = root_of(leaves)
    assert root == recursion(leaves)
    for index in range(size):
        proof = hashes(leaves, inclusion_ranges(index, size))
        proven = [i for i in range(size) if is_included(leaves[index], i, size, proof, root)]
        assert proven == [index]
        assert not is_included(leaves[index], index, size, [*proof, root], root)
        assert not proof or not is_included(leaves[index], index, size, proof[:-1], root)
    assert not is_included(leaves[0], size, size, [], root)


@pytest.mark.parametrize("size", SIZES)
def test_growth_is_proven_and_a_rewritten_past_is_not(size):
    leaves = [leaf_hash(bytes([i])) for i in range(size)]
    root = root_of(leaves)
    for old in range(1, size + 1):
        proof = hashes(leaves, consistency_ranges(old, size))
        assert is_consistent(old, size, root_of(leaves[:old]), root, proof)
        other = root_of([leaf_hash(b"other"), *leaves[1:old]])
        assert not is_consistent(old, size, other, root, proof)
        assert not is_consistent(old, size, root_of(leaves[:old]), other, proof)
        assert not is_consistent(old, size, root_of(leaves[:old]), root, [*proof, root])
    assert is_consistent(0, size, EMPTY_ROOT, root, [])
    assert not is_consistent(size + 1, size, root, root, [])


@given(st.lists(st.binary(max_size=8), min_size=2, max_size=40, unique=True), st.data())
def test_altered_missing_and_reordered_leaves_change_the_root(texts, data):
    leaves = [leaf_hash(text) for text in texts]
    root = root_of(leaves)
    at = data.draw(st.integers(0, len(leaves) - 1))
    other = data.draw(st.integers(0, len(leaves) - 1).filter(lambda i: i != at))
    swapped = list(leaves)
    swapped[at], swapped[other] = swapped[other], swapped[at]
    for changed in (
        [*leaves[:at], leaf_hash(texts[at] + b"x"), *leaves[at + 1 :]],
        [*leaves[:at], *leaves[at + 1 :]],
        [*leaves[:at], leaves[at], *leaves[at:]],
        swapped,
    ):
        assert root_of(changed) != root


@given(st.integers(0, 300), st.integers(0, 300))
def test_a_range_is_folded_from_complete_subtrees(first, second):
    end = max(first, second)
    leaves = [leaf_hash(str(i).encode()) for i in range(end)]
    known = {Node(0, i): leaf for i, leaf in enumerate(leaves)}
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf, known.__setitem__)
    assert fold([known[node] for node in subtrees(Range(0, end))]) == recursion(leaves)
    if end:
        for each in inclusion_ranges(min(first, second, end - 1), end):
            assert fold([known[node] for node in subtrees(each)]) == recursion(leaves[slice(*each)])


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_frontier_is_taken_up_where_it_was_left(before, after):
    leaves = [leaf_hash(str(i).encode()) for i in range(before + after)]
    first = Frontier()
    for leaf in leaves[:before]:
        first.append(leaf)
    second = Frontier(first.size, first.packed)
    for leaf in leaves[before:]:
        second.append(leaf)
    assert second.root == recursion(leaves)
    with pytest.raises(ValueError, match="complete subtrees"):
        Frontier(before, first.packed + bytes(32))
