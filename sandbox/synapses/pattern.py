"""Which pairs of cells a synapse connects, sorted by the presynaptic cell, as spikes need it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pattern(NamedTuple):
    """The synapses of a weight matrix `[post, pre]`, sorted by their presynaptic and then their postsynaptic cell."""

    pre: Tensor  # [synapses] int64
    post: Tensor  # [synapses] int64
    order: Tensor | None  # [synapses] int64: the place of each among the weights as they were given; None if sorted
    start: Tensor  # [pre + 1] int64: where the synapses of a presynaptic cell begin
    shape: tuple[int, int]  # of the matrix

    def sort(self, given: Tensor) -> Tensor:
        """Return values `[synapses]`, or entries of a matrix, in the order of the pattern."""
        return given if self.order is None else given.flatten().index_select(0, self.order)


def pattern(pre: Tensor, post: Tensor, shape: tuple[int, int]) -> Pattern:
    """Return the pattern of synapses from cells `pre` to cells `post`, both `[synapses]`, in a matrix `[post, pre]`.

    Raises:
        ValueError: for indices that are not whole numbers, differ in length, or are outside of the matrix, and for a
            pair of cells that is connected twice.

    >>> pattern(torch.tensor([1, 0]), torch.tensor([0, 2]), (3, 2)).order
    tensor([1, 0])
    """
    for name, index, size in (("pre", pre, shape[1]), ("post", post, shape[0])):
        _check(name, index, size)
    if len(pre) != len(post):
        raise ValueError(f"{len(pre)} presynaptic and {len(post)} postsynaptic cells; give one of each for a synapse")
    pre, post = pre.long(), post.long()
    key, order = (pre * shape[0] + post).sort()
    twice = (key[1:] == key[:-1]).nonzero()
    if len(twice):
        at = int(key[twice[0]])
        raise ValueError(
            f"the synapse from cell {at // shape[0]} to cell {at % shape[0]} appears twice; add up its weights: "
            "torch.sparse_coo_tensor(torch.stack([post, pre]), weights, shape).coalesce().to_sparse_csr(); synapses of "
            "different delays belong in two connections"
        )
    pre = pre[order]
    return Pattern(pre, post[order], order, starts(pre, shape[1]), shape)


def starts(pre: Tensor, cells: int) -> Tensor:
    """Return where the synapses of each presynaptic cell begin, `[cells + 1]`, if `pre` is sorted.

    >>> starts(torch.tensor([0, 0, 2]), 3)
    tensor([0, 2, 2, 3])
    """
    return torch.searchsorted(pre, torch.arange(cells + 1, device=pre.device))


def _check(name: str, index: Tensor, size: int) -> None:
    if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
        shape = tuple(index.shape)
        raise ValueError(f"{name} is {index.dtype} of shape {shape}; wanted whole numbers [synapses]: {name}.long()")
    outside = ((index < 0) | (index >= size)).nonzero()
    if len(outside):
        k = int(outside[0])
        raise ValueError(
            f"{name}[{k}] is {int(index[k])}, and there are {size} such cells; wanted 0 to {size - 1}: "
            f"keep = ({name} >= 0) & ({name} < {size}), then pre[keep], post[keep] and weights[keep]"
        )


class Stored(torch.autograd.Function):
    """The stored values `[synapses]` of a sparse CSR matrix; their gradient is a matrix with the same pattern."""

    @staticmethod
    def forward(ctx: object, matrix: Tensor) -> Tensor:
        ctx.save_for_backward(matrix.crow_indices(), matrix.col_indices())  # type: ignore[attr-defined]
        ctx.shape = matrix.shape  # type: ignore[attr-defined]
        return matrix.values().clone()

    @staticmethod
    def backward(ctx: object, error: Tensor) -> Tensor:
        rows, columns = ctx.saved_tensors  # type: ignore[attr-defined]
        return torch.sparse_csr_tensor(rows, columns, error, ctx.shape, check_invariants=False)  # type: ignore[attr-defined]


def rows_of(matrix: Tensor) -> Tensor:
    """Return the row of each stored value of a sparse CSR matrix.

    >>> rows_of(torch.eye(2).to_sparse_csr())
    tensor([0, 1])
    """
    counts = matrix.crow_indices().diff()
    return torch.repeat_interleave(torch.arange(len(counts)), counts)
