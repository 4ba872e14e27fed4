"""Quantise, prune by rank, train on: every stage against the same done by hand, sizes, and what is refused."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import rules
from rules.plasticity import Levels, Sign
from rules.plasticity.projected import exported, kept, quantised, scale_of
from sandbox import LIF, LeakyIntegrator, build, calibrate
from sandbox.networks.compression import prune_maps, quantise_and_prune, score_maps
from sandbox.networks.network import Layer, Network
from sandbox.networks.population import Population
from sandbox.neurons import CPLIF, learnable

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")

T, SHAPE = 3, (1, 8, 8)
WIDTHS = (6, 8, 5)
RULE = rules.LearningRule(rules.OBJECTIVES["ce_mean"](), rules.BPTT(), Levels(bits=2, lr=0.01))


def batches(*sizes):
    rng = torch.Generator().manual_seed(0)
    return [(torch.rand(T, size, *SHAPE, generator=rng), torch.arange(size) % 4) for size in sizes]


LOADER = batches(12, 12, 7)


def net(hidden=("6c3bp2", "8c3b", "5c3bp2"), neuron=None):
    made = build(SHAPE, 4, hidden, neuron or LIF(tau_mem=2.0), LeakyIntegrator(tau_mem=2.0), seed=1)
    calibrate(made, LOADER[0][0], rate=0.2)
    return made


def run(network=None, rule=RULE, share=0.5, **options):
    return quantise_and_prune(network or net(), rule, LOADER, share, **{"epochs": 2, "finetuning": 2, **options})


def test_the_export_puts_out_the_bits_of_the_stages_done_by_hand():
    """Two trainers, ranks by NumPy, and rows and columns of the latent weights picked one by one."""
    first = rules.Trainer(net(), RULE, seed=3)
    list(first.fit(LOADER, 2))
    scores = ranks(exported(first.model, first.optimizer), LOADER[:2])
    stay = {name: sorted(sorted(range(len(s)), key=lambda n, s=s: -s[n])[: len(s) // 2]) for name, s in scores.items()}
    one, two = stay["layers.0"], stay["layers.1"]
    small = net(("3c3bp2", "4c3b", "5c3bp2"))
    state, held = first.model.state_dict(), {}
    for name, p in first.model.named_parameters():
        state[name] = held[name] = first.optimizer.held(p).clone() if p in first.optimizer.state else p.detach()
    taken = {}
    for name, value in state.items():
        if name.startswith("layers.0") and value.ndim:
            value = value[one]
        elif name.startswith("layers.1") and value.ndim:
            value = value[two][:, one] if value.ndim == 4 else value[two]
        elif name == "layers.2.synapse.0.weight":
            value = value[:, two]
        taken[name] = value
    small.load_state_dict(taken)
    second = rules.Trainer(small, RULE, seed=3)
    list(second.fit(LOADER, 2))

    found = run(seed=3, batches=2)
    assert {name: indices.tolist() for name, indices in found.kept.items()} == {"layers.0": one, "layers.1": two}
    x = LOADER[0][0]
    assert torch.equal(found.model.eval()(x).output, second.model.eval()(x).output)
    assert found.model(x).output.any()
    assert {type(p) for p in found.model.parameters()} == {nn.Parameter}


def ranks(model, loader):
    """The mean rank of each map over all samples, from the outputs of the layers."""
    totals = {"layers.0": 0, "layers.1": 0}
    model.eval()
    for x, _ in loader:
        for name in totals:
            x = model.get_submodule(name)(x)
            maps = x.detach().double().mean(0).numpy()  # [B, F, H, W]
            totals[name] = totals[name] + np.linalg.matrix_rank(maps, tol=1e-6).sum(0)
    samples = sum(len(y) for _, y in loader)
    return {name: [float(np.float32(each / samples)) for each in total] for name, total in totals.items()}


def test_scores_are_means_over_the_samples_of_all_batches():
    network = net()
    found, wanted = score_maps(network, LOADER), ranks(copy.deepcopy(network), LOADER)
    for name, scores in wanted.items():
        assert found[name].tolist() == pytest.approx(scores, rel=1e-6)  # sums in float32
    assert len(set(wanted["layers.0"])) > 1
    assert network.training


def test_silent_maps_go_first():
    network = net()
    with torch.no_grad():
        for layer, silent in (("layers.0", 4), ("layers.1", 0)):
            norm = network.get_submodule(layer).synapse[-1]
            norm.weight[silent], norm.bias[silent] = 0.0, -5.0
    found = run(network, share={"layers.0": 0.1, "layers.1": 0.125}, epochs=0, finetuning=0)
    assert found.scores["layers.0"][4] == found.scores["layers.1"][0] == 0.0
    assert found.kept["layers.0"].tolist() == list(range(6))  # 0.9 * 6, rounded up
    assert found.kept["layers.1"].tolist() == list(range(1, 8))


def test_without_their_maps_networks_do_what_they_do_with_maps_that_nobody_reads():
    """In float64, up to the order of summation."""
    network, x = net().double().eval(), LOADER[0][0].double()
    keep = {"layers.0": [0, 2, 5], "layers.2": torch.tensor([1, 4])}
    small = prune_maps(network, keep)
    with torch.no_grad():
        network.layers[1].synapse[0].weight[:, [1, 3, 4]] = 0.0
        for n in (0, 2, 3):
            network.layers[3].synapse[1].weight[:, 4 * n : 4 * (n + 1)] = 0.0
    wanted = network(x).output
    assert torch.allclose(small(x).output, wanted, rtol=0, atol=1e-10)
    assert wanted.any()
    assert [p.shape[0] for name, p in small.named_parameters() if p.ndim == 4] == [3, 8, 2]


def test_the_size_is_that_of_the_formula():
    """Levels inside, 32 bits elsewhere and for each scale: counted from the widths."""

    def bits(a, b, c):
        full = a * 9 + 2 * (a + b + c) + (4 * c * 4 + 4)  # first kernels, normalisations, read-out of 2 x 2 places
        return 32 * (full + b + c) + 2 * 9 * (a * b + b * c)

    found = run(epochs=1, finetuning=1)
    assert (found.before.bits, found.after.bits) == (bits(6, 8, 5), bits(3, 4, 5))
    for name, p in found.model.named_parameters():
        inside = name in ("layers.1.synapse.0.weight", "layers.2.synapse.0.weight")
        assert not p.ndim > 1 or all((len(row.unique()) <= 4) == inside for row in p.flatten(1)), name


def test_latent_weights_go_on_and_not_what_was_shown_of_them():
    """Without fine-tuning the weights are those of the latent ones that are left, quantised anew."""
    first = rules.Trainer(net(), RULE)
    list(first.fit(LOADER, 2))
    found = run(finetuning=0)
    two, three = found.kept["layers.1"], first.model.layers[2].synapse[0].weight
    left = first.optimizer.held(three)[:, two]
    assert torch.equal(found.model.layers[2].synapse[0].weight, quantised(left, scale_of(left), 2))
    again = three.detach()[:, two]
    assert not torch.equal(quantised(left, scale_of(left), 2), quantised(again, scale_of(again), 2))


def test_three_networks_are_measured_and_the_given_one_stays_as_it_was():
    network = net()
    before = copy.deepcopy(network.state_dict())
    seen = []

    def measure(each):
        seen.append(each)
        return float(sum(p.numel() for p in each.parameters()))

    found = run(network, measure=measure, schedule=rules.Cosine())
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())
    whole, pruned, tuned = found.measured
    assert whole == sum(p.numel() for p in network.parameters()) > pruned == tuned
    assert seen[2] is found.model
    assert not torch.equal(seen[1].layers[0].synapse[0].weight, seen[2].layers[0].synapse[0].weight)
    assert run().measured == ()


def test_another_score_and_another_quantiser():
    """By the index, the last maps stay; signs have two values."""
    by_index = lambda spikes: torch.arange(float(spikes.shape[2]))  # noqa: E731
    found = run(rule=replace(RULE, plasticity=Sign(lr=0.01)), score=by_index)
    assert found.kept["layers.0"].tolist() == [3, 4, 5]
    assert found.kept["layers.1"].tolist() == [4, 5, 6, 7]
    assert {len(row.unique()) for row in found.model.layers[1].synapse[0].weight.flatten(1)} == {2}


class Shuffled:
    """Batches in an order of torch's global generator."""

    def __iter__(self):
        return iter([LOADER[n] for n in torch.randperm(len(LOADER))])


