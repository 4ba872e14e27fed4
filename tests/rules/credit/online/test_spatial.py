"""Credit within each step alone: beside BPTT with a window of one step, on chains and elsewhere, and its memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
import rules.forward
import rules.windows
import sandbox
from rules.check import toy
from rules.credit.online.spatial import Spatial, layered

TET = rules.OBJECTIVES["tet"]()
CHAINS = {
    "two layers": sandbox.build((4,), 3, (6, 5), sandbox.LIF(tau_mem=3.0), seed=1),
    "recurrent": sandbox.build((4,), 3, (6, "5r"), sandbox.ALIF(), seed=1),
}


def given(steps=7):
    drawn = torch.rand(steps, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return rules.Batch(3 * drawn, torch.arange(5) % 3)


def credited(credit, model, batch, loss=TET):
    return credit.assign(model, loss, batch, credit.init(model, torch.Generator()), torch.Generator())


class Hidden(nn.Module):
    """A chain that shows gradient and carry alone."""

    offers = frozenset({"gradient", "carry"})

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, carry=None):
        return self.inner(x, carry)


@pytest.mark.parametrize("name", CHAINS)
def test_chains_step_by_step_and_in_kernels_have_the_gradient_of_a_window_of_one(name):
    net = CHAINS[name].double()
    assert layered(net)
    assert not layered(Hidden(net))
    wanted = credited(rules.BPTT(window=1), net, given())
    kernels, stepwise = credited(Spatial(), net, given()), credited(Spatial(), Hidden(net), given())
    assert stepwise.loss == pytest.approx(wanted.loss, rel=1e-12)  # float64, 7 sums
    for where, gradient in wanted.grads.items():
        assert gradient.any()
        torch.testing.assert_close(kernels.grads[where], gradient)
        torch.testing.assert_close(stepwise.grads[f"inner.{where}"], gradient)


def test_all_of_the_past_counts_elsewhere():
    """The gradient of the whole sequence is another, so that the equality above tells something."""
    net = CHAINS["two layers"].double()
    whole, step = (credited(credit, Hidden(net), given()).grads for credit in (rules.BPTT(), Spatial()))
    apart = [float((whole[where] - step[where]).norm() / whole[where].norm()) for where in whole]
    assert max(apart) > 0.1


def test_constants_of_cells_are_learned_step_by_step():
    net = sandbox.build((4,), 3, (6,), sandbox.PLIF(), seed=1).double()
    assert not layered(net)
    found, wanted = (credited(credit, net, given()).grads for credit in (Spatial(), rules.BPTT(window=1)))
    assert any("learned" in where for where in found)
    for where, gradient in wanted.items():
        torch.testing.assert_close(found[where], gradient)


@pytest.mark.parametrize("lengths", [None, torch.tensor([7, 3, 5, 1, 7])])
def test_pieces_of_a_sequence_add_up(lengths):
    """Where one piece ends in a carry and the next begins with it, with lengths too."""
    model, batch = Hidden(CHAINS["two layers"].double()), given()._replace(lengths=lengths)
    whole, share = credited(Spatial(), model, batch), rules.windows.Share(TET, batch)
    parts, carry = [], None
    for piece in rules.forward.pieces(batch, 3):
        parts.append(credited(Spatial(), model, piece._replace(carry=carry), share))
        carry = parts[-1].carry
    assert sum(part.loss for part in parts) == pytest.approx(whole.loss, rel=1e-12)
    for where, gradient in whole.grads.items():
        torch.testing.assert_close(sum(part.grads[where] for part in parts), gradient)


def test_memory_does_not_grow_with_the_sequence_and_operations_are_those_of_a_pass():
    model, alive, costs = Hidden(CHAINS["two layers"].double()), {}, {}
    for credit in (Spatial(), rules.BPTT(window=1)):
        for steps in (10, 40):
            held = Saved()
            with torch.autograd.graph.saved_tensors_hooks(held.pack, held.unpack):
                costs[type(credit), steps] = credited(credit, model, given(steps)).cost
            alive[type(credit), steps] = held.most
    assert alive[Spatial, 40] == alive[Spatial, 10]
    assert alive[rules.BPTT, 40] > 3 * alive[rules.BPTT, 10]
    for steps in (10, 40):
        assert costs[Spatial, steps].synaptic_operations == costs[rules.BPTT, steps].synaptic_operations
        assert (costs[Spatial, steps].forwards, costs[Spatial, steps].backwards) == (1, 1)


class Saved:
    """Counts tensors that graphs hold at once."""

    def __init__(self):
        self.now = self.most = 0

    def pack(self, tensor):
        self.now += 1
        self.most = max(self.most, self.now)
        return Held(self, tensor)

    def unpack(self, held):
        return held.tensor


class Held:
    def __init__(self, count, tensor):
        self.count, self.tensor = count, tensor

    def __del__(self):
        self.count.now -= 1


def test_the_recipe_is_spatial_and_other_signals_are_online():
    assert rules.make("sltt").credit == Spatial()
    assert rules.make("sltt", signal="random").credit == rules.Online("step", "random")


def test_random_feedback_replaces_weights_within_a_step():
    rule = rules.LearningRule(TET, rules.Feedback(Spatial(), "fa"), rules.make("bptt").plasticity)
    model = sandbox.make_model("spikingformer", shape=(1, 8, 8))
    x = torch.rand(4, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert rules.Trainer(model, rule, seed=0, health=None).step((x, torch.arange(3))).loss > 0


class TestRefused:
    def test_a_model_without_a_carry(self):
        with pytest.raises(rules.MissingNeed, match=r"carry: `forward\(x, carry\)` continues a sequence"):
            rules.Trainer(nn.Linear(4, 3), "sltt")
        with pytest.raises(rules.MissingNeed, match="carry"):
            credited(Spatial(), nn.Linear(4, 3), given())

    def test_a_model_without_a_gradient(self):
        model = toy.smooth(frozenset({"carry"}))
        with pytest.raises(rules.MissingNeed, match="gradient: autograd reaches"):
            credited(Spatial(), model, toy.batch())

    def test_a_model_that_forgets_its_carry(self):
        class Forgets(Hidden):
            def forward(self, x, carry=None):
                return self.inner(x)

        with pytest.raises(
            ValueError, match=r"credit of each step alone cuts sequences.*does not go on from its carry"
        ):
            rules.Trainer(Forgets(CHAINS["two layers"].float()), "sltt").step((given().x.float(), given().y))

    def test_a_loss_of_the_whole_sequence(self):
        with pytest.raises(ValueError, match="MeanCrossEntropy sees the whole sequence"):
            rules.make("sltt", objective="ce_mean")

    def test_a_surrogate_that_nothing_uses(self):
        with pytest.warns(UserWarning, match="had no effect: Opaque evaluates no rules.Surrogate"):
            credited(Spatial("atan"), toy.smooth(frozenset({"gradient", "carry"})), toy.batch())
