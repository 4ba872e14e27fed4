"""From the error at the output to the gradients of all weights, in the order of a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rules.credit.zero_order.layered.blocks import Call, rerun, rows, stacked, unstacked
from rules.credit.zero_order.layered.colouring import layout
from rules.credit.zero_order.layered.lab import Front, Lab, Site
from rules.credit.zero_order.layered.probes import transported
from rules.credit.zero_order.layered.recorded import Recorded, called
from rules.credit.zero_order.layered.stages import Block, Cells, Plain, tiled
from rules.credit.zero_order.products import only_weighs, unhooked
from rules.optional import turned_inside
from rules.synapses import transposed
from rules.weight_gradients import outer_products, weight_gradients

Plan = Callable[[int], Iterator[tuple[int, int]]]


class Transport:
    """One recorded pass, and the errors carried back through it."""

    def __init__(self, made: Recorded, lab: Lab, learned: dict[str, nn.Parameter]) -> None:
        self.made = made
        self.lab = lab
        self.names = {id(p): name for name, p in learned.items()}
        self.sharing = lab.how.times == "shared" and lab.how.probes == "basis"
        self.grads: dict[str, Tensor] = {}
        self.weight_operations = 0  # of outer products

    def gradients(self, error: Tensor, plan: Plan) -> dict[str, Tensor]:
        """Return the gradients of the trained parameters for the error at the output `[T, B, classes]`."""
        chain = self.made.chain
        learns = [any(id(p) in self.names for p in self.owned(number)) for number in range(len(chain.stages))]
        if not any(learns):
            return {}
        lowest, depth = learns.index(True), len(learns)
        errors = {depth: self.to_cut(depth, error)}
        for k, j in plan(depth - lowest):
            k, j = k + lowest, j + lowest
            errors[k] = self.carry(self.cut(k), self.cut(j), errors[j], f"{k}..{j}", j - k)
        for number in range(lowest, depth):
            if learns[number]:
                self.learn(number, errors[number + 1])
        return self.grads

    def owned(self, number: int) -> list[nn.Parameter]:
        """Return the parameters of a layer: those from its weight up to the next."""
        chain = self.made.chain
        steps = chain.steps[chain.stages[number].weigh : chain.end(number)]
        return [p for step in steps for p in step.module.parameters()]

    def cut(self, layer: int) -> int:
        """Return the position of the cut behind layer 1, 2, ..."""
        chain = self.made.chain
        return chain.stages[layer - 1].node if self.lab.how.cut == "pre" else chain.end(layer - 1)

    def to_cut(self, layer: int, error: Tensor) -> Tensor:
        """Return the output's error at the last cut."""
        return self.carry(self.cut(layer), len(self.made.chain.steps), error, "output")

    def carry(self, start: int, end: int, error: Tensor, name: str, layers: int = 0) -> Tensor:
        """Return the error at one position, from that at a later one."""
        return error if start == end else transported(self.site(start, end, name, layers), error, self.lab)

    def site(self, start: int, end: int, name: str, layers: int) -> Site:
        """Return the part of the chain from one position to another, as a site of measurements."""
        made, steps = self.made, self.made.chain.steps
        value, timeless = made.timed(start), made.timeless(start, end)
        weighed = any(step.weighted for step in steps[start:end])
        return Site(
            name=name,
            number=start,
            value=value,
            end=made.timed(end),
            respond=lambda x, since: made.run(start, end, x, since),
            layout=layout(steps[start:end], [made.features(p) for p in range(start, end + 1)]),
            weighed=weighed,
            timeless=timeless,
            shared=weighed and not timeless and self.sharing,
            resumable=made.resumable(start, end),
            bytes=self.bytes(start, end, value),
            layers=layers,
            front=self.front(start, end),
        )

    def front(self, start: int, end: int) -> Front | None:
        """Return the beginning of this part up to its first weight; None if units meet or the weight does more."""
        made, steps = self.made, self.made.chain.steps
        weigh = next((p for p in range(start, end) if steps[p].weighted), end)
        if weigh == end or not all(step.pointwise for step in steps[start:weigh]):
            return None
        module, last = steps[weigh].module, weigh + 1 == end
        if not (isinstance(steps[weigh], Plain) and only_weighs(module) and unhooked(module)):
            return None
        if isinstance(module, _ConvNd):
            if module.padding_mode != "zeros" or isinstance(module.padding, str) or not last:
                return None
        elif not (last or len(made.features(weigh)) == 1):
            return None
        value, z = made.timed(weigh), made.timed(weigh + 1)
        counted = (value if transposed(module) else z)[0, 0].numel()
        return Front(
            enter=lambda x, since: made.run(start, weigh, x, since),
            module=module,
            value=value,
            z=z,
            rest=None if last else lambda x, since: made.run(weigh + 1, end, x, since),
            pairs=counted * cast("Tensor", module.weight)[0].numel(),
            assumed=any(isinstance(step, Cells) for step in steps[start:weigh]),
        )

    def bytes(self, start: int, end: int, value: Tensor) -> int:
        """Return the memory of one perturbed copy: itself, its direction, a step's input and output twice, differences.

        A convolution in float64 unfolds its input; in float32 oneDNN does not need that.
        """
        steps, sizes = self.made.chain.steps, [shape.numel() for shape in self.made.shapes]
        unfolded = [
            step.module.weight[0].numel() * sizes[p + 1] // step.module.out_channels
            if isinstance(step.module, _ConvNd) and value.dtype == torch.float64
            else 0
            for p, step in enumerate(steps)
        ]
        widest = max(2 * (sizes[p] + sizes[p + 1]) + unfolded[p] for p in range(start, end))
        return int(value.element_size() * (2 * value.numel() + widest + 3 * sizes[end]))

    def learn(self, number: int, error: Tensor) -> None:
        """Add the gradients of a stage's weights, from the error at its cut."""
        chain, at = self.made.chain, self.cut(number + 1)
        stage = chain.stages[number]
        if stage.node < at:
            error, at = self.carry(stage.node, at, error, f"{stage.name} behind its cut"), stage.node
        cells = chain.steps[at] if at < len(chain.steps) else None
        if isinstance(cells, Cells):
            self.recurrent(cells, at, error)
        error = self.carry(stage.weigh + 1, at, error, f"{stage.name} behind its weight")
        step = chain.steps[stage.weigh]
        if isinstance(step, Block):
            for use, call in enumerate(self.made.calls[stage.weigh]):
                self.inside(step, stage.weigh, use, call, error)
        else:
            self.add(step.module, self.made.values[stage.weigh], error)

    def recurrent(self, step: Cells, position: int, error: Tensor) -> None:
        """Add the gradients of recurrent weights, from the error at the neurons' current and their recorded input."""
        for trace in self.made.heard[position].traces:
            owner = trace.weight.rpartition(".")[0]
            if not owner.startswith("synapse"):
                self.add(step.module.get_submodule(owner), trace.pre, error)

    def inside(self, step: Block, position: int, use: int, call: Call, error: Tensor) -> None:
        """Add the gradient of one use of a weight inside a block, probed to the block's output."""
        if not any(id(p) in self.names for p in call.module.parameters()):
            return
        made, x = self.made, self.made.values[position]
        form = rows(call, made.axis, len(error), made.samples, turned_inside(step.module))
        value = unstacked(call.z, form, made.samples)

        def respond(z: Tensor, since: int) -> Tensor:
            copies = tiled(x, z.shape[1] // made.samples, made.axis)
            y = called(step, copies, lambda copies: rerun(step, copies, use, stacked(z, form)))
            return y if made.axis == 1 else y[None]

        first, *rest = value.shape[2:]
        site = Site(
            name=f"{step.name}, use {use} of a weight inside",
            number=position + 10_000 * (use + 1),  # different from all positions
            value=value,
            end=made.timed(position + 1),
            respond=respond,
            layout=layout([step], [(first, *rest), made.features(position + 1)]),
            weighed=True,
            timeless=len(error) == 1,
            shared=len(value) > 1 and self.sharing,
            resumable=False,
            bytes=self.bytes(position, position + 1, value) + 4 * value.numel() * value.element_size(),
            layers=0,
        )
        self.add(call.module, call.pre, transported(site, error, self.lab))

    def add(self, module: nn.Module, pre: Tensor, error: Tensor) -> None:
        """Add gradients; those of a weight that is used more than once are summed."""
        own = dict(module.named_parameters(recurse=False))
        self.weight_operations += outer_products(module, pre, error)
        for name, gradient in weight_gradients(module, pre, error).items():
            full = self.names[id(own[name])]
            self.grads[full] = self.grads[full] + gradient if full in self.grads else gradient
