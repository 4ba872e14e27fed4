"""A synapse of which only some pairs of cells are connected; weights exist for those alone."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rules.synapses import Patterned
from sandbox.machine.compiled import absent
from sandbox.machine.memory import empty
from sandbox.machine.threads import share_out
from sandbox.synapses.events import active, kernels, numpy
from sandbox.synapses.pattern import Pattern, pattern, starts
from sandbox.synapses.product import batched, finite, ordinary

SCATTERED = 32  # multiplications of a dense product in the time of an addition at a place of a pattern


class Sparse(Patterned):
    """A linear layer in which a presynaptic and a postsynaptic cell are connected with some probability.

        y[n, post] = bias[post] + sum over the synapses k that end there of weight[k] x[n, pre[k]]

    There is one weight for each synapse, `[synapses]`, sorted by presynaptic cell, and no other: gradients, optimizer
    state and updates stay within the pattern. Where few inputs are active and few pairs connected, products skip the
    others; else they are products of a whole matrix, made of the weights, which is faster from some percent on. So are
    they without numba, on other devices, in transforms of torch.func, and where an input, a weight or an error is NaN
    or infinite: zero times infinity is NaN, as in the matrix, whatever the density.

    Initial weights and biases are uniform within `1 / sqrt(probability in_features)`, as those of nn.Linear with as
    many inputs.

    Args:
        in_features: number of presynaptic cells.
        out_features: number of postsynaptic cells.
        probability: that a pair is connected, each independently; 0.1 by default.
        bias: whether there is a bias, True by default.
        generator: of the pattern and of the weights; None for torch's global one.

    Raises:
        ValueError: for a probability that is not above 0 and at most 1.

    >>> synapse = Sparse(100, 50, probability=0.2, generator=torch.Generator().manual_seed(0))
    >>> synapse(torch.zeros(3, 100)).shape, synapse.weight.ndim
    (torch.Size([3, 50]), 1)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        probability: float = 0.1,
        bias: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        if not 0 < probability <= 1:
            raise ValueError(f"probability={probability}; wanted a number above 0 and at most 1")
        there = torch.rand(in_features, out_features, generator=generator) < probability
        pre, post = there.nonzero(as_tuple=True)
        bound = 1 / math.sqrt(max(1.0, probability * in_features))
        weight = (2 * torch.rand(len(pre), generator=generator) - 1) * bound
        start = (2 * torch.rand(out_features, generator=generator) - 1) * bound if bias else None
        self._fill(pattern(pre, post, (out_features, in_features)), weight, start)

    @classmethod
    def from_edges(
        cls, pre: Tensor, post: Tensor, weights: Tensor, shape: tuple[int, int], bias: Tensor | None = None
    ) -> Sparse:
        """Return the layer with these synapses.

        Args:
            pre: presynaptic cell of each synapse, `[synapses]`.
            post: its postsynaptic cell, `[synapses]`.
            weights: `[synapses]`, in the same order. The layer sorts them by presynaptic cell; `in_order` does the same
                to other numbers, and the delays of a `Connection` are taken in the order of the edges.
            shape: `(out_features, in_features)`, as of the weight matrix of nn.Linear.
            bias: `[out_features]`; None for none.

        Raises:
            ValueError: for a cell out of range, a pair that is connected twice, or tensors that do not fit.

        >>> synapse = Sparse.from_edges(torch.tensor([0, 2]), torch.tensor([1, 1]), torch.tensor([2.0, 3.0]), (2, 3))
        >>> synapse(torch.ones(1, 3))
        tensor([[0., 5.]], grad_fn=<ViewBackward0>)
        """
        found = pattern(_tensor("pre", pre), _tensor("post", post), _two(shape))
        _tensor("weights", weights)
        if weights.shape != pre.shape or not weights.is_floating_point():
            raise ValueError(
                f"weights are {weights.dtype} of shape {tuple(weights.shape)} for {len(pre)} synapses; wanted a "
                "floating-point number for each: weights.double()"
            )
        if bias is not None and bias.shape != (shape[0],):
            raise ValueError(f"bias has shape {tuple(bias.shape)}; wanted ({shape[0]},), a number for each output")
        layer = cls.__new__(cls)
        layer._fill(found, found.sort(weights.detach()), None if bias is None else bias.detach().clone())
        layer.order = found.order
        return layer

    def in_order(self, values: Tensor) -> Tensor:
        """Return values `[synapses]`, given in the order of the edges of `from_edges`, in that of the weights.

        >>> one, two = torch.tensor([1, 0]), torch.tensor([0, 0])
        >>> Sparse.from_edges(one, two, torch.ones(2), (1, 2)).in_order(torch.tensor([10.0, 20.0]))
        tensor([20., 10.])
        """
        return values if self.order is None else values.index_select(0, self.order)

    def _fill(self, found: Pattern, weight: Tensor, bias: Tensor | None) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = found.shape
        self.register_buffer("pre", found.pre)
        self.register_buffer("post", found.post)
        self.weight = nn.Parameter(weight)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))
        self.order: Tensor | None
        self.register_buffer("order", None, persistent=False)  # the place of each synapse among the edges as given

    @property
    def shape(self) -> tuple[int, int]:
        """Of the weight matrix: `(out_features, in_features)`."""
        return self.out_features, self.in_features

    @property
    def pattern(self) -> Pattern:
        """The synapses, in the order of the weights."""
        return Pattern(self.pre, self.post, None, starts(self.pre, self.in_features), self.shape)

    def dense(self) -> Tensor:
        """Return the weights as a matrix `[out_features, in_features]`, differentiable; zero without a synapse."""
        return scattered(self.weight, self.pre, self.post, self.shape)

    def forward(self, input: Tensor) -> Tensor:
        """Map `[..., in_features]` to `[..., out_features]`."""
        if torch.compiler.is_compiling() or absent() or not plain(input, self):
            return F.linear(input, self.dense(), self.bias)
        flat = input.reshape(-1, self.in_features)
        y: Tensor = Spread.apply(flat, self.weight, self.pre, self.post, self.shape)  # type: ignore[no-untyped-call]
        y = y.reshape(*input.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, synapses={len(self.pre)}, "
            f"bias={self.bias is not None}"
        )


