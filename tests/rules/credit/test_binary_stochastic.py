"""Binary stochastic learning: its bits, its mean over all patterns of bits, its switches, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import pytest
import torch
from torch import nn

import rules
from rules.check import check_rule, toy
from rules.contract import Batch, MissingNeed
from rules.credit.binary_stochastic.rule import BinaryStochastic
from rules.credit.binary_stochastic.wires import made, reads, reads_back
from rules.models.admission import UnfitModel
from rules.objectives.output_error import BinaryCrossEntropy, BitError
from rules.plasticity import SGD
from rules.recipes import LearningRule
from rules.spikes.bits import StochasticBits, and_not, bernoulli, is_bits, is_trits, logistic, xor
from rules.spikes.surrogate import Surrogate
from sandbox import LIF, build
from sandbox.neurons import LeakyIntegrator, StochasticBinary
from sandbox.tasks import TASKS

DOUBLE = torch.float64
DRAWS = 1_000_000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def two_layers(inputs=3, hidden=4, classes=2, dtype=DOUBLE, seed=0):
    model = nn.Sequential(nn.Linear(inputs, hidden), StochasticBits(), nn.Linear(hidden, classes), StochasticBits())
    toy.fill(model, seed, scale=1.5)
    return model.to(dtype)


def one_sample():
    return Batch(torch.tensor([[[0.2, 0.9, 0.5]]], dtype=DOUBLE), torch.tensor([1]))


def assign(credit, model, batch, objective=None, seed=0):
    return credit.assign(model, objective or BitError(), batch, (), seeded(seed))


def mean_pulses(credit, model, batch, draws=100_000, objective=None):
    """The mean pulses over so many draws of one sample, drawn side by side."""
    many = Batch(batch.x.repeat(1, draws, 1), batch.y.repeat(draws))
    return {name: -g / draws for name, g in assign(credit, model, many, objective).grads.items()}


# --- bits ---


def three_sigma(bits, p):
    return abs(float(bits.mean()) - p) < 3 * (p * (1 - p) / bits.numel()) ** 0.5


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.9])
def test_bits_and_circuits_have_their_probabilities(p):
    rng, full = seeded(int(100 * p)), torch.full((DRAWS,), p, dtype=DOUBLE)
    s, again = bernoulli(full, rng), bernoulli(full, rng)
    for drawn, probability in ((s, p), (and_not(s, again), p * (1 - p)), (xor(s, again), 2 * p * (1 - p))):
        assert is_bits(drawn)
        assert three_sigma(drawn, probability)


@pytest.mark.parametrize("u", [-2.0, -0.3, 0.0, 1.0])
def test_spikes_and_derivative_bits_have_their_probabilities(u):
    rng, p = seeded(11), 1 / (1 + torch.tensor(-u, dtype=DOUBLE).exp())
    membrane = torch.full((DRAWS,), u, dtype=DOUBLE)
    noise = logistic(torch.rand(DRAWS, generator=rng, dtype=DOUBLE))
    drawn = made(Surrogate("sigmoid", alpha=1.0), membrane, False, noise, gain=1.0)
    assert three_sigma(drawn.bits, p)
    torch.testing.assert_close(drawn.p, p.expand(DRAWS))
    for kappa in (0.5, 1.0, 4.0):
        bits = BinaryStochastic(kappa=kappa)._derivative(rng)(drawn)
        assert is_bits(bits)
        assert three_sigma(bits, kappa * p * (1 - p)) or (kappa == 4.0 and u == 0.0 and bool(bits.all()))
    for kappa in (1.0, 2.0):
        bits = BinaryStochastic(kappa=kappa, reuse_bits=True)._derivative(rng)(drawn)
        assert three_sigma(bits, kappa * p * (1 - p))


def test_the_derivative_bit_of_a_lif_neuron_is_drawn_from_its_surrogate():
    surrogate, rng = Surrogate("triangle"), seeded(1)
    u = torch.full((DRAWS,), 0.4, dtype=DOUBLE)
    drawn = made(surrogate, u, False, None, gain=1.0)
    assert bool(drawn.bits.all())  # the neuron itself is not noisy
    bits = BinaryStochastic(kappa=2.0)._derivative(rng)(drawn)
    assert three_sigma(bits, 2.0 / 4 * float(surrogate.grad(u)[0]) / surrogate.peak)


# --- the mean, against the sum over all patterns of bits ---


def expected(
    model, x, label, kappa, *, output="sampled", dead_zone=0.0, sign_hidden=True, reuse=False, draw_input=True
):
    """The mean pulses for one sample, by brute force over every pattern of bits."""
    (w1, b1), (w2, b2) = ((s.weight.detach(), s.bias.detach()) for s in (model[0], model[2]))
    target = nn.functional.one_hot(torch.tensor(label), len(b2)).to(DOUBLE)
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}

    def patterns(width):
        return [torch.tensor(bits, dtype=DOUBLE) for bits in product((0.0, 1.0), repeat=width)]

    def chance(bits, p):
        return float(torch.where(bits > 0, p, 1 - p).prod())

    for s0 in patterns(len(x)) if draw_input else [x]:
        weight0 = chance(s0, x) if draw_input else 1.0
        p1 = torch.sigmoid(w1 @ s0 + b1)
        for s1 in patterns(len(b1)):
            p2 = torch.sigmoid(w2 @ s1 + b2)
            for s2 in patterns(len(b2)):
                joint = weight0 * chance(s1, p1) * chance(s2, p2)
                e2 = target - (s2 if output == "sampled" else p2)
                e2 = torch.sign(e2) * (e2.abs() > dead_zone)
                back = w2.T @ e2
                again = s1 * (1 - p1) + (0 if kappa == 1 else (1 - s1) * p1)  # s AND NOT s', or s XOR s', given s
                d = again if reuse else kappa * p1 * (1 - p1)
                e1 = (torch.sign(back) if sign_hidden else back) * d
                total["2.weight"] += joint * torch.outer(e2, s1)
                total["2.bias"] += joint * e2
                total["0.weight"] += joint * torch.outer(e1, s0)
                total["0.bias"] += joint * e1
    return total


@pytest.mark.parametrize(
    "switches",
    [
        {},
        {"kappa": 1.5},
        {"output": "mean", "dead_zone": 0.1},
        {"sign_hidden": False, "kappa": 1.0},
        {"reuse_bits": True, "kappa": 1.0},
        {"reuse_bits": True, "kappa": 2.0},
        {"binarise_input": False},
    ],
    ids=lambda s: "-".join(s) or "default",
)
def test_the_mean_over_draws_is_the_sum_over_all_patterns(switches):
    """2 % of the largest entry at 1e5 draws: entries are means of trits, so their error is under 1 / sqrt(1e5)."""
    model, batch = two_layers(), one_sample()
    found = mean_pulses(BinaryStochastic(**switches), model, batch)
    names = {"reuse_bits": "reuse", "binarise_input": "draw_input"}
    options = {"kappa": 4.0, **{names.get(name, name): value for name, value in switches.items()}}
    wanted = expected(model, batch.x[0, 0], 1, **options)
    for name, pulses in wanted.items():
        assert float((found[name] - pulses).abs().max()) < 0.02 * float(pulses.abs().max()), name


def test_without_hidden_signs_it_is_backpropagation_through_the_mean_of_what_it_drew():
    """kappa 1, sampled error: given the bits of the hidden layer, autograd of the cross-entropy of the next ones."""
    model, batch = two_layers(), one_sample()
    found = mean_pulses(BinaryStochastic(kappa=1.0, sign_hidden=False, binarise_input=False), model, batch)
    x, label = batch.x[0], batch.y
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    z1 = model[0](x)
    for bits in product((0.0, 1.0), repeat=z1.shape[1]):
        s1 = torch.tensor([bits], dtype=DOUBLE)
        p1 = torch.sigmoid(z1)
        linearised = s1 + p1 - p1.detach()  # the bits that were drawn, with the slope of their mean
        loss = BinaryCrossEntropy()(rules.Run(torch.sigmoid(model[2](linearised))[None]), Batch(x[None], label))
        slopes = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        chance = float(torch.where(s1 > 0, p1, 1 - p1).prod())
        for (name, _), slope in zip(model.named_parameters(), slopes):
            total[name] -= chance * slope
    for name, pulses in total.items():
        assert float((found[name] - pulses).abs().max()) < 0.02 * float(pulses.abs().max()), name


# --- the contract ---


def rule(credit=None, **options):
    return LearningRule(BitError(), credit or BinaryStochastic(**options), SGD(lr=0.01))


def test_it_keeps_the_contract():
    report = check_rule(rule())
    assert report.passed, str(report)
    assert check_rule(rule(reuse_bits=False, output="mean", dead_zone=0.1)).passed


@dataclass(frozen=True)
class Biased(BinaryStochastic):
    """Claims what only fresh bits and an honest kappa keep."""

    factor: float = 1.0

    @property
    def claim(self):
        return "sign_unbiased"

    def assign(self, model, objective, batch, state, rng):
        credit = super().assign(model, objective, batch, state, rng)
        return credit._replace(grads={name: self.factor * g for name, g in credit.grads.items()})


@pytest.mark.parametrize("broken", [{"factor": 0.9}, {"kappa": 2.0, "reuse_bits": True}, {"sign_hidden": False}])
def test_the_claim_catches_a_wrong_scale_reused_bits_and_unsigned_errors(broken):
    report = {result.check: result for result in check_rule(rule(Biased(**broken))).results}
    assert "is not kappa" in report["claim holds"].message


# --- what is on the wires ---


def image_network():
    return build((1, 8, 8), 10, ("4c3p2", 20), neuron=StochasticBinary(), readout=StochasticBinary())


def lif_network():
    return build((64,), 10, (20, "20r"), neuron=LIF(tau_mem=5.0), readout=LeakyIntegrator(tau_mem=5.0))


@pytest.mark.parametrize(
    ("model", "steps"),
    [(two_layers(64, 20, 10, torch.float32), 1), (image_network(), 2), (lif_network(), 4)],
    ids=["sequential", "convolution", "lif"],
)
def test_everything_on_the_wires_is_a_bit_or_a_trit_and_pulses_are_whole(model, steps):
    x = torch.rand(steps, 8, *getattr(model, "shape", (64,)), generator=seeded())
    batch = Batch(x, torch.arange(8))
    credit = assign(BinaryStochastic(debug=True, dead_zone=0.1), model, batch)
    assert all(torch.equal(g, g.round()) for g in credit.grads.values())
    assert any(bool(g.any()) for g in credit.grads.values())
    assert (credit.cost.multiplications, credit.cost.adc_conversions, credit.cost.dac_conversions) == (0, 0, 0)
    assert min(credit.cost.one_bit_reads, credit.cost.comparisons, credit.cost.random_bits) > 0


def test_debugging_names_the_module_that_was_sent_more_than_a_bit():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), StochasticBits()).to(DOUBLE)
    with pytest.raises(AssertionError, match="2 received numbers that are neither 0 nor 1"):
        assign(BinaryStochastic(debug=True), model, one_sample())


def test_what_is_not_one_bit_is_counted_as_multiplications_and_conversions():
    model, batch = two_layers(), one_sample()
    graded = assign(BinaryStochastic(binarise_input=False), model, batch).cost
    assert (graded.multiplications, graded.dac_conversions) == (3 * 4, 3)
    seeds = [s for s in range(20) if (assign(BinaryStochastic(), model, batch, seed=s).grads["0.bias"] != 0).any()]
    unsigned = assign(BinaryStochastic(sign_hidden=False), model, batch, seed=seeds[0]).cost
    assert unsigned.multiplications == 3 * 4  # of the first layer, where the hidden error was no trit
    bptt = rules.make("bptt").credit.assign(model, BitError(), batch, (), seeded()).cost
    assert bptt.multiplications == (3 * 4 + 4 * 2) + (3 * 4 + 2 * 4 * 2)  # forward, then weights, and errors but at x
    assert (bptt.dac_conversions, bptt.adc_conversions) == (3 + 4 + 4 + 2, 4 + 2 + 4)
    assert (bptt.one_bit_reads, bptt.random_bits) == (0, 0)


def test_reads_are_counted_one_by_one():
    """Against a loop over the ones of the input and over what each of them meets."""
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    sent = bernoulli(torch.full((2, 4, 7, 7), 0.3), seeded())
    output = conv(sent)
    forward = back = 0
    error = bernoulli(torch.full(output.shape, 0.4), seeded(1)) * -1
    for b, c, y, x in product(range(2), range(6), range(output.shape[2]), range(output.shape[3])):
        for i, dy, dx in product(range(2), range(3), range(3)):
            row, column, channel = 2 * y + dy - 1, 2 * x + dx - 1, 2 * (c // 3) + i
            if 0 <= row < 7 and 0 <= column < 7:
                forward += int(sent[b, channel, row, column])
                back += int(error[b, c, y, x] != 0)
    assert (reads(conv, sent), reads_back(conv, error, sent.shape)) == (forward, back)
    dense = nn.Linear(5, 3)
    assert reads(dense, torch.tensor([[0.0, 1, 1, 0, 1]])) == 9
    assert reads_back(dense, torch.tensor([[0.0, -1, 1]]), torch.Size([1, 5])) == 10


def test_spatial_credit_sends_no_error_back_in_time():
    """The pulses of a sequence are those of its steps, each continued from the carry of the one before."""
    model, x = lif_network(), torch.rand(3, 5, 64, generator=seeded())
    y = torch.arange(5)
    credit = BinaryStochastic(
        kappa=0.0, dead_zone=0.1
    )  # no derivative bit, so that only the read-out is taught: only the input is random
    whole = assign(credit, model, Batch(x.round(), y), rules.compose("mse_membrane", "bptt", "sgd").objective)
    assert all(not bool(g.any()) for name, g in whole.grads.items() if not name.startswith("layers.2"))
    carry, total = None, 0.0
    objective = rules.compose("mse_membrane", "bptt", "sgd").objective
    for step in x.round():
        part = assign(credit, model, Batch(step[None], y, carry), objective)
        carry, total = part.carry, total + part.grads["layers.2.synapse.weight"]
    torch.testing.assert_close(whole.grads["layers.2.synapse.weight"], total)


# --- inference ---


def trained(seed, credit=None, epochs=30, lr=0.02):
    """The network of the specification's table, on digits: 64-100-10, weights kept within -2 and 2."""
    data = TASKS["digits"]().load()
    model = two_layers(64, 100, 10, torch.float32, seed)
    with torch.no_grad():
        for p in model.parameters():
            p.div_(1.5) if p.ndim > 1 else p.zero_()
    trainer = rules.Trainer(model, LearningRule(BitError(), credit or BinaryStochastic(), SGD(lr=lr)), seed=seed)
    dice = seeded(seed)
    for _ in range(epochs):
        for chosen in torch.randperm(1200, generator=dice).split(40):
            trainer.step((data.train.x[chosen], data.train.y[chosen]))
            with torch.no_grad():
                for p in model.parameters():
                    p.clamp_(-2, 2)
    return trainer, [(data.test.x, data.test.y)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_sampled_error_learns_and_the_sign_without_a_dead_zone_does_not(seed):
    sampled, test = trained(seed)
    assert sampled.evaluate(test)["accuracy"] >= 0.90  # ten seeds give 0.924 to 0.962
    signed, test = trained(seed, BinaryStochastic(output="mean", dead_zone=0.0, kappa=1.0), epochs=15, lr=0.01)
    assert signed.evaluate(test)["accuracy"] < 0.30


def test_more_samples_approach_the_mean():
    trainer, test = trained(0, epochs=15)
    found = []
    for samples in (1, 4, 16, 64):
        trainer.rule = replace(trainer.rule, credit=BinaryStochastic(samples=samples))
        found.append(trainer.evaluate(test, inference=f"sample{samples}")["accuracy"])
    assert found == sorted(found)
    assert abs(found[-1] - trainer.evaluate(test, inference="mean")["accuracy"]) < 0.02


def test_the_mean_propagates_probabilities_and_leaves_spikes_of_lif_neurons_alone():
    model, x = two_layers(), torch.rand(1, 5, 3, generator=seeded(), dtype=DOUBLE)
    credit = BinaryStochastic(gain=2.0)
    run = credit.infer(lambda batch: rules.forward.run_model(model, batch), Batch(x), "mean", seeded())
    by_hand = torch.sigmoid(2 * model[2](torch.sigmoid(2 * model[0](x))))
    torch.testing.assert_close(run.output, by_hand)
    spiking, shown = lif_network(), torch.rand(3, 5, 64, generator=seeded())
    run = credit.infer(lambda batch: spiking(batch.x), Batch(shown), "mean", seeded())
    torch.testing.assert_close(run.output, spiking(shown).output)


def test_an_unknown_inference_is_refused_with_the_legal_ones():
    trainer = rules.Trainer(two_layers(), rule())
    with pytest.raises(ValueError, match="unknown inference of BinaryStochastic 'sample2'.*mean, sample1, sample16"):
        trainer.evaluate([one_sample()], inference="sample2")
    with pytest.raises(ValueError, match="unknown inference of BPTT 'mean'.*valid: plain"):
        rules.Trainer(two_layers(), "bptt").evaluate([one_sample()], inference="mean")


# --- bad input ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kappa": -0.1}, "kappa=-0.1: give a number from 0 to 4"),
        ({"kappa": 4.1}, "kappa=4.1: give a number from 0 to 4"),
        ({"kappa": 4.0, "reuse_bits": True}, "kappa=4.0 with reuse_bits: AND NOT of two draws has kappa=1, XOR has"),
        ({"gain": 0.0}, "gain=0.0: give a positive number"),
        ({"dead_zone": -1.0}, "dead_zone=-1.0: give a number of at least 0"),
        ({"output": "men"}, "unknown output 'men'; nearest: 'mean'; valid: sampled, mean"),
        ({"samples": 0}, "samples=0: give the number of draws to average"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BinaryStochastic(**options)


def test_input_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="the input runs from -1 to 2; it is the probability of its bits"):
        assign(
            BinaryStochastic(), two_layers(), Batch(torch.tensor([[[-1.0, 2.0, 0.5]]], dtype=DOUBLE), torch.tensor([0]))
        )


def test_batch_normalisation_in_training_mode_is_refused():
    net = build((64,), 10, ("20b",), neuron=StochasticBinary(), readout=StochasticBinary())
    batch = Batch(torch.rand(1, 4, 64, generator=seeded()), torch.arange(4))
    with pytest.raises(ValueError, match=r"layers\.0\.synapse\.1 normalises each batch by its own mean and variance"):
        assign(BinaryStochastic(), net, batch)
    assert assign(BinaryStochastic(), net.eval(), batch).grads


def test_a_network_without_layers_or_derivative_bits_is_refused():
    with pytest.raises(MissingNeed, match="needs what Opaque does not offer"):
        rules.Trainer(toy.smooth(frozenset({"gradient", "bits"})), rule())
    tanh = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with pytest.raises(
        MissingNeed, match=r"bits: hidden layers that put out zeros and ones.*rules\.StochasticBits\(\)"
    ):
        rules.Trainer(tanh, rule())
    with pytest.raises(MissingNeed, match="bits"):
        assign(BinaryStochastic(), tanh.to(DOUBLE), one_sample())


def graded(dtype=torch.float32):
    return nn.Sequential(nn.Linear(64, 6), StochasticBits(), nn.Linear(6, 10)).to(dtype)


class Levels(nn.Module):
    """Gives zeros and ones that no unit has drawn."""

    def forward(self, x):
        return x + ((x > 0).to(x) - x).detach()


GRADED = {
    "membranes": lif_network,
    "a linear layer": graded,
    "levels": lambda: nn.Sequential(*graded(), Levels()),
}


@pytest.mark.parametrize("make", GRADED.values(), ids=GRADED)
def test_an_output_that_is_not_bits_is_refused_before_anything_is_learnt(make):
    """Its error has a sign wherever it is not 0, and a real number is never exactly right."""
    model = make()
    trainer = rules.Trainer(model, "binary_stochastic_ideal")
    before = [p.detach().clone() for p in model.parameters()]  # within the range of the device
    batch = (torch.rand(2, 4, 64, generator=seeded()), torch.arange(4))
    with pytest.raises(
        UnfitModel, match=r"runs from .* to .* is not the spikes .* {readout: {name: stochastic_binary}}"
    ):
        trainer.step(batch)
    assert all(map(torch.equal, before, model.parameters()))
    rules.Trainer(model, rules.make("binary_stochastic_ideal", dead_zone=0.5)).step(batch)
    assert not all(map(torch.equal, before, model.parameters()))
    mean = rules.make("binary_stochastic_ideal", output="mean", dead_zone=0.5)
    with pytest.raises(UnfitModel, match=r"output='mean' takes the probabilities .* rules.StochasticBits\(\)"):
        rules.Trainer(make(), mean).step(batch)


def test_spikes_of_any_cells_are_bits():
    """Of LIF read-outs, step by step, and of stochastic units of all steps at once."""
    batch = Batch(torch.rand(3, 4, 64, generator=seeded()), torch.arange(4))
    for readout in (LIF(tau_mem=5.0), StochasticBinary()):
        assert assign(BinaryStochastic(), build((64,), 10, (6,), LIF(tau_mem=5.0), readout), batch).grads


def test_reused_bits_want_noisy_units():
    batch = Batch(torch.rand(2, 4, 64, generator=seeded()), torch.arange(4))
    with pytest.raises(ValueError, match="reuse_bits compares two draws of a unit, and these units fire without noise"):
        assign(BinaryStochastic(kappa=2.0, reuse_bits=True), lif_network(), batch)


def test_probabilities_are_wanted_by_the_cross_entropy_of_bits():
    with pytest.raises(ValueError, match="outputs run from -1 to 3; this objective needs probabilities"):
        BinaryCrossEntropy()(rules.Run(torch.tensor([[[-1.0, 3.0]]])), Batch(torch.zeros(1, 1, 1), torch.tensor([0])))


def test_trits():
    assert is_trits(torch.tensor([-1.0, 0, 1]))
    assert not is_trits(torch.tensor([-1.0, 0.5]))
    assert not is_bits(torch.tensor([-1.0, 1.0]))
