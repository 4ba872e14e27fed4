"""Quantise a spiking network, prune the feature maps of its convolutions by rank, and train it on: one pipeline."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rules.batches import as_batch
from rules.errors import unknown
from rules.forward import called, looking
from rules.plasticity.projected import (
    ModelSize,
    Projected,
    ProjectedOptimizer,
    exported,
    feature_scores,
    kept,
    model_size,
)
from rules.plasticity.projected.channels import take_maps
from rules.recipes import LearningRule
from rules.schedules import Schedule
from rules.trainer import Trainer
from sandbox.networks.network import Layer, Network

Score = Callable[[Tensor], Tensor]


class Compressed(NamedTuple):
    """A quantised and pruned network, and what the way there has shown."""

    model: Network  # plain: its parameters are the shown weights
    before: ModelSize  # quantised, with all feature maps
    after: ModelSize
    scores: dict[str, Tensor]  # of all feature maps, by the name of the pruned layer
    kept: dict[str, Tensor]  # indices of those that stayed
    measured: tuple[float, ...]  # quantised, pruned, and trained on; empty without a measure


def quantise_and_prune(
    network: Network,
    rule: LearningRule,
    loader: Any,
    share: float | Mapping[str, float],
    *,
    epochs: int,
    finetuning: int,
    batches: int = 5,
    score: Score = feature_scores,
    schedule: Schedule | None = None,
    measure: Callable[[nn.Module], float] | None = None,
    seed: int = 0,
) -> Compressed:
    """Train with quantised weights, remove the feature maps of lowest rank, train on with the same quantiser, export.

    The quantiser is the plasticity of the rule. What goes on learning behind the removed maps are the latent weights
    of the others, and the optimizer starts anew. All maps of the last convolution stay.

    Args:
        network: layers without residual blocks; it stays as it is.
        rule: with a plasticity that projects weights, such as `Levels(bits=4)`.
        loader: of training batches, which can be read again and again, such as a list or a DataLoader.
        share: of the maps of a layer that are removed, from 0 to below 1: one number for every convolution but the
            last, or a number by the name of the layer, such as "layers.1". What stays is rounded up.
        epochs: of training before the pruning.
        finetuning: epochs afterwards.
        batches: how many of the loader's batches the maps are scored on, the first that it yields; 5 as in the authors'
            code.
        score: of spikes `[T, B, F, H, W]`, one number for each map, higher for those to be kept.
        schedule: of the learning rate in each of the two trainings; one that is left open, such as `rules.Cosine()`,
            takes their length, and then the loader needs `len`.
        measure: called with the plain network when it is quantised, pruned, and trained on; None for no measure.
        seed: of every random draw of the two trainings.

    Returns: The plain network, its sizes in bits, scores and indices of maps, and measures.

    Raises:
        ValueError: before anything is trained, for a rule whose plasticity projects nothing, a name that belongs to no
            convolution or to the last one, a share outside of [0, 1), and layers that cannot be pruned.

    >>> import rules
    >>> from rules.plasticity import Levels
    >>> from sandbox.networks.models import convolutional
    >>> rule = rules.LearningRule(rules.OBJECTIVES["ce_mean"](), rules.BPTT(), Levels(bits=4))
    >>> net = convolutional((1, 8, 8), 10, (8, 8))
    >>> loader = [(torch.rand(4, 10, 1, 8, 8), torch.arange(10))]
    >>> found = quantise_and_prune(net, rule, loader, 0.5, epochs=1, finetuning=1)
    >>> found.before.bits, found.after.bits
    (16448, 13888)

    Reference: Wei et al. 2025 (arXiv 2502.05905): the order quantise, prune, fine-tune is that of the paper.
    """
    if not isinstance(rule.plasticity, Projected):
        raise ValueError(
            f"the plasticity {type(rule.plasticity).__name__} projects no weights: give a quantiser, "
            "rule = replace(rule, plasticity=Levels(bits=4))"
        )
    for name, count, least in (("epochs", epochs, 0), ("finetuning", finetuning, 0), ("batches", batches, 1)):
        if count < least:
            raise ValueError(f"{name}={count}: give a whole number, at least {least}")
    shares = _shares(network, share)
    prune_maps(network, {name: kept(torch.zeros(_maps(network, name)), each) for name, each in shares.items()})

    whole = copy.deepcopy(network)
    first = _begun(whole, rule, loader, epochs, schedule, seed)
    _learn(first, loader, epochs)
    quantised = exported(whole, _projecting(first))
    scores = score_maps(quantised, _first(first, loader, batches), score)
    keep = {name: kept(scores[name], each) for name, each in shares.items()}

    small = prune_maps(_latent(whole, _projecting(first)), keep)
    second = _begun(small, rule, loader, finetuning, schedule, seed)
    pruned = exported(small, _projecting(second))
    _learn(second, loader, finetuning)
    plain = exported(small, _projecting(second))
    return Compressed(
        plain,
        model_size(whole, _projecting(first)),
        model_size(small, _projecting(second)),
        {name: scores[name] for name in keep},
        keep,
        () if measure is None else tuple(measure(each) for each in (quantised, pruned, plain)),
    )


def prune_maps(network: Network, keep: Mapping[str, Sequence[int] | Tensor]) -> Network:
    """Return a smaller copy of a spiking network, without some feature maps of its convolutions.

    Args:
        network: layers without residual blocks.
        keep: the feature maps that stay, by the name of the layer, such as "layers.0".

    Raises:
        ValueError: for a name that belongs to no convolution, residual blocks, cells of a pruned layer that learn a
            tensor, and what `rules.plasticity.projected.prune_channels` refuses.

    >>> from sandbox import build
    >>> small = prune_maps(build((1, 8, 8), 10, ("4c3p2", 20)), {"layers.0": [0, 3]})
    >>> [tuple(p.shape) for p in small.parameters()][:3]
    [(2, 1, 3, 3), (2,), (20, 32)]
    """
    found = copy.deepcopy(network)
    names = {}
    for name in keep:
        layer, names[name] = _convolution(found, name)
        tensors = [] if layer.cells.learned is None else [p for p in layer.cells.learned.parameters() if p.ndim]
        if tensors:
            kind = type(layer.cells.neuron).__name__
            raise ValueError(
                f"the cells of {name!r} ({kind}) learn a tensor, which may hold a value for each map: prune layers "
                "whose cells learn single numbers or nothing"
            )
    take_maps(list(_parts(found)), {names[name]: indices for name, indices in keep.items()})
    return found


def score_maps(network: Network, loader: Iterable[Any], score: Score = feature_scores) -> dict[str, Tensor]:
    """Return a score for every feature map of each spiking convolution, averaged over samples, by the layer's name.

    Args:
        network: run in evaluation mode with the weights that it has; it stays as it is.
        loader: batches to score on.
        score: of spikes `[T, B, F, H, W]`, a mean over samples; the rank of each map by default.

    Raises:
        ValueError: for a network without convolutions, or no batch.

    >>> from sandbox import build
    >>> score_maps(build((1, 8, 8), 10, ("4c3p2", 20)), [torch.zeros(5, 2, 1, 8, 8)])
    {'layers.0': tensor([0., 0., 0., 0.])}
    """
    names = _convolutions(network)
    totals: dict[str, Tensor] = {}

    def adding(name: str) -> Callable[..., None]:
        def add(module: nn.Module, inputs: Any, output: Any) -> None:
            spikes = output[0]
            totals[name] = totals.get(name, 0) + score(spikes) * spikes.shape[1]

        return add

    cells: dict[nn.Module, Any] = {network.get_submodule(f"{name}.cells"): adding(name) for name in names}
    samples = 0
    for item in loader:
        with looking(network, cells):
            samples += called(network, as_batch(item)).output.shape[1]
    if not samples:
        raise ValueError("the loader gave no batch to score feature maps on: hand over a list or a DataLoader")
    return {name: total / samples for name, total in totals.items()}


def _convolutions(network: Network) -> list[str]:
    """Return the names of the layers whose synapse is a convolution; raise ValueError for a network without."""
    layers = {f"layers.{number}": layer for number, layer in enumerate(network.layers)}
    found = [n for n, layer in layers.items() if isinstance(layer, Layer) and _kernel(layer.synapse) is not None]
    if not found:
        raise ValueError("the network has no layer with a convolution: build one, as in build(..., hidden=('16c3p2',))")
    return found


def _kernel(synapse: nn.Module) -> str | None:
    """Return the name of the convolution inside a synapse, "" for the synapse itself."""
    return next((name for name, part in synapse.named_modules() if isinstance(part, nn.Conv2d)), None)


def _convolution(network: Network, name: str) -> tuple[Layer, str]:
    """Return the layer of this name, and the whole name of its convolution."""
    names = _convolutions(network)
    if name not in names:
        raise unknown("layer with a convolution", name, names)
    layer: Any = network.get_submodule(name)
    return layer, f"{name}.synapse.{_kernel(layer.synapse)}".rstrip(".")


def _maps(network: Network, name: str) -> int:
    """Return the number of feature maps of a layer."""
    convolution: Any = network.get_submodule(_convolution(network, name)[1])
    return int(convolution.out_channels)


def _parts(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """Yield what the synapses are made of, in order, without the cells, which treat maps one by one."""
    for number, layer in enumerate(network.layers):
        if not isinstance(layer, Layer):
            raise ValueError(
                f"'layers.{number}' is a {type(layer).__name__}, whose branches need the same maps: only networks of "
                "layers one after the other are pruned"
            )
        inside = layer.synapse
        name = f"layers.{number}.synapse"
        parts = inside.named_children() if isinstance(inside, nn.Sequential) else [("", inside)]
        yield from ((f"{name}.{part}".rstrip("."), module) for part, module in parts)


def _shares(network: Network, share: float | Mapping[str, float]) -> dict[str, float]:
    """Return the share of the maps of each layer that are removed; raise ValueError for one that cannot be."""
    *inner, last = _convolutions(network)
    found = dict(share) if isinstance(share, Mapping) else dict.fromkeys(inner, share)
    if last in found:
        raise ValueError(f"{last!r} is the last convolution, whose maps all stay: leave it out of share")
    if not found:
        raise ValueError(
            f"share={share} prunes no layer, because the maps of the last convolution, {last!r}, all stay: name one of "
            f"{inner}"
            if inner
            else f"{last!r} is the only convolution, and its maps all stay: nothing is left to prune"
        )
    for name, each in found.items():
        if not 0 <= each < 1:
            raise ValueError(
                f"share={each} for {name!r}, which has {_maps(network, name)} feature maps: give the share that is "
                "removed, from 0 to below 1, so that one map stays at least"
            )
    return found


def _begun(
    network: Network, rule: LearningRule, loader: Any, epochs: int, schedule: Schedule | None, seed: int
) -> Trainer:
    """Return a trainer that is ready for its first step."""
    planned = None if schedule is None else schedule.over(epochs * len(loader))
    trainer = Trainer(network, rule, seed=seed, schedule=planned)
    for item in _first(trainer, loader, 1):
        trainer.begin(item)
    return trainer


def _first(trainer: Trainer, loader: Any, count: int) -> list[Any]:
    """Return some batches, in an order that follows the trainer's seed."""
    return list(islice(trainer.rest_of(loader, 0), count))


def _learn(trainer: Trainer, loader: Any, epochs: int) -> None:
    for _ in trainer.fit(loader, epochs):
        pass


def _projecting(trainer: Trainer) -> ProjectedOptimizer:
    """Return the optimizer, which is one that projects."""
    assert isinstance(trainer.optimizer, ProjectedOptimizer)
    return trainer.optimizer


@torch.no_grad()
def _latent(network: Network, optimizer: ProjectedOptimizer) -> Network:
    """Return a copy of a network with its latent weights in the place of the shown ones."""
    found = copy.deepcopy(network)
    copies = dict(found.named_parameters())
    for name, p in network.named_parameters():
        copies[name].copy_(optimizer.held(p) if p in optimizer.state else p)
    return found