def _tensor(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}; wanted a tensor: torch.as_tensor({name})")
    return value


def _two(shape: Any) -> tuple[int, int]:
    if not (isinstance(shape, (tuple, list)) and len(shape) == 2):
        raise ValueError(f"shape is {shape!r}; wanted (out_features, in_features), such as shape=(50, 100)")
    return int(shape[0]), int(shape[1])


def plain(x: Tensor, layer: Sparse) -> bool:
    """Return whether the compiled loops can run a call: plain tensors on the CPU in an ordinary pass."""
    weight = layer.weight
    return (
        type(x) in (Tensor, nn.Parameter)
        and type(weight) is nn.Parameter
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and x.device.type == weight.device.type == "cpu"
        and x.layout == torch.strided
        and x.ndim > 0
        and x.shape[-1] == layer.in_features
        and ordinary()
    )


class Spread(torch.autograd.Function):
    """The product of inputs `[N, in]` with sparse weights `[synapses]`: loops over active inputs, or dense products.

    An addition at a place of the pattern takes as long as `SCATTERED` multiplications of a dense product, so each of
    the three products is dense where so few of the pairs drop out. Densities decide, and no timing.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, pre: Tensor, post: Tensor, shape: tuple[int, int]) -> Tensor:
        found = active(x)
        ctx.shape, ctx.few = shape, SCATTERED * len(found.at) * len(pre) < x.numel() * math.prod(shape)
        ctx.few = ctx.few and finite(found.value) and finite(weight)
        start = starts(pre, shape[1])
        ctx.save_for_backward(x, weight, pre, post, start, *(found if ctx.few else ()))
        if not ctx.few:
            return x @ scattered(weight, pre, post, shape).t()
        out = empty((len(x), shape[0]), x)
        given = (*map(numpy, found), numpy(start), numpy(post), numpy(weight), out.numpy())
        share_out(lambda first, last: kernels().spread(*given, first, last), len(x))
        return out

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, weight, pre, post, start, *found = ctx.saved_tensors
        for_x, for_weight = ctx.needs_input_grad[:2]
        plainly = torch.is_grad_enabled() or batched(error)  # to be differentiated again, or one of many
        plainly = plainly or not (finite(error) and finite(weight))
        at_output, synapses = error.detach(), (numpy(start), numpy(post))
        gx = gw = None
        if for_x and (plainly or SCATTERED * len(pre) >= math.prod(ctx.shape)):
            gx = error @ scattered(weight, pre, post, ctx.shape)
        elif for_x:
            gx = torch.zeros_like(x, memory_format=torch.contiguous_format)
            given = (numpy(at_output), *synapses, numpy(weight), gx.numpy())
            share_out(lambda first, last: kernels().gathered(*given, first, last), len(x))
        if for_weight and (plainly or not ctx.few):
            gw = (error.transpose(-1, -2) @ x)[..., post, pre]
        elif for_weight:
            gw = torch.zeros_like(weight)
            rows = (*map(numpy, found), *synapses, numpy(at_output), gw.numpy())
            share_out(lambda first, last: kernels().correlated(*rows, first, last), ctx.shape[1])
        return gx, gw, None, None, None


def scattered(weight: Tensor, pre: Tensor, post: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return sparse weights as a matrix, differentiable.

    >>> scattered(torch.tensor([2.0]), torch.tensor([1]), torch.tensor([0]), (1, 2))
    tensor([[0., 2.]])
    """
    return weight.new_zeros(shape).index_put((post, pre), weight)
