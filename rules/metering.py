"""Count the cost of calls of a model, product by product."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_leaves
from torch.utils.hooks import RemovableHandle

from rules.contract import Cost, Objective
from rules.optional import repeats, tallying
from rules.products import Products, Watch, is_weight
from rules.synapses import Product, counted, transposed

# Whether a model or an objective has products outside of the modules that are counted, found in its first pass of each
# kind, in training or evaluation, with or without gradient: only then torch's operators are watched in later ones.
_FUNCTIONAL: WeakKeyDictionary[nn.Module, dict[tuple[bool, bool], bool]] = WeakKeyDictionary()

# The products of a call of a module that says what they depend on (`rules.optional.Part.repeats`), by that, the kind of
# the pass and the shapes of its input: they are counted again without being watched.
_REPEATED: WeakKeyDictionary[nn.Module, dict[Hashable, tuple[Tally, ...]]] = WeakKeyDictionary()


class Tally(NamedTuple):
    """What counts of a product outside of modules."""

    operations: int
    incoming: int  # numbers that are not weights
    outgoing: int
    passed: int  # operands that an error goes to
    weighed: bool  # whether a weight gets a gradient


def pairs(module: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """Return the number of pairs of an input and a weight in a call, zeros included.

    >>> import torch
    >>> pairs(nn.Linear(4, 3), (torch.zeros(2, 4),), torch.zeros(2, 3))
    24
    """
    if hasattr(module, "pairs"):
        return int(module.pairs(inputs, output))
    if isinstance(module, nn.RNNBase):  # every matrix once for each step and sample
        first = shown(output)
        return int(first.numel() // first.shape[-1]) * sum(p.numel() for p in module.parameters() if p.ndim == 2)
    return int((inputs[0] if transposed(module) else output).numel() * module.weight[0].numel())


def inner_errors(module: nn.RNNBase, inputs: tuple[Any, ...], made: Tensor, passed: bool) -> int:
    """Return the operations that carry errors in a recurrent module: over time, between layers, and to its input.

    No error goes to a state before the first step that has no gradient of its own.
    """
    rows = made.numel() // made.shape[-1]  # steps x samples
    given = inputs[0]
    if isinstance(given, PackedSequence):
        first = int(given.batch_sizes[0])
    else:
        first = 1 if given.ndim == 2 else given.shape[0 if module.batch_first else 1]
    begun = any(state.requires_grad for state in map(shown, inputs[1:]) if isinstance(state, Tensor))
    total = 0
    for name, p in module.named_parameters():
        if name.startswith("weight_ih"):
            total += rows * p.numel() * (passed or not name.startswith("weight_ih_l0"))
        elif p.ndim == 2:  # recurrent ones, and projections of the output
            total += (rows if begun or not name.startswith("weight_hh") else rows - first) * p.numel()
    return total


def shown(output: Any) -> Tensor:
    """Return the first tensor of an output; of a packed sequence its data."""
    while isinstance(output, (tuple, list)) and not isinstance(output, PackedSequence):
        output = output[0]
    found: Tensor = output.data if isinstance(output, PackedSequence) else output
    return found


class Meter:
    """A context that counts the products of every forward pass: of modules, and of torch's operators outside of them.

    It also counts multiplications and conversions as if each weight matrix were an analogue array between digital
    neurons: forward, and backward where autograd will need it. Operators outside of modules are looked for in the first
    pass of a model, and watched in later ones if there are any. A rule reports its other work by `add`.

    Args:
        model: whose calls are counted.
        objective: whose projection head and teachers are counted too, not as layers.
        functional: whether to look for products outside of modules.

    >>> import torch
    >>> with Meter(net := nn.Linear(4, 3)) as meter:
    ...     shape = net(torch.zeros(2, 4)).shape
    >>> meter.add(weight_operations=12)
    >>> cost = meter.cost(forwards=1, backwards=0)
    >>> cost.synaptic_operations, cost.weight_operations, cost.multiplications
    (24, 12, 36)
    """

    def __init__(self, model: nn.Module, objective: Objective | None = None, *, functional: bool = True) -> None:
        self.operations = 0
        self.conversions = [0, 0]  # to analogue and to digital, forward
        self.reverse = [0, 0, 0, 0]  # operations for errors and for weights, and both conversions, backward
        self.extra = Cost()
        self.outside = Cost()  # of products outside of counted modules, in the forward direction
        self._seen = set[int]()
        roots = [model, *([] if objective is None else beside(objective))]
        inside = [counted(root).values() for root in roots]
        self._layers = set(map(id, inside[0]))
        self._counted = list(dict.fromkeys(module for modules in inside for module in modules))
        self._watchers = [Watcher(root, self._found, roots) for root in roots if functional and watched(root)]
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Meter:
        for watcher in self._watchers:
            self._handles += watcher.hooks()
        self._handles += [module.register_forward_hook(self._count) for module in self._counted]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        for watcher in self._watchers:
            watcher.close()
            if error is None:
                watcher.remember()

    def add(self, **counts: int) -> None:
        """Add work that no call shows, such as outer products and updates of traces, by fields of `Cost`.

        Operations for errors and weights are counted as multiplications too, unless those are given.
        """
        products = counts.get("error_operations", 0) + counts.get("weight_operations", 0)
        self.extra += Cost(**{"multiplications": products, **counts})

    @tallying
    def _count(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        made, given = shown(output), [shown(each) for each in inputs if isinstance(shown(each), Tensor)]
        if not isinstance(module, Product):
            self._seen.add(id(module))
            given = given[:1]
        weighed = any(p.requires_grad for p in module.parameters())
        passed = sum(each.requires_grad for each in given)
        operations, incoming = pairs(module, inputs, output), sum(each.numel() for each in given)
        if isinstance(module, nn.RNNBase):
            errors = inner_errors(module, inputs, made, passed > 0)
            self._tally(operations, incoming, made.numel(), bool(passed), weighed, errors)
        else:
            self._tally(operations, incoming, made.numel(), passed, weighed)

    def _found(self, found: Tally) -> None:
        """Count an operator outside of modules."""
        self.outside += forward_cost(found.operations, found.incoming, found.outgoing)
        self._tally(*found)

    def _tally(
        self, operations: int, incoming: int, outgoing: int, passed: int, weighed: bool, errors: int | None = None
    ) -> None:
        """Count a product; errors take as many operations as the product for each input that they go to."""
        self.operations += operations
        self.conversions = [self.conversions[0] + incoming, self.conversions[1] + outgoing]
        if (passed or weighed) and torch._C._current_graph_task_id() == -1:  # not where a pass is computed again
            errors = operations * passed if errors is None else errors
            back = (errors, operations * weighed, outgoing, incoming * bool(passed))
            self.reverse = [before + now for before, now in zip(self.reverse, back, strict=True)]

    def cost(self, forwards: int, backwards: int) -> Cost:
        """Return the cost of `forwards` whole passes and `backwards` reverse passes, one or none."""
        back = [count * backwards for count in self.reverse]
        return self.extra + Cost(
            forwards,
            backwards,
            layer_evaluations=forwards * len(self._seen & self._layers),
            synaptic_operations=self.operations,
            error_operations=back[0],
            weight_operations=back[1],
            neuron_steps=self.conversions[1],
            multiplications=self.operations + back[0] + back[1],
            dac_conversions=self.conversions[0] + back[2],
            adc_conversions=self.conversions[1] + back[3],
        )


class Watcher:
    """Watches torch's operators inside the calls of a module and its parts, but not inside those that are counted.

    Nor inside of other modules that have a watcher of their own, such as a teacher that an objective calls.
    """

    def __init__(self, root: nn.Module, report: Callable[[Tally], None], roots: Sequence[nn.Module] = ()) -> None:
        self.root, self.report = root, report
        inside = set(map(id, root.modules()))
        self.others = [other for other in roots if id(other) not in inside]
        self.kind = kind_of(root)
        self.depth, self.calls, self.found = 0, 0, False
        self.watch = Watch(self._noted)
        self.key: Hashable = None  # of the call, where its products are known or to be remembered
        self.seen: list[Tally] | None = None  # of the call; None where it is not watched

    def hooks(self) -> list[RemovableHandle]:
        """Register hooks on every part and return their handles."""
        muted = {id(module) for module in counted(self.root).values()}
        handles = []
        for part in self.root.modules():
            silent = id(part) in muted
            handles.append(part.register_forward_pre_hook(tallying(partial(self._enter, silent))))
            handles.append(part.register_forward_hook(tallying(partial(self._leave, silent)), always_call=True))
        for other in self.others:
            handles.append(other.register_forward_pre_hook(tallying(partial(self._mute, 1))))
            handles.append(other.register_forward_hook(tallying(partial(self._mute, -1)), always_call=True))
        return handles

    def close(self) -> None:
        """Stop watching inside a call that was broken off: hooks behind it do not follow a KeyboardInterrupt."""
        if self.depth:
            self.depth = self.watch.muted = 0
            self._end()

    def remember(self) -> None:
        """Keep whether there was anything to watch, if the module was called."""
        if self.calls:
            _FUNCTIONAL.setdefault(self.root, {})[self.kind] = self.found

    def _mute(self, change: int, *call: Any) -> None:
        self.watch.muted += change

    def _enter(self, silent: bool, module: nn.Module, inputs: Any) -> None:
        if self.depth == 0:
            self.calls += 1
            self._begin(inputs)
        self.depth += 1
        self.watch.muted += silent

    def _leave(self, silent: bool, module: nn.Module, inputs: Any, output: Any) -> None:
        self.depth -= 1
        self.watch.muted -= silent
        if self.depth == 0:
            if self.key is not None and self.seen is not None and output is not None:  # None: the call has raised
                _REPEATED.setdefault(self.root, {})[self.key] = tuple(self.seen)
            self._end()

    def _begin(self, inputs: Any) -> None:
        """Count the products of a call that are known, or begin to watch them."""
        said = repeats(self.root)
        self.key = None if said is None else (said, self.kind, signature(inputs))
        known = None if self.key is None else _REPEATED.get(self.root, {}).get(self.key)
        if known is None:
            self.seen = []
            self.watch.__enter__()  # type: ignore[no-untyped-call]
            return
        for tally in known:
            self.found = True
            self.report(tally)

    def _end(self) -> None:
        if self.seen is not None:
            self.seen = None
            self.watch.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def _noted(self, products: Products, out: Tensor) -> None:
        tally = tally_of(products, out)
        assert self.seen is not None
        self.seen.append(tally)
        self.found = True
        self.report(tally)


def tally_of(products: Products, out: Tensor) -> Tally:
    """Return what counts of the products of an operator."""
    weights = [operand for operand in products.operands if is_weight(operand)]
    signals = [operand for operand in products.operands if not is_weight(operand)]
    passed = sum(operand.requires_grad for operand in signals)
    weighed = any(operand.requires_grad for operand in weights)
    return Tally(products.pairs, sum(each.numel() for each in signals), out.numel(), passed, weighed)


def signature(inputs: Any) -> Hashable:
    """Return the shapes of the tensors in nested containers, and which of them an error goes to."""
    return tuple((leaf.shape, leaf.requires_grad) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor))


def kind_of(root: nn.Module) -> tuple[bool, bool]:
    """Return what the operators of a pass may depend on: the mode, and whether there is a gradient."""
    return root.training, torch.is_grad_enabled()


def watched(root: nn.Module) -> bool:
    """Return whether operators have to be watched; not inside compiled parts, where they cannot be."""
    known = _FUNCTIONAL.get(root, {}).get(kind_of(root))
    return not compiled(root) if known is None else known


def forward_cost(operations: int, incoming: int, outgoing: int) -> Cost:
    """Return the cost of a product in the forward direction, from the numbers that enter and leave it."""
    return Cost(
        synaptic_operations=operations,
        neuron_steps=outgoing,
        multiplications=operations,
        dac_conversions=incoming,
        adc_conversions=outgoing,
    )


def beside(objective: Objective) -> list[nn.Module]:
    """Return the modules that an objective runs: its own, and its helpers."""
    own = objective.module()
    return [*([] if own is None else [own]), *objective.helpers()]


def compiled(model: nn.Module) -> bool:
    """Return whether torch has compiled a part of the model, in which no operator can be watched."""
    return any(
        "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )
