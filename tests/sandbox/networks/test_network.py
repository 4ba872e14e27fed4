"""Networks: shapes, carries, traces, offers, and weights that make neurons fire."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
from rules import Batch, Trainer
from rules.check import toy
from rules.forward import run_model
from rules.optional import offers
from sandbox import LIF, Layer, LeakyIntegrator, Network, Population, build, calibrate, firing_report
from sandbox.networks.models import convolutional, recurrent
from sandbox.networks.network import Residual
from sandbox.neurons import StochasticBinary, learnable

ARCHITECTURES = {
    "dense": ((6,), (12, 8)),
    "recurrent": ((6,), ("12r",)),
    "convolutional": ((2, 8, 8), ("4c3p2", 10)),
    "residual": ((2, 8, 8), ("4x3", "4x3p2", 10)),
    "normalised": ((2, 8, 8), ("4c3bp2", "4x3b", "10b")),
}


@pytest.fixture(params=ARCHITECTURES, name="net")
def _net(request):
    shape, hidden = ARCHITECTURES[request.param]
    net = build(shape, 3, hidden, neuron=LIF(tau_mem=5.0, t_refractory=2.0), seed=1).double()
    calibrate(net, inputs(net), rate=0.2)
    return net.eval()  # a normalisation in training lets samples know of each other


def inputs(net, steps: int = 9, samples: int = 5) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(steps, samples, *net.shape, generator=rng, dtype=torch.float64)


def test_a_carry_handed_back_continues(net):
    """Pieces are folded into other batch sizes, so matrix products may round differently: 1e-12."""
    x = inputs(net)
    whole = net(x)
    first = net(x[:4])
    second = net(x[4:], first.carry)
    torch.testing.assert_close(torch.cat([first.output, second.output]), whole.output, rtol=1e-12, atol=1e-12)


def test_traces_explain_the_output(net):
    """Each weight's trace has what it saw and what came out, and names a parameter of the network."""
    run = net(inputs(net), record=True)
    names = dict(net.named_parameters())
    weights = {t.weight for t in run.traces}
    assert weights <= set(names)
    assert weights >= {name for name, p in names.items() if p.ndim > 1 and "shortcut" not in name}
    assert torch.equal(run.traces[-1].post, run.output)
    for trace in run.traces[:-1]:
        assert torch.equal(trace.post > 0, (trace.u >= 0) & (trace.post > 0))
        assert trace.post.unique().tolist() == [0.0, 1.0]
    assert not net(inputs(net)).traces


def test_recording_changes_nothing(net):
    x = inputs(net)
    assert torch.equal(net(x).output, net(x, record=True).output)


def test_layers_can_be_called_alone(net):
    x = inputs(net)
    for layer in net.layers:
        x = layer(x)
    assert torch.equal(x, net(inputs(net)).output)
    cells = set() if any(isinstance(layer, Residual) for layer in net.layers) else {"cells"}
    assert offers(net) == {"gradient", "features", "layers", "bits", "carry"} | cells


def test_an_input_constant_in_time_is_weighed_once(net):
    """The same answer as for a copy of it, at a fraction of the synaptic operations."""
    x = inputs(net)[:1]
    lazy = x.expand(9, *x.shape[1:])
    torch.testing.assert_close(net(lazy).output, net(lazy.clone()).output, rtol=1e-12, atol=1e-12)
    costs = [
        rules.make("bptt", objective="ce_mean").credit.assign(net, toy.Quadratic(), Batch(a), (), None).cost
        for a in (lazy, lazy.clone())
    ]
    assert costs[0].synaptic_operations < costs[1].synaptic_operations


def test_a_recurrent_layer_hears_itself():
    net = build((3,), 2, hidden=("5r",), seed=0).double()
    with torch.no_grad():
        net.layers[0].synapse.weight.fill_(50.0)
    x = torch.ones(4, 1, 3, dtype=torch.float64)
    before = net(x, record=True).traces
    assert torch.equal(before[1].pre[1:], before[1].post[:-1])
    assert not before[1].pre[0].any()
    with torch.no_grad():
        net.layers[0].cells.recurrent.weight.fill_(-1000.0)
    after = net(x, record=True).traces
    assert torch.equal(after[0].post[0], before[0].post[0])
    assert before[0].post[1].all()
    assert not after[0].post[1].any()


