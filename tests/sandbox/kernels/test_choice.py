"""The requested loop runs or the reason is reported; what kernels do not support runs in the plain loop."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch.autograd import forward_ad

import rules
from rules.spikes.surrogate import Surrogate, differentiating
from sandbox import build, scan
from sandbox.kernels import choice, plans, source, state, using
from sandbox.kernels.launch import ops
from sandbox.kernels.launch.registered import STRUCTURES
from sandbox.machine import compiled as compiled_loops
from sandbox.neurons import LIF, EscapeLIF, LeakyIntegrator
from sandbox.neurons.base import Neuron

CURRENTS = 3 * torch.rand(40, 1200, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def calls(monkeypatch):
    """The kernels that ran."""
    made = []
    original = ops.call
    monkeypatch.setattr(ops, "call", lambda *given: (made.append(given[1]), original(*given))[1])
    choice.explain.cache_clear()
    return made


class Doubled(torch.autograd.Function):
    """Passes twice the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, error):
        return 2 * error


@dataclass(frozen=True)
class Odd(LeakyIntegrator):
    """A user-defined cell with one additional operation."""

    what: str = "cumsum"

    operations: ClassVar = {
        "cumsum": lambda v: v.cumsum(0),
        "bessel": torch.special.bessel_j0,
        "branch": lambda v: v if v.sum() > 0 else -v,
        "function": Doubled.apply,
        "no gradient": lambda v: v * torch.no_grad()(lambda: v * 2)(),
        "in place": lambda v: v.clone().mul_(2),
        "half": lambda v: v.half().float(),
    }

    def fire(self, state, dt):
        return self.operations[self.what](state.v), state


def test_the_modes(calls, monkeypatch):
    with using("plain"):
        scan(LIF(), CURRENTS)
    assert calls == []
    for mode in ("auto", "numba"):
        with using(mode):
            scan(LIF(), CURRENTS)
    assert calls == ["forward"] * 2
    monkeypatch.setenv("SANDBOX_KERNELS", "numba")
    scan(LIF(), CURRENTS)
    assert calls == ["forward"] * 3
    monkeypatch.setenv("SANDBOX_KERNELS", "fast")
    with pytest.raises(ValueError, match="unknown SANDBOX_KERNELS 'fast'"):
        scan(LIF(), CURRENTS)
    with pytest.raises(ValueError, match="unknown mode of the kernels 'nubma'.*nearest: 'numba'"), using("nubma"):
        pass


def test_a_tiny_job_is_not_worth_a_kernel(calls):
    with using("auto", history=False):
        scan(LIF(), CURRENTS[:5, :3])
    assert calls == []


REASONS = {
    "cumsum": "aten.cumsum",
    "bessel": "aten.special_bessel_j0",
    "branch": r"the step takes a number out of a tensor",
    "function": "the autograd function Doubled",
    "no gradient": "the step switches gradients off",
    "in place": "aten.mul_ changes a tensor in place",
    "half": "a conversion to torch.float16",
}


@pytest.mark.parametrize("what", Odd.operations)
def test_what_is_not_in_the_list_is_named_once_and_runs_plain(what, calls, caplog):
    assert REASONS.keys() == Odd.operations.keys()
    cell = Odd(what=what)
    with using("plain"):
        want = scan(cell, CURRENTS)[0]
    with using("auto"), caplog.at_level(logging.WARNING):
        assert torch.equal(scan(cell, CURRENTS)[0], want)
        scan(cell, CURRENTS)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("Odd runs in the plain loop: ")
    assert calls == []
    with using("numba"), pytest.raises(RuntimeError, match=f"Odd cannot run in a kernel: .*{REASONS[what]}"):
        scan(cell, CURRENTS)


def silent(f, calls, caplog):
    """Run `f` in the plain loop, without a log message."""
    with using("auto"), caplog.at_level(logging.WARNING):
        found = f()
    assert calls == caplog.messages == []
    return found


