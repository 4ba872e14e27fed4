"""Learned delays: against a loop, finite differences and a known answer; every rule treats or refuses them."""

from __future__ import annotations

import pytest
import torch

import rules
from rules import Batch, MissingNeed, Trainer
from sandbox import LIF, DelayedPart, Delays, build, calibrate
from sandbox.config.experiment import NetworkConfig
from sandbox.kernels import using
from sandbox.networks.delays import Delayed, shifted
from sandbox.neurons import LeakyIntegrator

DOUBLE = torch.float64
KINDS = {
    "dense": ((6,), ("12d5", "8rd3")),
    "images": ((2, 6, 6), ("4c3p2d3", "4x3d2", "10bd4")),
}
WHOLE_MODELS = (  # recipes that run the model as it is
    "bptt", "tet", "sltt", "fa", "dfa", "sdfa", "drtp", "usf", "brsf", "frsf", "kolen_pollack", "weight_mirror", "spsa",
    "forward_gradient", "evolution_strategy",
)  # fmt: skip


def network(kind="dense"):
    shape, hidden = KINDS[kind]
    net = build(shape, 3, hidden, neuron=LIF(tau_mem=5.0), seed=1).double()
    calibrate(net, inputs(net), rate=0.2)
    return net


def inputs(net, steps=12, samples=5):
    return torch.rand(steps, samples, *net.shape, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)


def by_hand(x, delays):
    """The definition, one step and one input after the other: `[T, B, N]` and delays of `[N]`."""
    y = torch.zeros_like(x)
    for t in range(len(x)):
        for n, d in enumerate(delays.tolist()):
            k, f = int(d), d - int(d)
            y[t, :, n] += (1 - f) * (x[t - k, :, n] if t >= k else 0)
            y[t, :, n] += f * (x[t - k - 1, :, n] if t >= k + 1 else 0)
    return y


