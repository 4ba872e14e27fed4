"""Every named rule trains a network of each new kind of cell, or refuses it by the name of the cell."""

from __future__ import annotations

import copy
import re
import warnings

import pytest
import torch

import rules
from rules import RULES, Batch, Health, Trainer
from rules.models.admission import UnfitModel
from rules.spikes.surrogate import differentiating
from sandbox import build, scan
from sandbox.neurons import (
    ASN,
    CPLIF,
    ILIF,
    LIF,
    PLIF,
    PSN,
    LeakyIntegrator,
    MaskedPSN,
    SlidingPSN,
    StochasticBinary,
    TwoCompartment,
)
from sandbox.neurons.learnable import learnable

CELLS = {
    "psn": PSN(4),
    "masked_psn": MaskedPSN(4, 2),
    "sliding_psn": SlidingPSN(2),
    "ilif": ILIF(),
    "asn": ASN(),
    "cplif": CPLIF(),
}
NEVER = {  # rules that cannot train a kind of cell, by what they need
    "cells": ["rtrl", "snap1", "uoro", "eprop", "ostl", "otpe", "ottt", "decolle", "three_factor"],
    "spikes": [
        "stdp",
        "triplet_stdp",
        "voltage_stdp",
        "r_stdp",
        "escape_noise",
        "bcpnn",
        "eventprop",
    ],  # which learn no constants, and leave learned ones as they are
    "dendrites": ["urbanczik_senn"],  # as "cells", and leaves learned constants as they are
    "carry": ["sltt", "hzo", "layerwise_zo", "sequential_local", "binary_stochastic", "binary_stochastic_ideal"],
    "bits": ["binary_stochastic", "binary_stochastic_ideal"],
}
REFUSED = {
    "psn": [*NEVER["cells"], *NEVER["spikes"], *NEVER["dendrites"], *NEVER["carry"]],
    "masked_psn": [*NEVER["cells"], *NEVER["spikes"], *NEVER["dendrites"]],
    "sliding_psn": [*NEVER["cells"], *NEVER["spikes"], *NEVER["dendrites"]],
    "ilif": [*NEVER["bits"], "escape_noise", "eventprop"],
    "asn": [*NEVER["bits"], *NEVER["cells"], "escape_noise", "eventprop"],
    "cplif": [*NEVER["cells"], *NEVER["spikes"], *NEVER["dendrites"]],
}
PERTURBING = ("spsa", "forward_gradient", "evolution_strategy", "coordinate_wise")
X, Y = torch.rand(4, 6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])


def network(kind, rule="bptt"):
    readout = StochasticBinary() if "binary_stochastic" in rule else LeakyIntegrator()
    if rule == "urbanczik_senn":  # whose read-out has dendrites
        readout = TwoCompartment(reset="none")
    return build((4,), 3, (8, 6), CELLS[kind], readout, seed=1)


@pytest.mark.parametrize("kind", CELLS)
def test_every_rule_learns_or_says_why_not(kind):
    """ASN is refused by online rules for its learned alpha, as any neuron with a learned constant."""
    refused = []
    for rule in RULES:
        if "chain" in rules.make(rule).needs:  # of dense layers without cells
            continue
        net = network(kind, rule)
        before = copy.deepcopy(net.state_dict())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer = Trainer(net, rule, seed=0)
                for _ in range(3):
                    info = trainer.step(Batch(X, Y))
        except (rules.MissingNeed, UnfitModel) as error:
            refused.append((rule, str(error)))
            continue
        assert torch.isfinite(torch.tensor(info.loss)), rule
        moved = [name for name, value in net.state_dict().items() if not torch.equal(value, before[name])]
        assert moved, rule
    assert sorted(rule for rule, _ in refused) == sorted(REFUSED[kind])
    named = rf"is made of {type(CELLS[kind]).__name__}|layers\.0\.cells\.learned"
    assert [text for _, text in refused if not re.search(named, text)] == []


@pytest.mark.parametrize("kind", ["psn", "sliding_psn", "asn", "cplif"])
def test_the_constants_of_cells_are_learned_too(kind):
    """By BPTT, by feedback, by perturbations of weights, and with the numbers that autograd gives."""
    for rule in ("bptt", "dfa", "spsa", "forward_gradient"):
        net = network(kind)
        before = {name: p.detach().clone() for name, p in net.named_parameters() if "learned" in name}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Trainer(net, rule, seed=0)
            for _ in range(5):
                trainer.step(Batch(X, Y))
        assert [name for name, p in net.named_parameters() if name in before and not torch.equal(p, before[name])], rule


