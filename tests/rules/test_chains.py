"""Which models are chains, and what is said of those that are not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

import rules
from rules.chains import ELEMENTWISE, unchained
from rules.credit.relaxation import EquilibriumPropagation
from rules.credit.restricted import Partition, Restricted
from rules.models.chain import Link, chain_of
from rules.optional import offers, reasons

SHARED = nn.Linear(3, 3)
TIED = nn.Linear(3, 3)
TIED.weight = SHARED.weight


class Own(nn.Linear):
    """A dense layer that may compute something else."""


class Doubled(nn.Sequential):
    """A forward pass of its own."""

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("name", ["predictive_coding", "equilibrium_propagation", "pepita", "burst", "forward_forward"])
def test_layers_that_do_more_than_they_say_are_refused(name):
    """Hooks, and weights that are computed from others, as of pruning, which the weights of a chain leave out."""
    hooked, pruned = (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)) for _ in range(2))
    hooked[0].register_forward_hook(lambda module, args, output: 2 * output)
    prune.random_unstructured(pruned[2], "weight", 0.5)
    batch = (torch.rand(6, 4), torch.arange(6) % 3)
    with pytest.raises(ValueError, match="layer 0, Linear, has a hook"):
        rules.Trainer(hooked, name).step(batch)
    with pytest.raises(ValueError, match="layer 2, Linear, has a (hook|weight that is computed from other)"):
        rules.Trainer(pruned, name).step(batch)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([], r"none of its layers \(none\) is dense"),
        (None, r"none of its layers \(none\) is dense"),
        ([nn.Tanh(), nn.Linear(2, 3)], "layer 0 is Tanh, before the first dense layer"),
        ([nn.Linear(2, 3), nn.Flatten()], "layer 1 is Flatten, neither a dense layer nor an elementwise activation"),
        ([nn.Linear(2, 3), nn.Softmax(1)], "layer 1 is Softmax, neither"),
        ([nn.Linear(2, 3), nn.Dropout()], "layer 1 is Dropout, neither"),
        ([Own(2, 3)], r"none of its layers \(Own\) is dense"),
        ([SHARED, nn.Tanh(), SHARED], "a dense layer is used twice"),
        ([SHARED, TIED], "a dense layer is used twice"),
    ],
)
def test_what_is_in_the_way_is_named_with_a_remedy(layers, said):
    with pytest.raises(AssertionError, match=f"{said}.*: build an nn.Sequential of nn.Linear and activations"):
        assert not unchained(layers), unchained(layers)


@given(st.lists(st.sampled_from([nn.Linear, *ELEMENTWISE]), min_size=1, max_size=8))
def test_any_order_that_begins_with_a_dense_layer_is_a_chain(kinds):
    layers = [kind(3, 3) if kind is nn.Linear else kind() for kind in kinds]
    assert (unchained(layers) == "") == (kinds[0] is nn.Linear)
    assert ("chain" in offers(nn.Sequential(*layers))) == (kinds[0] is nn.Linear)


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_the_activations_act_on_each_unit_alone_and_have_the_slope_of_autograd(kind):
    a = torch.randn(2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    link = Link(nn.Linear(1, 1), (kind(),))
    jacobian = torch.autograd.functional.jacobian(link.fire, a).reshape(8, 8)
    out, slope = link.sloped(a)
    assert torch.equal(out, kind()(a))
    assert torch.equal(jacobian, torch.diag(slope.flatten()))


def test_a_forward_pass_of_its_own_is_no_chain():
    parts = nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)
    assert "chain" in offers(nn.Sequential(*parts))
    assert "chain" not in offers(Doubled(*parts))
    assert "chain" not in offers(nn.Module())
    assert "neither" in reasons(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), {"chain"})["chain"]
    assert reasons(nn.Sequential(nn.Linear(2, 3)), {"layers"}) == {}


def test_an_input_of_several_parts_is_refused():
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="PEPITA works on one input tensor"):
        chain_of(nn.Sequential(nn.Linear(2, 1)), "PEPITA", rules.Batch((x, x)))


def test_wrapped_rules_run_the_network_as_the_one_inside():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2), nn.Tanh())
    batch = rules.Batch(torch.rand(4, 2))
    settled = EquilibriumPropagation().runs(model)(batch).output
    both = Partition(((EquilibriumPropagation(), ("0.*",)), (rules.BPTT(), ("2.*",))))
    for credit in (Restricted(EquilibriumPropagation(), ("0.*",)), both):
        assert torch.equal(credit.runs(model)(batch).output, settled)
    assert rules.BPTT().runs(model) is None
    assert not torch.allclose(settled[0], model(batch.x))
