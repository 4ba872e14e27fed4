"""The dense estimate against SpikingJelly's own report of its preset "NeuroMC"."""

from __future__ import annotations

import warnings
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from rules import Batch
from sandbox.hardware import estimate, measure, plan_of

HOME = "spikingjelly.activation_based.op_counter"
NO_TIME = replace(plan_of("bptt"), schedule=plan_of("sltt").schedule)


def absent():
    return find_spec("spikingjelly") is None or find_spec(HOME) is None or find_spec(f"{HOME}.neuromc") is None


if absent():
    pytest.skip("this needs SpikingJelly 2, with op_counter.neuromc: make peers", allow_module_level=True)

from spikingjelly.activation_based import functional, neuron, surrogate  # noqa: E402
from spikingjelly.activation_based.op_counter.neuromc import estimate_neuromc_runtime_energy  # noqa: E402

OPTIMIZERS = {
    None: lambda parameters: None,
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    "adam": torch.optim.Adam,
}


def cells():
    """Cells without a leak and with a detached reset, whose derivative the counter knows."""
    return neuron.IFNode(surrogate_function=surrogate.Sigmoid(), detach_reset=True)


@pytest.fixture(scope="module")
def network():
    """One step of a convolution and a dense layer, with cells behind each, on inputs of zeros and ones."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 20, 3, padding=1, bias=False), cells(), nn.Flatten(1), nn.Linear(1280, 10, bias=False), cells()
    )
    return net, (torch.rand(5, 3, 8, 8) < 0.4).float()


def theirs(net, x, optimizer):
    """Their report, without the products that it counts a second time as operators of the dense layer's gradients."""
    functional.reset_net(net)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = OPTIMIZERS[optimizer](net.parameters())
        return estimate_neuromc_runtime_energy(
            net, x, target=torch.ones(5, 10), loss_fn=nn.functional.mse_loss, optimizer=made
        ).energy_by_op


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_totals_are_those_of_spikingjelly(network, optimizer):
    """Within 0.5 %, where 5 % are asked: their Adam also counts registers."""
    net, x = network
    told = {name: energy for name, energy in theirs(net, x, optimizer).items() if name != "aten.mm.default"}
    functional.reset_net(net)
    ours = estimate(measure(net, Batch(x, torch.arange(5))), NO_TIME, "neuromc", optimizer=optimizer)
    assert ours.total == pytest.approx(sum(told.values()), rel=5e-3)


def test_each_engine_is_that_of_spikingjelly(network):
    """To rounding: the same counts and constants, by other code."""
    net, x = network
    told = theirs(net, x, None)
    functional.reset_net(net)
    ours = estimate(measure(net, Batch(x, torch.arange(5))), NO_TIME, "neuromc")
    ahead = told["conv.forward"] + told["linear.forward"] + told["soma.forward"]
    back = told["linear.backward.grad_input"] + told["soma.backward"]
    weight = told["conv.backward.grad_weight"] + told["linear.backward.grad_weight"]
    found = [ours.sum(engine) for engine in ("forward", "backward", "weight")]
    assert found == pytest.approx([ahead, back, weight], rel=1e-9)