def test_bptt_through_a_filter_is_finite_differences():
    """Smooth, in float64: the loss is differentiable, and BPTT's gradient of every parameter is its slope."""
    for kind in ("psn", "masked_psn", "sliding_psn", "cplif"):
        net = network(kind).double()
        batch = Batch(X.double(), Y)
        credit = rules.BPTT(smooth=True, detach_reset=False).assign(
            net, rules.OBJECTIVES["ce_mean"](), batch, (), torch.Generator().manual_seed(0)
        )
        for name, p in net.named_parameters():
            if "learned" not in name:
                continue
            step = torch.zeros_like(p)
            step.view(-1)[0] = 1e-6
            losses = []
            for sign in (1, -1):
                moved = copy.deepcopy(net)
                with torch.no_grad():
                    moved.get_parameter(name).add_(sign * step)
                with differentiating(smooth=True, detach_reset=False):
                    losses.append(float(rules.OBJECTIVES["ce_mean"]()(moved(batch.x), batch).detach()))
            slope = (losses[0] - losses[1]) / 2e-6
            assert float(credit.grads[name].view(-1)[0]) == pytest.approx(slope, abs=1e-7), (kind, name)


def test_an_annealed_mask_follows_the_epochs_and_survives_a_resume():
    """`Trainer.fit` tells the network which epoch begins; a trainer that goes on in the middle ends with the same bits."""

    def trainer():
        net = build((4,), 3, (8,), MaskedPSN(4, 2, masked=0.0, annealed=True), seed=1)
        return Trainer(net, "bptt", seed=0)

    loader = [(X, Y), (X, Y)]
    whole, seen = trainer(), []
    for _ in whole.fit(loader, 17):
        seen.append(whole.model.layers[0].cells.neuron.masked)
    assert seen[::2][:4] == [0.0, 0.5, 1.0, 1.0]
    first, second = trainer(), trainer()
    steps = first.fit(loader, 17)
    for _ in range(3):
        next(steps)
    second.load_state_dict(first.state_dict())
    list(second.fit(loader, 17 - second.epoch))
    for name, value in second.model.state_dict().items():
        assert torch.equal(value, whole.model.state_dict()[name]), name


@pytest.mark.parametrize("plasticity", ["levels", "sign", "soft_threshold", "magnitude"])
def test_filters_of_cells_are_not_projected(plasticity):
    """They weigh no signal of another cell: weights of synapses are projected, the first and the last matrix known."""
    net = network("psn")
    options = {"final": 0.5, "steps": 9, "ends": False} if plasticity == "soft_threshold" else {"ends": False}
    options |= {"sparsity": 0.5, "begin": 0} if plasticity == "magnitude" else {}
    rule = rules.compose("ce_mean", "bptt", plasticity, plasticity_options=options)
    trainer = Trainer(net, rule, seed=0)
    trainer.step(Batch(X, Y))
    held = {id(p) for p in trainer.optimizer.state if "latent" in trainer.optimizer.state[p]}
    assert [name for name, p in net.named_parameters() if id(p) in held] == ["layers.1.synapse.weight"]


def test_the_mask_is_in_the_state_and_reaches_networks_inside_of_others():
    """A checkpoint evaluates as the trainer did; a network inside of a module of one's own is told of epochs too."""

    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = build((4,), 3, (8,), MaskedPSN(4, 2, masked=0.0, annealed=True), seed=1)

        def forward(self, x):
            return self.net(x).output

    first, second = (Trainer(Mine(), "bptt", seed=0) for _ in range(2))
    steps = first.fit([(X, Y)], 33)
    for _ in range(3):
        next(steps)
    assert first.model.net.layers[0].cells.present().masked == 0.5
    second.load_state_dict(first.state_dict())
    assert second.evaluate([(X, Y)]) == first.evaluate([(X, Y)])
    with pytest.raises(
        ValueError, match="an annealed mask closes over several epochs, and training has 1: call fit onc"
    ):
        next(Trainer(Mine(), "bptt").fit([(X, Y)]))