def test_a_residual_block_adds_its_input_to_the_current():
    inner = Layer(nn.Linear(2, 2), Population(LIF(), 1.0))
    with torch.no_grad():
        for p in inner.parameters():
            p.zero_()
    x = 30 * torch.ones(3, 1, 2)
    assert not inner(x).any()
    assert Residual([inner])(x).any()


def test_a_sequential_of_layers_is_a_model_too():
    net = nn.Sequential(*build((4,), 3, hidden=(8,)).layers)
    run = run_model(net, Batch(torch.rand(5, 2, 4)), record=True)
    assert [t.weight for t in run.traces] == ["0.synapse.weight", "1.synapse.weight"]
    info = Trainer(net, "bptt").step((30 * torch.rand(5, 2, 4), torch.tensor([0, 1])))
    assert info.cost.layer_evaluations == 2


def test_calibration_reaches_the_wished_for_rate(net):
    for name, rate in firing_report(net, inputs(net)).items():
        assert rate == pytest.approx(0.2, abs=0.03), name


def test_calibration_leaves_alone_what_neurons_learn_and_which_parts_are_frozen():
    net = build((4,), 3, hidden=("8b", "6r"), neuron=LIF(tau_mem=learnable(10.0)))
    with torch.no_grad():
        for layer in net.layers[:2]:
            layer.cells.learned.raw["tau_mem"].fill_(0.2)
    net.train()
    norm = net.layers[0].synapse[1].eval()
    calibrate(net, inputs(net).float(), rate=0.2)
    assert all(float(layer.cells.learned.raw["tau_mem"]) == pytest.approx(0.2) for layer in net.layers[:2])
    assert net.training
    assert not norm.training
    net.eval()
    with pytest.raises(ValueError, match="input has shape"):
        calibrate(net, torch.rand(3, 2, 5), rate=0.2)
    assert not net.training


@pytest.mark.parametrize("neuron", [LIF(), LIF(v_leak=-65.0, v_threshold=-50.0, v_reset=-65.0, r=20.0)])
def test_fresh_weights_make_neurons_fire(neuron):
    """Without any calibration, for inputs of mean square one: neither silent nor saturated by the health check."""
    net = build((50,), 10, hidden=(100, 100), neuron=neuron)
    x = torch.randn(50, 32, 50, generator=torch.Generator().manual_seed(0)).sign()[:1].expand(50, 32, 50)
    assert all(0.005 < rate < 0.9 for rate in firing_report(net, x).values())


