"""Networks of compiled neurons with learned delays: kernels give the plain loop's spikes, and its gradients."""

from __future__ import annotations

import pytest
import torch

from rules.spikes.surrogate import differentiating
from sandbox import LeakyIntegrator, build, calibrate
from sandbox.kernels import using
from sandbox.kernels.launch.registered import STRUCTURES

pytest.importorskip("brian2")
LEAKY = "dv/dt = (-v + 10*Mohm*current) / (10*ms) : volt (unless refractory)"
NEURONS = {
    "refractory": {"equations": LEAKY, "refractory": "2*ms", "method": "exact"},
    "adaptive": {
        "equations": f"{LEAKY}\ndtheta/dt = -theta / (30*ms) : volt",
        "threshold": "v > 15*mV + theta",
        "reset": "v = 0*mV; theta += 3*mV",
        "method": "exact",
    },
    "noise": {
        "equations": "dv/dt = (-v + 10*Mohm*current)/(10*ms) + 3*mV*xi/(10*ms)**.5 : volt",
        "method": "euler",
    },
    "an input that jumps": {
        "equations": "dv/dt = (-v + 5*i_syn*mV/nA)/(10*ms) : volt\ndi_syn/dt = -i_syn/(5*ms) : amp",
        "jumps": "i_syn",
        "method": "exponential_euler",
    },
}
QUICK = ("adaptive",)


@pytest.mark.parametrize("hidden", [("10d4", "8d3"), ("10rd4", "8rd3")], ids=["feed-forward", "recurrent"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in NEURONS])
def test_spikes_are_equal_and_gradients_up_to_the_order_of_sums(name, hidden):
    """In training, where delays share spikes, and in evaluation, where they are whole."""
    from sandbox.reference import from_brian2

    given = {"threshold": "v > 15*mV", "reset": "v = 0*mV", **NEURONS[name]}
    net = build((6,), 3, hidden, from_brian2(**given), LeakyIntegrator(tau_mem=5.0), dt=0.5, seed=1).double()
    x = torch.rand(200, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    calibrate(net, x[:60], 0.2)
    for training in (True, False):
        net.train(training)
        answers = []
        for mode in ("plain", "numba"):  # which raises where no kernel runs
            net.zero_grad()
            with using(mode), differentiating(generator=torch.Generator().manual_seed(3)):
                run = net(x, record=True)
            run.output.square().sum().backward()
            gradients = {each: p.grad.clone() for each, p in net.named_parameters() if p.grad is not None}
            answers.append(([trace.post for trace in run.traces if trace.post is not run.output], gradients))
        (spikes, wanted), (others, found) = answers
        assert all(map(torch.equal, spikes, others))
        assert min(float(each.sum()) for each in spikes) > 50
        assert sum("delays" in each for each in wanted) == 2
        for each, gradient in wanted.items():
            largest = float(gradient.abs().max())
            assert largest > 0, each
            torch.testing.assert_close(found[each], gradient, rtol=1e-10, atol=1e-10 * largest)  # sums of 200 steps
    assert STRUCTURES