def test_first_steps_of_a_cell_that_looks_ahead_are_no_answers():
    """`steps` of `evaluate` reports prefixes of the output, which are none where they depend on later inputs."""
    found = Trainer(network("psn"), "bptt").evaluate([(X, Y)], steps=(1, 2))
    assert set(found) == {"accuracy", "loss", "samples"} | ({"ties"} & set(found))
    assert "accuracy_at_1" in Trainer(network("sliding_psn"), "bptt").evaluate([(X, Y)], steps=(1, 2))


def test_padding_is_refused_where_it_would_be_seen():
    batch = Batch(X, Y, lengths=torch.tensor([4, 3, 2, 4, 4, 1]))
    with pytest.raises(UnfitModel, match="the batch has lengths, and Network would see what stands behind the end"):
        Trainer(network("psn"), "bptt").step(batch)
    Trainer(network("sliding_psn"), "bptt").step(batch)


@pytest.mark.parametrize("name", PERTURBING)
@pytest.mark.parametrize("cell", [ASN(), PLIF()], ids=["asn", "plif"])
def test_perturbations_leave_learned_constants_where_they_act(name, cell):
    """In their own units they move less than 10 in ten updates; in those of weights they moved by tens or more."""
    net = build((4,), 3, (20,), cell, seed=0)
    trainer = Trainer(net, name, seed=0, health=Health(every=0))
    for _ in range(10):
        trainer.step((X, Y))
    (raw,) = (p for p_name, p in net.named_parameters() if ".raw." in p_name)
    assert float(raw.detach().abs()) < 10


@pytest.mark.parametrize(("raw", "told"), [(127.9, False), (128.0, True), (-200.0, True)])
def test_a_window_at_the_end_of_its_range_is_said(raw, told):
    net = build((4,), 3, (20,), ASN(), seed=0)
    with torch.no_grad():
        net.layers[0].cells.learned.raw["alpha"].fill_(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = Trainer(net, "bptt", seed=0).step((X, Y)).health
    where = [each.where for each in found if each.kind == "at its bounds"]
    assert where == ["layers.0.cells.learned.raw.alpha"] * told
    said = f"alpha of ASN is {raw:g}, and is clipped to -128..128; begin again with a lower learning rate"
    assert any(said in str(each) for each in found) == told


def test_a_constant_that_is_not_learned_is_not_looked_at():
    net = build((4,), 3, (20,), ASN(), seed=0)
    raw = net.layers[0].cells.learned.raw["alpha"]
    with torch.no_grad():
        raw.fill_(300.0)
    raw.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not any(each.kind == "at its bounds" for each in Trainer(net, "bptt", seed=0).step((X, Y)).health)


def test_a_network_whose_mask_has_closed_settles_into_causal_cells():
    kinds = (MaskedPSN(4, 2, annealed=True), MaskedPSN(4, 2), MaskedPSN(4, 2, masked=0.5))
    trained, causal, half = (build((4,), 3, (8,), cell, seed=0) for cell in kinds)
    for _ in Trainer(trained, "bptt", seed=0, health=Health(every=0)).fit([(X, Y)], 3):
        pass
    causal.load_state_dict(trained.state_dict())
    assert torch.equal(causal(X).output, trained(X).output)
    assert "carry" in causal.offers
    with pytest.raises(RuntimeError, match="masked is 1 in the state, and 0.5 in this MaskedPSN: .* with masked=1"):
        half.load_state_dict(trained.state_dict())


def test_an_online_rule_says_on_the_command_line_too_what_a_constant_is():
    with pytest.raises(UnfitModel, match=r"--network.neuron.options='\{alpha: NUMBER\}'"):
        Trainer(build((4,), 3, (8,), ASN()), "eprop", seed=0).step((X, Y))
    Trainer(build((4,), 3, (8,), ASN(alpha=0.0)), "eprop", seed=0, health=Health(every=0)).step((X, Y))


@pytest.mark.parametrize("cell", [PSN(4), ASN(), LIF(tau_mem=learnable(5.0))], ids=["psn", "asn", "lif"])
def test_a_scan_says_that_it_does_not_teach_a_cell(cell):
    """Only where a gradient is asked for."""
    x = torch.rand(4, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan(cell, x)
    with pytest.warns(UserWarning, match=rf"{type(cell).__name__} learns .*sandbox.Population"):
        scan(cell, x.requires_grad_())
    given = torch.randn(4, 4, requires_grad=True), torch.zeros(4, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scan(PSN(4, *given), x)
