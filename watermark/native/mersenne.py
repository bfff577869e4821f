"""What PyTorch's CPU generator makes of a seed: MT19937, of which only the low 32 bits of the seed are used.

`randint(0, 2)` takes the lowest bit of each output; `randperm(n)` is a Fisher-Yates shuffle from the front, whose
step i swaps place i with place i + output mod (n - i). Golden vectors hold both against PyTorch itself.
A CUDA generator makes other numbers of the same seed.

MT19937: Matsumoto and Nishimura, ACM Transactions on Modeling and Computer Simulation 8, 1998.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def outputs(seed: int, count: int) -> NDArray[np.uint32]:
    """The first `count` outputs after seeding with `seed`."""
    # The generator whose numbers are being reproduced; nothing here is drawn at random.
    state = np.random.RandomState(seed & 0xFFFFFFFF)
    return np.frombuffer(state.bytes(4 * count), dtype="<u4")


def bits(seed: int, count: int) -> NDArray[np.uint8]:
    """`torch.randint(0, 2, (count,))` after `manual_seed(seed)`: (count,) of 0 and 1."""
    return (outputs(seed, count) & np.uint32(1)).astype(np.uint8)


def sources(seed: int, size: int, steps: int) -> NDArray[np.int64]:
    """The place that each of the first `steps` steps of `torch.randperm(size)` swaps with: (steps,)."""
    step = np.arange(steps, dtype=np.uint32)
    return (step + outputs(seed, steps) % (np.uint32(size) - step)).astype(np.int64)


def permutation(seed: int, size: int) -> NDArray[np.int64]:
    """`torch.randperm(size)` after `manual_seed(seed)`."""
    order = list(range(size))
    for i, j in enumerate(sources(seed, size, size - 1).tolist()):
        order[i], order[j] = order[j], order[i]
    return np.array(order)


def among_first(sources: NDArray[np.int64], value: int) -> bool:
    """Whether `value` is among the first entries of the permutation whose first swaps these are.

    It begins at place `value`. A step that swaps with its place brings it to the front for good; the step of its own
    place sends it on.
    """
    steps, place, start = len(sources), value, 0
    while True:
        if (sources[start : place + 1] == place).any():
            return True
        if place >= steps:
            return False
        place, start = int(sources[place]), place + 1
