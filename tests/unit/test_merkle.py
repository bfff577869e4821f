"""The Merkle tree against published vectors and an implementation of a few lines."""

import base64
import hashlib

import pytest

from verify.merkle import Inclusion, Tree, leaf_hash, node_hash, tree_of

# transparency-dev/merkle v0.0.2 (Google, Apache-2.0), testonly/constants.go: the vectors of the reference
# implementation of Certificate Transparency.
LEAVES = [
    bytes.fromhex(x)
    for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
# The same, proof/verify_test.go; its indices count from 1.
PROOFS = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (3, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (2, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
# The same, compact/range_test.go; leaf i is the two bytes of i, little-endian.
GOLDEN = {
    10: "VjWMPSYNtCuCNlF/RLnQy6HcwSk6CIipfxm+hettA+4=",
    15: "j4SulYmocFuxdeyp12xXCIgK6PekBcxzAIj4zbQzNEI=",
    16: "c+4Uc6BCMOZf/v3NZK1kqTUJe+bBoFtOhP+P3SayKRE=",
    100: "dUh9hYH88p0CMoHkdr1wC2szbhcLAXOejWpINIooKUY=",
    255: "SmdsuKUqiod3RX2jyF2M6JnbdE4QuTwwipfAowI4/i0=",
    1000: "RXrgb8xHd55Y48FbfotJwCbV82Kx22LZfEbmBGAvwlQ=",
    65535: "iPuVYJhP6SEE4gUFp8qbafd2rYv9YTCDYqAxCj8HdLM=",
}


def test_hashes_of_a_leaf_and_of_a_node():
    """The same, rfc6962/rfc6962_test.go."""
    assert leaf_hash(b"L123456").hex() == "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    assert node_hash(b"N123", b"N456").hex() == "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"


@pytest.mark.parametrize("n", range(1, 9))
def test_published_roots(n):
    assert tree_of(LEAVES[:n]).root().hex() == ROOTS[n - 1]


@pytest.mark.parametrize("n", GOLDEN)
def test_published_roots_of_larger_trees(n):
    root = tree_of(i.to_bytes(2, "little") for i in range(n)).root()
    assert base64.b64encode(root).decode() == GOLDEN[n]


@pytest.mark.parametrize(("leaf", "size"), PROOFS)
def test_published_proofs(leaf, size):
    found = tree_of(LEAVES[:size], watch=leaf - 1).inclusion()
    assert tuple(s.hex() for s in found.siblings) == PROOFS[leaf, size]
    assert found.holds(LEAVES[leaf - 1])


def simple_root(leaves):
    """RFC 6962, section 2.1, as it is written."""
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + simple_root(leaves[:k]) + simple_root(leaves[k:])).digest()


def simple_path(m, leaves):
    """RFC 6962, section 2.1.1, as it is written."""
    if len(leaves) == 1:
        return ()
    k = 1 << (len(leaves) - 1).bit_length() - 1
    if m < k:
        return (*simple_path(m, leaves[:k]), simple_root(leaves[k:]))
    return (*simple_path(m - k, leaves[k:]), simple_root(leaves[:k]))


def test_every_leaf_of_every_small_tree_as_the_rfc_writes_it():
    leaves = [bytes([i]) * (i % 5) for i in range(34)]
    for n in range(1, 35):
        for m in range(n):
            expected = Inclusion(n, simple_root(leaves[:n]), m, simple_path(m, leaves[:n]))
            assert tree_of(leaves[:n], watch=m).inclusion() == expected
            assert expected.holds(leaves[m])


def test_memory_is_one_hash_for_each_power_of_two():
    tree = Tree(watch=5)
    for i in range(20_000):
        tree.add(i.to_bytes(4, "little"))
        assert len(tree._peaks) == (i + 1).bit_count()
        assert len(tree._siblings) <= 15
    assert tree.inclusion().holds((5).to_bytes(4, "little"))


def test_asking_for_the_root_changes_nothing():
    tree = Tree(watch=0)
    for leaf in LEAVES:
        tree.add(leaf)
        tree.root()
        tree.inclusion()
    assert tree.inclusion() == tree_of(LEAVES, watch=0).inclusion()


def test_what_is_not_there():
    with pytest.raises(ValueError, match="without leaves"):
        tree_of([]).root()
    for watch in (None, 8, -1):
        with pytest.raises(ValueError, match="of 8"):
            tree_of(LEAVES, watch=watch).inclusion()


def test_a_node_is_no_leaf():
    """Without the prefixes the two leaves' hashes, joined, would be a leaf of a tree of one with the same root."""
    left, right = map(leaf_hash, LEAVES[:2])
    root = tree_of(LEAVES[:2]).root()
    assert not Inclusion(1, root, 0, ()).holds(left + right)
    assert not Inclusion(1, root, 0, ()).holds(b"\1" + left + right)
    assert not Inclusion(2, root, 0, (right,)).holds(left)