def test_networks_are_drawn_from_their_seed():
    a, b, c = (build((4,), 3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(a.layers[0].synapse.weight, b.layers[0].synapse.weight)
    assert not torch.equal(a.layers[0].synapse.weight, c.layers[0].synapse.weight)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: build((4,), 3)(torch.zeros(5, 2, 7)),
            ValueError,
            r"input has shape \(5, 2, 7\); .* wants \[T, B, 4\]",
        ),
        (lambda: build((4,), 3)(torch.zeros(2, 4)), ValueError, "encode a static batch with sandbox.tasks.encode"),
        (lambda: build((4,), 3)(torch.zeros(5, 2, 4, dtype=torch.int64)), TypeError, "wants floating point"),
        (
            lambda: build((4,), 3)({"x": torch.zeros(5, 2, 4)}),
            TypeError,
            "input is a dict; this network takes one tensor",
        ),
        (lambda: build((4,), 3, hidden=("30q",)), ValueError, r"layer '30q' cannot be read; write 30 \(dense\)"),
        (lambda: build((4,), 3, hidden=(0,)), ValueError, "layer '0' cannot be read"),
        (lambda: build((4,), 3, hidden=("8c3",)), ValueError, r"is a convolution and needs an image .* is \(4,\)"),
        (lambda: build((1, 4, 4), 3, hidden=("8c2",)), ValueError, "use an odd kernel"),
        (lambda: calibrate(build((4,), 3), torch.zeros(2, 2, 4), rate=1.5), ValueError, "rate=1.5: give a firing"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_network_may_be_put_together_by_hand():
    net = Network([Layer(nn.Linear(4, 3), Population(LeakyIntegrator(), 1.0))], (4,))
    assert net(torch.ones(2, 1, 4)).output.shape == (2, 1, 3)


def test_normalised_currents_scale_with_the_rheobase():
    """Of a first layer in training, over batch, time and space; the learnt gain alone is what calibration moves."""
    net = build((2, 8, 8), 3, ("4c3b", 10), neuron=LIF(r=2.0, v_threshold=3.0), seed=1).double()
    first = net.layers[0]
    currents = first.synapse(inputs(net).flatten(0, 1))
    assert currents.std(dim=(0, 2, 3), unbiased=False).tolist() == pytest.approx([1.5] * 4, rel=1e-3)  # eps of the norm
    drawn = first.synapse[0].weight.clone()
    calibrate(net, inputs(net), rate=0.2)
    assert torch.equal(first.synapse[0].weight, drawn)
    assert first.synapse[0].bias is None


def test_calibration_leaves_the_statistics_of_its_batch():
    net = build((2, 8, 8), 3, ("4c3bp2", "4c3b"), neuron=LIF(tau_mem=5.0), seed=1).double().eval()
    report = calibrate(net, inputs(net), rate=0.2)
    assert not net.training
    assert all(0.18 < rate < 0.22 for rate in report.values())  # in evaluation, by the running statistics
    norm = net.layers[0].synapse[2]
    seen = net.layers[0].synapse[:2](inputs(net).flatten(0, 1))
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-9, atol=1e-9)
    assert norm.momentum == 0.1


@pytest.mark.parametrize(
    "make", [lambda: convolutional((1, 8, 8), 10, (4, 8, 8)), lambda: recurrent((6,), 4, (32, 16))]
)
def test_models_to_start_from_learn(make):
    net = make()
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(32) % 4
    x = torch.rand(4, *net.shape, generator=rng)[y] + 0.3 * torch.rand(6, 32, *net.shape, generator=rng)
    calibrate(net, x, rate=0.2)
    trainer = Trainer(net, rules.make("bptt", lr=0.02), seed=0)
    for _ in trainer.fit([(x, y)], epochs=60):
        pass
    assert trainer.evaluate([(x, y)])["accuracy"] > 0.8  # of four classes


def test_an_image_too_small_for_its_pools_is_refused():
    with pytest.raises(ValueError, match="a pool no larger than the image"):
        convolutional((1, 2, 2), 10, (4, 8, 8))


def test_stochastic_units_are_scaled_by_their_membrane():
    """They fire half of the time whatever their weights, so that the rate shows nothing of them."""
    net = build((64,), 10, (30,), neuron=StochasticBinary(delta_v=2.0), readout=StochasticBinary())
    x = torch.rand(1, 200, 64, generator=torch.Generator().manual_seed(0))
    calibrate(net, x, rate=0.1)
    spread = [float(trace.u.detach().std()) for trace in net(x, record=True).traces]
    # The read-out is scaled on the bits of one draw, and seen on those of another: a standard deviation of 2,000 numbers
    # has an error of 1.6 %, of which these are five.
    assert spread == pytest.approx([2.0, 1.0], rel=0.08)


def test_a_stage_that_is_used_twice_is_run_twice_when_recorded():
    act = nn.Tanh()
    net = nn.Sequential(nn.Linear(3, 4), act, nn.Linear(4, 4), act, nn.Linear(4, 2))
    x = torch.rand(1, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run_model(net, Batch(x), record=True).output, net(x))


def test_a_sparse_layer_has_the_pattern_of_its_seed_and_fires_like_a_dense_one():
    x = torch.rand(50, 16, 40, generator=torch.Generator().manual_seed(0))
    nets = [build((40,), 3, ("60s20", "30s50"), seed=seed) for seed in (0, 0, 1)]
    first, same, other = (net.layers[0].synapse for net in nets)
    assert torch.equal(first.pre, same.pre)
    assert torch.equal(first.weight, same.weight)
    assert not torch.equal(first.dense() == 0, other.dense() == 0)
    assert len(first.pre) == pytest.approx(0.2 * 2400, abs=80)  # four standard deviations
    rates = calibrate(nets[0], x, rate=0.1)
    assert all(0.08 < rate < 0.12 for rate in rates.values())


@pytest.mark.parametrize("word", ["60s0", "60s101"])
def test_a_sparse_layer_wants_a_percentage(word):
    with pytest.raises(ValueError, match=f"layer '{word}' connects .* percent of the pairs; write 1 to 100: '60s10'"):
        build((4,), 3, (word,))


def test_a_sparse_convolution_is_not_a_word():
    with pytest.raises(ValueError, match=r"layer '16s10c5' cannot be read; write 30 \(dense\)"):
        build((1, 8, 8), 3, ("16s10c5",))
