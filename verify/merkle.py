"""Merkle tree over SHA-256: head, inclusion proofs and their verification, a leaf at a time.

Symbols: `H` SHA-256, `d` a leaf's bytes, `n` leaves, `MTH` tree hash, `k` the largest power of two below n.

    MTH({d})  = H(0x00 || d)                                        leaves and nodes have different prefixes, so that
    MTH(D[n]) = H(0x01 || MTH(D[0:k]) || MTH(D[k:n]))               neither can be passed off as the other

References:
    [1] RFC 6962, section 2.1: the tree. Unlike there, a tree without leaves has no head here.
    [2] RFC 9162, section 2.1.3.2: the verification.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


def leaf_hash(leaf: bytes) -> bytes:
    """32 bytes."""
    return hashlib.sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """32 bytes."""
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(frozen=True)
class Inclusion:
    """Where a leaf stands in a tree.

    Attributes:
        size: n, at least 1.
        root: 32 bytes.
        index: of the leaf, from 0.
        siblings: 32 bytes each, from the leaf up.
    """

    size: int
    root: bytes
    index: int
    siblings: tuple[bytes, ...]

    def holds(self, leaf: bytes) -> bool:
        """Whether `leaf` is the leaf at `index` of the tree with this size and root ([2])."""
        if not 0 <= self.index < self.size:
            return False
        fn, sn, r = self.index, self.size - 1, leaf_hash(leaf)
        for p in self.siblings:
            if sn == 0:
                return False
            if fn & 1 or fn == sn:
                r = node_hash(p, r)
                while not fn & 1 and fn:
                    fn, sn = fn >> 1, sn >> 1
            else:
                r = node_hash(r, p)
            fn, sn = fn >> 1, sn >> 1
        return sn == 0 and r == self.root


@dataclass(frozen=True)
class _Subtree:
    size: int
    hash: bytes
    watched: bool


class Tree:
    """A tree that is given its leaves in order and keeps one hash for each power of two in n, and one leaf's siblings.

    Args:
        watch: index of the leaf whose inclusion is asked for, or None.
    """

    def __init__(self, watch: int | None = None) -> None:
        self.size = 0
        self._watch = watch
        self._peaks: list[_Subtree] = []  # full subtrees, the largest first
        self._siblings: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        """Append a leaf."""
        peak = _Subtree(1, leaf_hash(leaf), self.size == self._watch)
        while self._peaks and self._peaks[-1].size == peak.size:
            peak = _join(self._peaks.pop(), peak, self._siblings)
        self._peaks.append(peak)
        self.size += 1

    def root(self) -> bytes:
        """MTH of the leaves so far.

        Raises:
            ValueError: there are none.
        """
        return self._close()[0]

    def inclusion(self) -> Inclusion:
        """Of the watched leaf.

        Raises:
            ValueError: it was not among the leaves.
        """
        if self._watch is None or not 0 <= self._watch < self.size:
            raise ValueError(f"leaf {self._watch} of {self.size}")
        root, siblings = self._close()
        return Inclusion(self.size, root, self._watch, tuple(siblings))

    def _close(self) -> tuple[bytes, list[bytes]]:
        if not self._peaks:
            raise ValueError("a tree without leaves has no root")
        siblings = list(self._siblings)
        *rest, right = self._peaks
        for left in reversed(rest):
            right = _join(left, right, siblings)
        return right.hash, siblings


def tree_of(leaves: Iterable[bytes], *, watch: int | None = None) -> Tree:
    """The tree of some leaves; see `Tree`."""
    tree = Tree(watch)
    for leaf in leaves:
        tree.add(leaf)
    return tree


def _join(left: _Subtree, right: _Subtree, siblings: list[bytes]) -> _Subtree:
    if left.watched or right.watched:
        siblings.append(right.hash if left.watched else left.hash)
    return _Subtree(left.size + right.size, node_hash(left.hash, right.hash), left.watched or right.watched)