def test_the_order_of_a_loader_follows_the_seed():
    network, state = net(), torch.get_rng_state()
    first, again, other = (
        quantise_and_prune(network, RULE, Shuffled(), 0.5, epochs=1, finetuning=1, batches=1, seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.scores["layers.0"], again.scores["layers.0"])
    assert torch.equal(first.model(LOADER[0][0]).output, again.model(LOADER[0][0]).output)
    assert not torch.equal(first.scores["layers.0"], other.scores["layers.0"])


def test_cells_that_learn_single_numbers_are_pruned():
    found = run(net(neuron=LIF(tau_mem=learnable(2.0))), finetuning=1)
    assert found.model.layers[0].synapse[0].out_channels == 3


def test_layers_of_a_convolution_alone_and_normalised_dense_ones():
    layers = [Layer(nn.Conv2d(1, 4, 3), Population(LIF(), 1.0)), *build((4, 6, 6), 4, ("5b",)).layers]
    small = prune_maps(Network(layers, SHAPE), {"layers.0": [1]})
    assert [tuple(p.shape) for p in small.parameters()][:3] == [(1, 1, 3, 3), (1,), (5, 36)]
    assert small(LOADER[0][0]).output.shape == (T, 12, 4)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: run(share={"layers.1": 1.0}),
            "share=1.0 for 'layers.1', which has 8 feature maps: give the share that is removed, from 0 to below 1, so "
            "that one map stays at least",
        ),
        (lambda: run(share=1.0), "share=1.0 for 'layers.0', which has 6 feature maps"),
        (lambda: run(share=-0.1), "share=-0.1 for 'layers.0'"),
        (lambda: run(share=float("nan")), "share=nan for 'layers.0'"),
        (lambda: run(share={"layers.2": 0.5}), "'layers.2' is the last convolution, whose maps all stay"),
        (lambda: run(share={"layers.3": 0.5}), "unknown layer with a convolution 'layers.3'"),
        (lambda: run(net(("4c3p2",))), "'layers.0' is the only convolution"),
        (lambda: run(share={}), "share={} prunes no layer, because the maps of the last convolution, 'layers.2', all"),
        (lambda: run(build(SHAPE, 4, (5,))), "the network has no layer with a convolution"),
        (lambda: run(build(SHAPE, 4, ("4c3", "4x3", "4c3"))), "'layers.1' is a Residual"),
        (lambda: run(net(neuron=CPLIF())), "the cells of 'layers.0' (CPLIF) learn a tensor"),
        (lambda: run(rule=rules.make("bptt")), "the plasticity Adam projects no weights: give a quantiser"),
        (lambda: run(epochs=-1), "epochs=-1: give a whole number, at least 0"),
        (lambda: run(batches=0), "batches=0: give a whole number, at least 1"),
        (lambda: prune_maps(net(), {"layers.1": []}), "layer 'layers.1.synapse.0' would keep none of its 8"),
        (lambda: score_maps(net(), []), "the loader gave no batch to score feature maps on"),
    ],
)
def test_what_cannot_be_compressed_is_refused_before_training(act, message, monkeypatch):
    monkeypatch.setattr(rules.Trainer, "step", None)
    with pytest.raises(ValueError, match=re.escape(message)):
        act()


def test_shares_are_rounded_so_that_a_map_stays():
    found = run(share=0.99, epochs=0, finetuning=0)
    assert [len(each) for each in found.kept.values()] == [1, 1]
    assert torch.equal(found.kept["layers.0"], kept(found.scores["layers.0"], 0.99))
