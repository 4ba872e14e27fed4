"""Published steps of LIF neurons, against formulas, each other and SpikingJelly."""

from __future__ import annotations

import math

import pytest
import torch

from rules.spikes.surrogate import Surrogate, differentiating
from sandbox import LIF, build, scan, simulate, validate
from sandbox.neurons import (
    ASN,
    CPLIF,
    GLIF,
    ILIF,
    IN_BRIAN2,
    KLIF,
    MSLIF,
    NEURONS,
    NILIF,
    PLIF,
    PSN,
    EulerCubaLIF,
    MaskedPSN,
    MultiIF,
    MultiLIF,
    SlidingPSN,
)  # fmt: skip
from sandbox.reference.formulas import FORMULAS

OTHERS = [name for name in NEURONS if name not in IN_BRIAN2]


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_every_cell_has_equations_or_a_formula_of_its_own():
    assert {NEURONS[name] for name in OTHERS} == set(FORMULAS)


@pytest.mark.parametrize("name", OTHERS)
def test_a_validation_compares_with_the_formula(name):
    report = validate(NEURONS[name]())
    assert report.passed, str(report)
    assert report.tiers == ("formula", "float32")
    assert f"agrees with {NEURONS[name].reference}" in str(report)
    assert NEURONS[name].reference != "Brian2"