def test_training_shares_a_step_and_evaluation_rounds():
    x = torch.rand(15, 2, 6, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    delays = Delays((6,), 7, generator=torch.Generator().manual_seed(1)).double()
    steps = delays.steps.detach()
    assert (steps > 0).all()
    assert (steps < 7).all()
    torch.testing.assert_close(delays(x)[0], by_hand(x, steps), rtol=0, atol=1e-14)
    assert torch.equal(delays.eval()(x)[0], by_hand(x, steps.round()))
    assert torch.equal(delays.whole, steps.round().long())


def test_one_delay_for_each_channel():
    x = torch.rand(9, 2, 3, 4, 5, dtype=DOUBLE)
    delays = Delays((3, 1, 1), 4, initial=torch.tensor([0.5, 1.5, 3.25]).reshape(3, 1, 1)).double()
    wide = by_hand(x.flatten(2), delays.steps.detach().expand(3, 4, 5).flatten()).reshape(x.shape)
    torch.testing.assert_close(delays(x)[0], wide, rtol=0, atol=1e-14)


def test_gradients_are_finite_differences():
    """By the delays and by the input, also through a carry; delays are away from whole steps."""
    delays = Delays((4,), 5, initial=torch.tensor([0.4, 1.3, 2.5, 4.6])).double()
    x = torch.rand(8, 2, 4, dtype=DOUBLE, requires_grad=True)
    before = torch.rand(5, 2, 4, dtype=DOUBLE, requires_grad=True)

    def run(raw, x, before):
        return torch.func.functional_call(delays, {"learned.raw": raw}, (x, before))

    assert torch.autograd.gradcheck(run, (delays.learned["raw"].detach().requires_grad_(), x, before))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_a_network_are_finite_differences(kind):
    """Of a smooth network, whose cells never fire; BPTT is exact, central differences to 1e-6 of the largest entry."""
    shape, hidden = KINDS[kind]
    net = build(shape, 3, hidden, neuron=LeakyIntegrator(tau_mem=5.0), seed=1).double()
    x, y = inputs(net), torch.arange(5) % 3

    def loss():
        return torch.nn.functional.cross_entropy(net(x).output.mean(0), y)

    raws = [p for name, p in net.named_parameters() if "delays" in name]
    found = torch.autograd.grad(loss(), raws)
    for raw, gradient in zip(raws, found, strict=True):
        flat, size = raw.data.view(-1), 1e-5
        differences = []
        for n in range(len(flat)):
            start = float(flat[n])
            ends = []
            for sign in (1, -1):
                flat[n] = start + sign * size
                ends.append(loss().item())
            flat[n] = start
            differences.append((ends[0] - ends[1]) / (2 * size))
        differences = torch.tensor(differences, dtype=DOUBLE).view_as(raw)
        assert float(gradient.abs().max()) > 0
        torch.testing.assert_close(gradient, differences, rtol=1e-6, atol=1e-6 * float(gradient.abs().max()))


def test_a_delay_is_found_by_learning():
    """The answer is the input of 3 and of 6 steps ago; from 2 and 4 steps gradient descent on noise finds them."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, 2, generator=rng, dtype=DOUBLE)
    smooth = torch.stack([x[max(t - 5, 0) : t + 1].mean(0) for t in range(len(x))])
    wanted, _ = shifted(smooth, torch.tensor([3, 6]), 8)
    delays = Delays((2,), 8, initial=torch.tensor([2.0, 4.0])).double()
    optimizer = torch.optim.Adam(delays.parameters(), lr=0.05)
    for _ in range(150):
        optimizer.zero_grad()
        (delays(smooth)[0] - wanted).square().mean().backward()
        optimizer.step()
    assert delays.whole.tolist() == [3, 6]
    assert torch.equal(delays.eval()(smooth)[0], wanted)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_continues_from_its_carry(kind, training):
    net = network(kind).train(training)
    if training:
        for module in net.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.eval()  # whose statistics of a piece are not those of the whole
    x = inputs(net)
    whole, first = net(x), net(x[:2])  # shorter than the delays
    second = net(x[2:7], first.carry)
    third = net(x[7:], second.carry)
    pieces = torch.cat([first.output, second.output, third.output])
    torch.testing.assert_close(pieces, whole.output, rtol=1e-12, atol=1e-12)


def test_traces_have_the_delayed_input():
    net = network()
    run = net(inputs(net), record=True)
    assert [trace.weight for trace in run.traces][:2] == [
        "layers.0.part.synapse.weight",
        "layers.1.part.synapse.weight",
    ]
    late, _ = net.layers[0].delays(inputs(net))
    assert torch.equal(run.traces[0].pre, late)


def test_evaluation_keeps_the_gradient_of_training():
    net = network()
    net.eval()(inputs(net)).output.sum().backward()
    assert net.layers[1].delays.learned["raw"].grad.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_kernels_run_what_the_plain_loop_runs(kind):
    """Forward bit for bit, as spikes; gradients to 1e-11, whose sums have another order."""
    net = network(kind).eval()
    x, answers = inputs(net, 40), []
    for mode in ("plain", "numba"):
        net.zero_grad()
        with using(mode):
            run = net(x, record=True)
            run.output.square().sum().backward()
        gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
        answers.append(([trace.post for trace in run.traces[:-1]], run.output.detach(), gradients))
    (spikes, output, gradients), (others, output_, gradients_) = answers
    assert all(map(torch.equal, spikes, others))
    assert min(float(each.sum()) for each in spikes) > 0
    torch.testing.assert_close(output_, output, rtol=1e-12, atol=1e-12)
    assert sum("delays" in name for name in gradients) == len(net.layers) - 1
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradients_[name], gradient, rtol=1e-11, atol=1e-11 * float(gradient.abs().max()))


@pytest.mark.slow
def test_torch_compile_sees_the_same():
    net = network().eval()
    x = inputs(net)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(net, backend="eager")(x).output, net(x).output, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", WHOLE_MODELS)
@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
def test_a_rule_of_whole_models_learns_delays(name):
    net = network().float()
    before = {key: value.clone() for key, value in net.state_dict().items() if "delays" in key}
    info = Trainer(net, rules.make(name), seed=0).step((inputs(net).float(), torch.arange(5) % 3))
    assert info.loss == info.loss
    assert all((net.state_dict()[key] != value).any() for key, value in before.items())


@pytest.mark.parametrize("name", sorted(set(rules.RULES) - set(WHOLE_MODELS)))
@pytest.mark.filterwarnings("ignore::rules.HealthWarning")
def test_any_other_rule_says_so_or_leaves_them_alone(name):
    """Refused for what the network lacks, or weights move and delays stay, or it learns delays as well."""
    net = network().float().eval()
    start = {key: value.clone() for key, value in net.state_dict().items()}
    try:
        Trainer(net, rules.make(name), seed=0).step((inputs(net).float(), torch.arange(5) % 3))
    except MissingNeed:
        return
    assert any((net.state_dict()[key] != value).any() for key, value in start.items() if key.endswith("weight"))
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())


def test_step_by_step_rules_are_refused_with_a_remedy():
    net = network().float()
    for name, word in (("eprop", "learned delays"), ("eventprop", "learned delays"), ("binary_stochastic", "share")):
        with pytest.raises(MissingNeed, match=word) as refused:
            Trainer(net, rules.make(name), seed=0).step((inputs(net).float(), torch.arange(5) % 3))
        assert "without the d" in str(refused.value)


def test_words_of_build_and_of_a_configuration():
    net = NetworkConfig(hidden=["12d5", 8]).make((6,), 3, seed=0)
    assert isinstance(net.layers[0], DelayedPart)
    assert net.layers[0].delays.longest == 5
    again, other = (NetworkConfig(hidden=["12d5", 8]).make((6,), 3, seed=seed) for seed in (0, 1))
    assert torch.equal(net.layers[0].delays.steps, again.layers[0].delays.steps)
    assert not torch.equal(net.layers[0].delays.steps, other.layers[0].delays.steps)
    plain = build((6,), 3, (12, 8), seed=0)
    assert torch.equal(plain.layers[0].synapse.weight, net.layers[0].part.synapse.weight), "delays cost no draws"
    assert build((2, 6, 6), 3, ("4c3d3",)).layers[0].delays.steps.shape == (2, 1, 1)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="longest=0: give the longest delay in steps, at least 1"):
        Delays((3,), 0)
    with pytest.raises(ValueError, match=r"initial=5\.0: give delays from 0 to longest=4 steps"):
        Delays((3,), 4, initial=5.0)
    with pytest.raises(ValueError, match=r"delays of shape \(3,\): give \[T, B, \*shape\]"):
        Delays((3,), 4)(torch.zeros(5, 2, 4))
    with pytest.raises(ValueError, match="'12d0' has delays of up to 0 steps: leave out d0"):
        build((6,), 3, ("12d0",))
    with pytest.raises(ValueError, match="'12d' cannot be read"):
        build((6,), 3, ("12d",))


def test_fixed_delays_are_those_of_whole_steps():
    x = torch.rand(9, 2, 3, dtype=DOUBLE)
    steps = torch.tensor([0, 2, 5])
    assert torch.equal(Delayed(steps)(x), by_hand(x, steps.double()))


def test_bptt_finds_the_delays_of_a_teacher():
    """A spiking student with the teacher's weights, whose delays alone learn to give the teacher's output."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(60, 32, 4, generator=rng)
    x = torch.stack([2 * noise[max(t - 3, 0) : t + 1].mean(0) for t in range(60)])

    def made(delays):
        net = build((4,), 3, ("40d8",), neuron=LIF(tau_mem=5.0), seed=0)
        net.layers[0].delays = Delays((4,), 8, initial=torch.tensor(delays))
        return net

    teacher, student = made([1.0, 6.0, 3.0, 2.0]).eval(), made([3.0, 4.0, 4.0, 4.0])
    calibrate(teacher, x, 0.2)
    student.layers[0].part.load_state_dict(teacher.layers[0].part.state_dict())
    student.layers[1].load_state_dict(teacher.layers[1].state_dict())
    for name, p in student.named_parameters():
        p.requires_grad_("delays" in name)
    with torch.no_grad():
        targets = teacher(x).output
    trainer = Trainer(student, rules.make("bptt", objective="mse", lr=0.05), seed=0)
    for _ in range(60):
        trainer.step(Batch(x, targets=targets))
    assert student.layers[0].delays.whole.tolist() == [1, 6, 3, 2]
    assert torch.equal(student.eval()(x).output, targets)
