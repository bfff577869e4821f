"""Every inclusion proof holds, and nothing near it does."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from verify.merkle import tree_of

LEAVES = st.lists(st.binary(max_size=4), min_size=1, max_size=80)


@st.composite
def places(draw):
    """(leaves, index)"""
    leaves = draw(LEAVES)
    return leaves, draw(st.integers(0, len(leaves) - 1))


def flipped(data, bit):
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(places())
def test_every_proof_holds(place):
    leaves, index = place
    found = tree_of(leaves, watch=index).inclusion()
    assert found.holds(leaves[index])
    assert found.root == tree_of(leaves).root()


@settings(max_examples=50)
@given(places(), st.data())
def test_no_flipped_bit_holds(place, data):
    leaves, index = place
    found = tree_of(leaves, watch=index).inclusion()
    leaf = leaves[index]
    bit = data.draw(st.integers(0, 255))
    assert not replace(found, root=flipped(found.root, bit)).holds(leaf)
    for i, sibling in enumerate(found.siblings):
        changed = (*found.siblings[:i], flipped(sibling, bit), *found.siblings[i + 1 :])
        assert not replace(found, siblings=changed).holds(leaf)
    for b in range(8 * len(leaf)):
        assert not found.holds(flipped(leaf, b))
    assert not found.holds(leaf + b"\0")


@given(places())
def test_no_other_index_holds_unless_the_siblings_would_be_the_same(place):
    """Leaves are made distinct: a leaf that occurs twice is in both places."""
    leaves, index = [bytes([i]) + leaf for i, leaf in enumerate(place[0])], place[1]
    found = tree_of(leaves, watch=index).inclusion()
    for other in (*range(-1, len(leaves) + 1), index + (1 << 64)):
        assert replace(found, index=other).holds(leaves[index]) == (other == index)


@given(places())
def test_no_shorter_or_longer_path_holds(place):
    leaves, index = place
    found = tree_of(leaves, watch=index).inclusion()
    for cut in range(len(found.siblings)):
        assert not replace(found, siblings=found.siblings[:cut]).holds(leaves[index])
        assert not replace(found, siblings=found.siblings[cut + 1 :]).holds(leaves[index])
    for extra in (b"", bytes(32), found.root):
        assert not replace(found, siblings=(*found.siblings, extra)).holds(leaves[index])


@given(places())
def test_a_size_of_another_shape_does_not_hold(place):
    """A path does not fix the size alone (leaf 0 of 3 or of 4 has two siblings): records state it under the digest."""
    leaves, index = place
    found = tree_of(leaves, watch=index).inclusion()
    n = len(leaves)
    for size in (0, index, 2 * n + 1, 4 * n + 1):
        if size != n:
            assert not replace(found, size=size).holds(leaves[index])


@given(places())
def test_an_inner_node_is_never_a_leaf(place):
    """The second preimage that the prefixes are against: a shorter proof of the two children, joined."""
    leaves, index = place
    found = tree_of(leaves, watch=index).inclusion()
    from verify.merkle import leaf_hash

    for cut, sibling in enumerate(found.siblings):
        for node in (leaf_hash(leaves[index]) + sibling, sibling + leaf_hash(leaves[index])):
            assert not replace(found, siblings=found.siblings[cut + 1 :], size=max(1, found.size >> 1)).holds(node)
            assert not replace(found, siblings=found.siblings[cut + 1 :]).holds(node)