@pytest.mark.parametrize(
    "cell",
    [
        MaskedPSN(9, 3, masked=0.4, seed=3),
        SlidingPSN(3, weight=torch.tensor([0.1, -0.7, 1.3])),
        ASN(alpha=-1.5, window="fractional"),
        ASN(3, 0.5, alpha=-1.5),
        KLIF(k=1.7, tau_mem=3.0),
        CPLIF(channels=60, weight=drawn(60), bias=0.1 * drawn(60, seed=1)),
        GLIF(steps=9, logits=drawn(16, 1)),
        EulerCubaLIF(tau_mem=3.0, tau_syn=2.0, order="synapse_first", reset="subtract", strict=True),
        EulerCubaLIF(tau_mem=4.0, tau_syn=1.5, order="jump_first", v_leak=0.2, v_reset=-0.3),
        MultiLIF(tau_mem=4.0, r=3.0, v_leak=0.1, v_threshold=0.3, levels=3),
        MultiIF(tau_mem=2.0, r=3.0, v_leak=0.1, v_threshold=0.3),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_with_other_constants_too(cell):
    report = validate(cell, dt=1.0)
    assert report.passed, str(report)


def test_a_wrong_cell_does_not_agree():
    """A leak that is a tenth off is seen."""

    class Off(ILIF):
        def integrate(self, current, state, dt):
            return super().integrate(current, state._replace(v=0.9 * state.v), dt)

    FORMULAS[Off] = FORMULAS[ILIF]
    try:
        assert not validate(Off()).passed
    finally:
        del FORMULAS[Off]


def test_one_weight_for_all_channels_is_a_lif_of_as_many_steps():
    """p = 1 / C: an Euler step with tau = C. A single channel has no memory."""
    x = 8 * drawn(30, 5, 6)
    assert torch.equal(scan(CPLIF(channels=6), x)[0], scan(PLIF(tau_mem=6.0), x)[0])
    weighted = CPLIF(channels=6, weight=torch.randn(6))
    p = torch.softmax(weighted.weight, 0)
    assert float(p.sum()) == pytest.approx(1)
    assert float(p.min()) > 0
    assert float(p.max()) < 1
    alone = simulate(CPLIF(channels=1), 0.9 * torch.rand(30, 5, 1))
    assert not alone.spikes.any()
    assert torch.equal(simulate(CPLIF(channels=1), torch.full((3, 5, 1), 0.9)).v[-1], torch.full((5, 1), 0.9))


def test_channels_stand_behind_the_batch():
    """In a convolution each feature map has its own leak, in a dense layer each cell."""
    maps = build((1, 4, 4), 2, ("3c3",), CPLIF())
    assert maps.layers[0].cells.learned.values["weight"].shape == (3,)
    assert maps(torch.rand(5, 2, 1, 4, 4)).output.shape == (5, 2, 2)
    assert build((4,), 2, (7,), CPLIF()).layers[0].cells.learned.values["bias"].shape == (7,)


def test_the_lif_of_ms_resnet():
    """0.25 H (1 - S) + X, strictly above 0.5, and the LIF of tau = 4/3 without decayed input."""
    x = drawn(200, 50)
    h, s, rows = torch.zeros(50, dtype=torch.float64), torch.zeros(50, dtype=torch.float64), []
    for current in x:
        h = 0.25 * h * (1 - s) + current
        s = (h > 0.5).double()
        rows.append(s)
    assert torch.equal(scan(MSLIF(), x)[0], torch.stack(rows))
    u = torch.tensor([-0.01, 0.01, 0.5, 0.99, 1.01], dtype=torch.float64, requires_grad=True)
    scan(MSLIF(), u[None])[0].sum().backward()
    assert u.grad.tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_plif_keeps_its_time_constant_above_a_step():
    """1 / tau = sigmoid(w): tau = 1 + (tau0 - 1) exp(raw), with raw = w0 - w."""
    net = build((3,), 2, (5,), PLIF())
    raw = net.layers[0].cells.learned.raw["tau_mem"]
    for value in (-3.0, 0.0, 2.0):
        with torch.no_grad():
            raw.fill_(value)
        tau = float(net.layers[0].cells.present().tau_mem)
        assert 1 / tau == pytest.approx(1 / (1 + math.exp(value)), rel=1e-6)


class TestSpikingJelly:
    """The same spikes and gradients as SpikingJelly's nodes, in float64."""

    @pytest.fixture
    def sj(self):
        return pytest.importorskip("spikingjelly.activation_based.neuron", reason="not installed: make peers")

    def agree(self, cell, node, x, rate=(0.02, 0.98)):
        node.double()
        given = [x.clone().requires_grad_() for _ in range(2)]
        with differentiating(detach_reset=False):
            ours, _ = scan(cell, given[0])
        theirs = node(given[1])
        assert torch.equal(ours, theirs)
        assert rate[0] < float(ours.detach().ne(0).double().mean()) < rate[1]
        error = drawn(*x.shape, seed=9)
        for each in (ours, theirs):
            (each * error).sum().backward()
        assert torch.allclose(given[0].grad, given[1].grad, rtol=1e-9, atol=1e-12)  # order of sums

    def test_psn(self, sj):
        node = sj.PSN(8).double()
        self.agree(PSN(8, node.weight.detach(), -node.bias.detach()[:, 0]), node, 2 * drawn(8, 5, 6))

    @pytest.mark.parametrize("masked", [0.3, 1.0])
    def test_masked_psn(self, sj, masked):
        node = sj.MaskedPSN(3, 8, lambda_init=masked, step_mode="m").double()
        cell = MaskedPSN(8, 3, float(node.lambda_), weight=node.weight.detach(), v_threshold=-node.bias.detach()[:, 0])
        self.agree(cell, node, 3 * drawn(8, 5, 6))

    def test_sliding_psn(self, sj):
        node = sj.SlidingPSN(3, step_mode="m").double()
        assert torch.equal(SlidingPSN(3).drawn(None, None)["weight"].double(), node.weight.detach())
        self.agree(SlidingPSN(3, weight=node.weight.detach()), node, drawn(20, 5, 6))

    def test_ilif(self, sj):
        self.agree(ILIF(), sj.ILIFNode(step_mode="m"), 1 + 2 * drawn(20, 5, 6))

    def test_klif(self, sj):
        from spikingjelly.activation_based import surrogate

        node = sj.KLIFNode(tau=2.0, surrogate_function=surrogate.ATan(), step_mode="m")
        node.k.data.fill_(1.3)
        self.agree(KLIF(k=float(node.k)), node, 1 + 2 * drawn(20, 5, 6))

    def test_plif(self, sj):
        from spikingjelly.activation_based import surrogate

        node = sj.ParametricLIFNode(init_tau=2.0, surrogate_function=surrogate.ATan(), step_mode="m")
        self.agree(PLIF(tau_mem=2.0), node, 1 + 2 * drawn(20, 5, 6))

    def test_glif(self, sj):
        from spikingjelly.activation_based import surrogate

        node = sj.GatedLIFNode(9, inplane=6, surrogate_function=surrogate.ATan()).double()
        names = ("alpha", "beta", "gamma", "tau", "v_threshold", "linear_decay", "v_subreset")
        logits = torch.cat([torch.stack([getattr(node, n).detach() for n in names]), node.conduct.detach()])
        self.agree(GLIF(9, 6, logits), node, 1 + 2 * drawn(9, 5, 6, 2, 2))

    def test_binary_steps(self, sj):
        """`SpikeCountToBinary` is our order of bits."""
        from spikingjelly.activation_based.layer import SpikeCountToBinary

        from sandbox.networks.binary_inference import thermometer

        counts = torch.randint(5, (6, 3, 4)).double()
        assert torch.equal(thermometer(counts, 4), SpikeCountToBinary(4, always_convert=True)(counts))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PLIF(tau_mem=1.0), "tau_mem=1.0: give a time constant in ms above 1"),
        (lambda: CPLIF(channels=0), "channels=0: give a whole number, at least 1"),
        (lambda: CPLIF(channels=3, weight=torch.zeros(2)), r"CPLIF.weight has shape \(2,\); wanted \(3,\)"),
        (
            lambda: scan(CPLIF(channels=3), torch.zeros(2, 1, 4)),
            r"CPLIF has 3 channels, and the cells have 4 channels: \(1, 4\)",
        ),
        (lambda: CPLIF().drawn(None, None), "CPLIF has a time constant for each channel: say how many"),
        (lambda: scan(GLIF(3), torch.zeros(4, 1)), "step 4 of a GLIF with steps=3: build it for longer sequences"),
        (lambda: GLIF(3, logits=torch.zeros(9, 1)), r"GLIF.logits has shape \(9, 1\); wanted \(10, 1\)"),
        (lambda: CPLIF(weight="x"), "CPLIF.weight='x': give a tensor of shape .'any',., or None"),
        (lambda: GLIF(0), "steps=0: give a whole number"),
        (lambda: validate(type("Own", (NILIF,), {})()), "Own has neither equations for Brian2 nor a formula here"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_width_of_the_surrogate_is_the_papers():
    assert MSLIF().surrogate == Surrogate("rect", alpha=0.5)
    assert LIF().published_dt is None


def test_a_cell_without_equations_is_validated_for_the_time_that_was_asked():
    """One that sees a whole sequence has the length of its own, one with a greatest length no more than that."""
    steps = {
        cell: round(validate(cell, dt=0.5, duration=20.0, cells=2).duration / 0.5)
        for cell in (ILIF(), PSN(steps=16), MaskedPSN(steps=64, order=2), MaskedPSN(steps=8, order=2))
    }
    assert list(steps.values()) == [40, 16, 40, 8]
    assert round(validate(ILIF(), cells=2).duration / 0.1) == 200


def test_a_validation_that_checked_nothing_does_not_pass():
    report = validate(ILIF(), tiers=("limit",))
    assert not report.passed
    assert str(report).endswith("NOTHING WAS CHECKED, because no tier that was asked for applies: leave tiers out")
    assert [check.verdict for check in report.checks] == ["skip"]


@pytest.mark.parametrize(
    ("tiers", "names"),
    [
        (("same_scheme",), {"formula", "same_scheme"}),  # whose place the formula takes
        (("float32",), {"float32", "formula"}),  # and that cells fired
        (("formula", "limit"), {"formula", "limit"}),
    ],
)
def test_a_cell_without_equations_has_the_tiers_that_were_asked_for(tiers, names):
    report = validate(ILIF(), tiers=tiers)
    assert {check.tier for check in report.checks} == names
    assert str(report).endswith("  agrees with its formula in NumPy and float64")