def test_spikes_made_by_a_rule_are_left_to_the_rule(calls, caplog):
    with differentiating(spike=lambda surrogate, u, strict, noise: torch.ones_like(u)):
        assert silent(lambda: scan(LIF(), CURRENTS), calls, caplog)[0].all()


def test_forward_mode_has_its_tangents(calls, caplog):
    def run(x):
        return scan(LeakyIntegrator(), x)[0]

    def dual():
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(run(forward_ad.make_dual(CURRENTS, CURRENTS))).tangent

    torch.testing.assert_close(silent(dual, calls, caplog), run(CURRENTS))
    torch.testing.assert_close(
        silent(lambda: torch.func.jvp(run, (CURRENTS,), (CURRENTS,)), calls, caplog)[1], run(CURRENTS)
    )


def test_stochastic_surrogates_stay_plain(calls, caplog, rng):
    x = CURRENTS.clone().requires_grad_()
    with differentiating(Surrogate("local_zo"), generator=rng):
        silent(lambda: scan(LIF(), x)[0].sum().backward(), calls, caplog)


def test_without_numba_the_plain_loop_says_so(monkeypatch, calls, caplog):
    compiled_loops.absent.cache_clear()
    monkeypatch.setattr(compiled_loops, "find_spec", lambda name: None)
    try:
        with using("auto"), caplog.at_level(logging.WARNING):
            scan(LIF(), CURRENTS)
        assert caplog.messages == [
            "LIF runs in the plain loop: numba is not installed: pip install 'learning-rule-sandbox[kernels]'"
        ]
        with using("numba"), pytest.raises(RuntimeError, match="LIF cannot run in a kernel: numba is not installed"):
            scan(LIF(), CURRENTS)
        assert state().startswith("none: numba is not installed")
    finally:
        compiled_loops.absent.cache_clear()


def test_a_pass_knows_that_a_spike_was_asked_for(calls):
    with using("numba"):
        for cell, used in ((LIF(), True), (LeakyIntegrator(), False)):
            for _ in range(2):
                with differentiating() as context:
                    scan(cell, CURRENTS)
                assert context.used is used
        with differentiating(smooth=True) as context:
            scan(LIF(), CURRENTS)
        assert context.used


def test_cells_that_differ_in_numbers_share_a_kernel():
    with using("numba"):
        scan(LIF(tau_mem=5.5), CURRENTS)
        known = len(STRUCTURES)
        for tau in (6.5, 7.5):
            scan(LIF(tau_mem=tau, v_threshold=1.25, v_reset=-0.5), CURRENTS)
        assert len(STRUCTURES) <= known + 1


def test_the_source_can_be_read():
    text = source(LIF(tau_mem=10.0), dt=1.0)
    assert text.startswith("# x = current, s0 = v\n# k0 = 0.904837")
    assert "lerp(x, s0, k0)" in text
    with pytest.raises(RuntimeError, match="Odd has no kernel: aten.cumsum"):
        source(Odd())


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"window": 5}, {"checkpoint": 5}, {"detach_reset": False}])
def test_backpropagation_gives_the_same_credit(options, rng):
    net = build((4,), 3, (30,), neuron=EscapeLIF(tau_mem=5.0), readout=LeakyIntegrator(tau_mem=5.0))
    x, y = 4 * torch.rand(20, 16, 4, generator=rng), torch.zeros(16, dtype=torch.long)
    start = {name: p.clone() for name, p in net.state_dict().items()}
    losses = []
    for mode in ("plain", "numba"):
        net.load_state_dict(start)
        with using(mode):
            trainer = rules.Trainer(net, rules.make("bptt", lr=1e-2, **options))
            losses.append([trainer.step((x, y)).loss for _ in range(3)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_neuron_is_looked_up_by_its_numbers():
    one, other = LIF(tau_mem=5.0), LIF(tau_mem=torch.tensor(5.0))
    assert plans.identity(one) == plans.identity(LIF(tau_mem=5.0)) != plans.identity(other)
    assert plans.identity(LIF(v_reset=0.0)) != plans.identity(LIF(v_reset=-0.0))
    assert isinstance(one, Neuron)
