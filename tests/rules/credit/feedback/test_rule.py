"""Feedback is checked against backpropagation, closed recursions, and siblings that are broken in one known way."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

import rules
from rules.check import check_rule, toy
from rules.credit.bptt import BPTT
from rules.credit.dropout import Dropout
from rules.credit.feedback import KINDS, Feedback
from rules.credit.restricted import Restricted
from rules.models.admission import UnfitModel
from rules.models.readout import NotFound
from rules.plasticity import SGD
from rules.recipes import LearningRule
from rules.spikes.surrogate import Surrogate, reset_signal
from tests.rules.credit.feedback.nets import MODELS, OBJECTIVE, STEPS, as_weights, assign, located, made, same, static

CHAIN = [kind for kind, how in KINDS.items() if not how.direct]
DIRECT = [kind for kind, how in KINDS.items() if how.direct]


@pytest.mark.parametrize("credit", [BPTT(), BPTT(window=2), BPTT(checkpoint=3)], ids=["whole", "window", "checkpoint"])
@pytest.mark.parametrize("name", MODELS)
def test_with_the_weights_as_feedback_it_is_backpropagation(name, credit):
    """P6.1: the same products of the same numbers, so the same bits, biases and norms included."""
    model, batch = made(name)
    if credit != BPTT() and not hasattr(model, "layers"):
        pytest.skip("pieces in time need a carry")
    mine, state = located(model, batch, credit=credit)
    assert state.matrices
    want, got = assign(credit, model, batch), assign(mine, model, batch, as_weights(model, state))
    assert got.loss == want.loss
    same(got.grads, want.grads)
    other = assign(mine, model, batch, state)
    assert other.loss == want.loss
    first = next(iter(want.grads))
    assert not torch.allclose(other.grads[first], want.grads[first], rtol=0.1)


def test_the_bits_of_the_forward_pass_and_of_the_carry_do_not_change():
    model, batch = made("recurrent")
    mine, state = located(model, batch)
    want, got = assign(BPTT(), model, batch), assign(mine, model, batch, state)
    assert want.loss == got.loss
    for a, b in zip(want.carry, got.carry, strict=True):
        assert torch.equal(a[0].v, b[0].v)


def through(x, weight, back):
    """A product whose value and weight gradient are those of `weight`, and whose input gets its error by `back`."""
    return x.detach() @ weight.T + (x - x.detach()) @ back.T


@pytest.mark.parametrize("recurrent", ["replaced", "exact", "stop"])
@pytest.mark.parametrize("kind", ["fa", "dfa"])
def test_it_equals_a_loop_written_by_hand_through_time(kind, recurrent):
    """A spiking recurrent layer: values of W, errors of B, by terms that are zero forward; 1e-12 of the largest entry."""
    model, batch = made("toy")
    mine, state = located(model, batch, kind, recurrent=recurrent)
    got = assign(mine, model, batch, state).grads
    hidden, readout = model.layers
    again, out = hidden.cells.recurrent.weight, readout.synapse.weight
    back = {
        "replaced": state.matrices.get("layers.0.cells.recurrent"),
        "exact": again.detach(),
        "stop": 0 * again.detach(),
    }
    v, s = (torch.zeros(batch.x.shape[1], 5, dtype=torch.float64) for _ in range(2))
    y, shown, sums = torch.zeros(batch.x.shape[1], 2, dtype=torch.float64), [], []
    for x in batch.x:
        h = 0.8 * v + hidden.synapse(x) + through(s, again, back[recurrent])
        s = Surrogate("atan").spike(h - 1.0)
        v = h * (1 - reset_signal(s))
        sums.append(s)
        y = 0.8 * y + (through(s, out, state.matrices["layers.1.synapse"]) if kind == "fa" else s.detach() @ out.T)
        y = y + readout.synapse.bias
        shown.append(y)
    loss = OBJECTIVE(rules.Run(torch.stack(shown)), batch)
    if kind == "dfa":
        (error,) = torch.autograd.grad(loss, shown[-1], retain_graph=True)
        errors = torch.autograd.grad(loss, shown, retain_graph=True)
        assert torch.equal(errors[-1], error)
        softmax = torch.stack(shown).mean(0).softmax(-1) - nn.functional.one_hot(batch.y, 2)
        straight = softmax / batch.x.shape[1] / STEPS  # of the mean over time, for every step alike
        loss = loss + sum((s * (straight.detach() @ state.matrices["layers.1.synapse"])).sum() for s in sums)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    same(got, dict(zip(dict(model.named_parameters()), slopes, strict=True)), 1e-12)


def test_direct_feedback_by_the_product_of_the_weights_is_backpropagation_in_a_linear_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)).double()
    batch = rules.Batch(torch.rand(STEPS, 4, 4, dtype=torch.float64), torch.arange(4) % 3)
    mine, state = located(model, batch, "dfa")
    middle, last = model[1].weight.detach(), model[2].weight.detach()
    state = state._replace(matrices={"1": last @ middle, "2": last})
    same(assign(mine, model, batch, state).grads, assign(BPTT(), model, batch).grads, 1e-12)


def test_sign_symmetry_of_weights_of_one_size_is_backpropagation():
    """P6.2: the root mean square of +-s is s but for the rounding of a mean, so 1e-12."""
    model, batch = made("recurrent")
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.where(p >= 0, 0.7, -0.7))
    mine, state = located(model, batch, "usf")
    same(assign(mine, model, batch, state).grads, assign(BPTT(), model, batch).grads, 1e-12)


@pytest.mark.parametrize("kind", ["usf", "brsf", "frsf"])
def test_the_signs_are_those_of_the_weight_and_sizes_are_drawn_when_they_should_be(kind):
    """A synapse of one output shows its feedback as the error of its input."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 50), nn.Linear(50, 1)).double()
    batch = rules.Batch(torch.ones(1, 1, 1, dtype=torch.float64))
    mine, state = located(model, batch, kind)
    shown = []
    for _ in range(2):
        credit = assign(mine, model, batch, state, objective=Sum())
        shown.append(credit.grads["0.bias"])
        state = credit.state
    assert torch.equal(torch.sign(shown[0]), torch.sign(model[1].weight[0]))
    assert torch.equal(*shown) is (kind != "brsf")
    assert len(shown[0].abs().unique()) == (1 if kind == "usf" else 50)
    with torch.no_grad():
        model[1].weight.neg_()
    turned = assign(mine, model, batch, state, objective=Sum()).grads["0.bias"]
    assert torch.equal(torch.sign(turned), -torch.sign(shown[0]))


@dataclass(frozen=True)
class Sum(rules.Objective):
    """The sum of the output, whose error is 1 everywhere."""

    def __call__(self, run, batch):
        return run.output.sum()


def test_drtp_sees_the_label_alone_and_dfa_the_output_but_not_the_read_out():
    """P6.3, in every bit."""
    model, batch = made("static")
    model = nn.Sequential(*model[:2], nn.Linear(6, 3).double())
    objective = toy.Quadratic(target=0.3)  # of cross-entropy even the sign of the error is that of the label
    for kind in DIRECT:
        mine, state = located(model, batch, kind)
        before = assign(mine, model, batch, state, objective).grads
        other, output = copy.deepcopy(model), model(batch.x)
        with torch.no_grad():  # another read-out, with the same output
            other[2].weight.mul_(-2)
        moved = Fixed(other, output.detach())
        found, _ = located(moved, batch, kind)
        named = state._replace(matrices={f"inner.{n}": m for n, m in state.matrices.items()})
        after = assign(found, moved, batch, named, objective).grads
        assert torch.equal(after["inner.0.weight"], before["0.weight"]), kind
        moved.output = output.detach() + 2
        changed = assign(found, moved, batch, named, objective).grads["inner.0.weight"]
        assert torch.equal(changed, before["0.weight"]) is (kind == "drtp"), kind


class Fixed(nn.Module):
    """A model with a given output, and gradients that pass to a model inside."""

    def __init__(self, inner, output):
        super().__init__()
        self.inner, self.output = inner, output

    def forward(self, x):
        y = self.inner(x)
        return y - y.detach() + self.output


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["static, in time", "recurrent", "feed-forward maps"])
def test_the_read_out_gets_its_exact_gradient(name, kind):
    """P6.6, in every bit; and the layers before get something else."""
    model, batch = made(name)
    mine, state = located(model, batch, kind)
    want, got = assign(BPTT(), model, batch).grads, assign(mine, model, batch, state).grads
    assert got.keys() == want.keys()
    *others, weight, bias = want
    assert torch.equal(got[weight], want[weight])
    assert torch.equal(got[bias], want[bias])
    assert not torch.allclose(got[others[0]], want[others[0]])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_random_has_the_norm_of_what_it_replaces(kind):
    """Over many units: the error at a hidden layer of 4,000 units has the norm of the exact one within a tenth."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4000), nn.Linear(4000, 10)).double()
    batch = rules.Batch(torch.rand(1, 1, 3, dtype=torch.float64), torch.tensor([0]))
    mine, state = located(model, batch, kind)
    want, got = (assign(c, model, batch, s).grads["0.bias"].norm() for c, s in ((BPTT(), ()), (mine, state)))
    factor = {"sdfa": 10**0.5, "drtp": 1.0}.get(kind)  # norms of ten signs and of one label, whatever the error is
    if factor is not None:
        want = factor * model[1].weight.detach().norm() / 10**0.5
    assert 0.9 < float(got / want) < 1.1


def test_the_weight_mirror_learns_its_weight():
    """P6.4, at the stated fixed point `rate / decay` W, with the stated noise; 60 time constants."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 40), nn.Linear(40, 30)).double()
    batch = rules.Batch(torch.rand(1, 1, 2, dtype=torch.float64), torch.tensor([0]))
    mine, state = located(model, batch, "weight_mirror", decay=0.02, rate=0.04, noise=20)
    for _ in range(400):
        state = assign(mine, model, batch, state).state
    weight, back = model[1].weight.detach(), mine.feedback(state)["1.weight"]
    cosine = float((weight * back).sum() / weight.norm() / back.norm())
    assert abs(cosine - (1 + 40 * 0.02 / (2 * 20)) ** -0.5) < 0.002
    assert float((weight * back).sum() / weight.square().sum()) == pytest.approx(2.0, rel=0.02)


def kolen_pollack(plasticity, decay=0.1):
    return LearningRule(OBJECTIVE, Feedback(BPTT(), "kolen_pollack", decay=decay), plasticity)


@pytest.mark.parametrize("name", ["static", "recurrent", "convolutional"])
@pytest.mark.parametrize("rule", [kolen_pollack(SGD(lr=0.5, weight_decay=0.2)), rules.make("kolen_pollack", decay=0.1)])
def test_kolen_pollack_closes_the_gap_at_the_rate_of_its_decay(rule, name):
    """P6.5, whatever the data and the optimizer; 1e-12 of the first gap."""
    model, batch = made(name)
    trainer = rules.Trainer(model, rule, accumulate=2)
    trainer.begin(batch)
    gap = {}
    for updates in range(6):
        trainer.step(batch), trainer.step(batch)
        for where, back in trainer.state.matrices.items():
            apart = back - trainer.state.weights[where]
            gap.setdefault(where, apart.norm())
            assert abs(float(apart.norm() / gap[where]) - 0.9**updates) < 1e-12


def test_kolen_pollack_is_two_synapses_with_one_update():
    """Beside a loop in which feedback gets the step of SGD that the weight gets, and its own decay."""
    model, batch = made("static")
    trainer = rules.Trainer(model, kolen_pollack(SGD(lr=0.5, weight_decay=0.2)))
    trainer.begin(batch)
    twin, mine = copy.deepcopy(model), dict(trainer.state.matrices)
    credit, state = trainer.rule.credit, trainer.state
    fixed = replace(credit, kind="fa")
    for _ in range(4):
        grads = assign(fixed, twin, batch, state._replace(matrices=mine, weights={})).grads
        with torch.no_grad():
            for where in mine:
                mine[where] = mine[where] - 0.5 * (grads[f"{where}.weight"] + 0.2 * mine[where])
            for name, p in twin.named_parameters():
                p.sub_(0.5 * (grads[name] + 0.2 * p))
        trainer.step(batch)
    trainer.step(batch)  # which sees the fourth update
    for where, matrix in mine.items():
        torch.testing.assert_close(trainer.state.matrices[where], matrix, rtol=1e-12, atol=1e-14)


def test_errors_align_with_the_gradient_while_a_linear_network_learns():
    """P6.7: of five networks and their random feedback, by the angle of the hidden layer's gradient."""
    for seed in range(5):
        torch.manual_seed(seed)
        teacher = torch.randn(10, 30, dtype=torch.float64) / 30**0.5
        model = nn.Sequential(nn.Linear(30, 20, bias=False), nn.Linear(20, 10, bias=False)).double()
        x = torch.randn(40, 1, 50, 30, dtype=torch.float64)
        batches = [rules.Batch(each, (each @ teacher.T)[0]) for each in x]
        objective = rules.OBJECTIVES["mse"]()
        trainer = rules.Trainer(model, LearningRule(objective, Feedback(BPTT(), "fa"), SGD(lr=0.5)))
        angles = []
        for batch in batches * 5:
            trainer.step(batch)
            mine, exact = (
                assign(c, model, batch, s, objective).grads["0.weight"]
                for c, s in ((trainer.rule.credit, trainer.state), (BPTT(), ()))
            )
            angles.append(float((mine * exact).sum() / mine.norm() / exact.norm()))
        assert min(angles[-20:]) > 0.3, (seed, angles[0], angles[-1])
        assert angles[-1] > angles[0]


@pytest.mark.parametrize("kind", CHAIN)
@pytest.mark.parametrize("name", ["static, in time", "recurrent", "convolutional", "feed-forward maps"])
def test_a_chain_costs_what_backpropagation_costs(name, kind):
    model, batch = made(name)
    mine, state = located(model, batch, kind)
    want, got = assign(BPTT(), model, batch).cost, assign(mine, model, batch, state).cost
    size = sum(model.get_submodule(n).weight.numel() for n in state.matrices)
    if kind == "weight_mirror":
        assert got.gaussian_draws > 0
        assert got.weight_operations > want.weight_operations
        return
    assert got == replace(want, gaussian_draws=size if kind == "brsf" else 0)


def test_a_mirror_counts_its_noise():
    model, batch = made("static")
    mine, state = located(model, batch, "weight_mirror", noise=7)
    want, got = assign(BPTT(), model, batch).cost, assign(mine, model, batch, state).cost
    products = 7 * (6 * 6 + 6 * 3)
    assert (got.gaussian_draws, got.weight_operations - want.weight_operations) == (7 * 12, 2 * products)
    assert got.error_operations == want.error_operations


@pytest.mark.parametrize("kind", DIRECT)
def test_direct_feedback_counts_what_is_sent(kind):
    model, batch = made("static")
    mine, state = located(model, batch, kind)
    want, got = assign(BPTT(), model, batch).cost, assign(mine, model, batch, state).cost
    sent = 4 * 3 * (6 + 6)  # samples x classes x units of both hidden layers
    assert (got.error_operations, got.weight_operations) == (sent, want.weight_operations)
    saved = want.multiplications - want.error_operations
    assert got.multiplications - saved == (sent if kind == "dfa" else 0)
    assert got.comparisons == (2 * 4 * 3 if kind == "sdfa" else 0)
    assert got.one_bit_reads == {"dfa": 0, "sdfa": sent, "drtp": 4 * 12}[kind]


@pytest.mark.parametrize("kind", ["fa", "drtp", "weight_mirror"])
def test_it_keeps_the_contract_around_windows_and_in_recurrent_layers(kind):
    model, batch = made("recurrent")
    for rule in (Feedback(BPTT(), kind), Feedback(BPTT(window=2), kind, recurrent="stop")):
        report = check_rule(rule, models=[(model, batch)])
        failed = [r for r in report.results if not r.passed]
        assert all("takes no carry" in r.message for r in failed), str(report)


def test_dropout_goes_around_feedback_and_restriction_either_way():
    model, batch = made("static")
    found, state = located(model, batch)
    thin = Dropout(found, 0.5)
    assert assign(thin, model, batch, state).grads.keys() == dict(model.named_parameters()).keys()
    with pytest.raises(ValueError, match=r"the input of '2' was changed between its arrival and its use: .*Dropout\("):
        assign(*[each := located(model, batch, credit=Dropout(BPTT(), 0.5))][0][:1], model, batch, each[1])
    only = Restricted(found, ("4.*",))
    assert list(assign(only, model, batch, state).grads) == ["4.weight", "4.bias"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Feedback(BPTT(), "faa"), "unknown kind 'faa'"),
        (lambda: Feedback(BPTT(), decay=1.0), "decay=1.0: give a share for each step, from 0 to below 1"),
        (lambda: Feedback(BPTT(), noise=0), "noise=0: give a number of samples, at least 1"),
        (lambda: Feedback(BPTT(), recurrent="random"), "recurrent 'random'"),
        (
            lambda: Feedback(rules.make("spsa").credit),
            r"SPSA carries no error back by autograd alone.*rules.Feedback\(rules.BPTT\(\), 'fa'\)",
        ),
        (
            lambda: Feedback(Feedback(BPTT()), "usf"),
            r"Feedback carries no error back by autograd alone.*rules.Feedback\(rules.BPTT\(\), 'usf'\)",
        ),
        (
            lambda: Feedback(Restricted(Feedback(BPTT()), ("4.*",)), "fa"),
            "Restricted carries no error back by autograd",
        ),
        (lambda: rules.make("kolen_pollack", lr=0.0), "lr=0.0: kolen_pollack shrinks weights with every update"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_feedback_that_no_longer_fits_is_refused_by_name():
    model, batch = made("static")
    trainer = rules.Trainer(model, "fa")
    trainer.step(batch)
    model[2] = nn.Linear(6, 8).double()
    model[4] = nn.Linear(8, 3).double()
    credit, state = trainer.rule.credit, trainer.state
    with pytest.raises(ValueError, match=r"feedback of '2' is \(6, 6\), and its weight is \(8, 6\): .*rules.Trainer\("):
        assign(credit, model, batch, state)
    del model[4]
    with pytest.raises(ValueError, match=r"feedback of '4' is \(3, 6\), and the model has lost that synapse"):
        assign(credit, model, batch, state._replace(matrices={"4": state.matrices["4"]}))
    longer = nn.Sequential(*static(), nn.Linear(3, 3).double())
    with pytest.raises(ValueError, match=r"an error goes back through '5', for which no feedback was drawn"):
        assign(credit, longer, batch, state)


def test_models_that_carry_errors_inside_are_refused_unless_that_is_kept():
    class Memory(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.memory, self.out = nn.Linear(4, 5), nn.LSTM(5, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.out(self.memory(self.first(x))[0])

    batch = (torch.rand(5, 4, 4), torch.arange(4) % 3)
    with pytest.raises(UnfitModel, match=r"'memory' of Memory is of class LSTM, .*recurrent='exact'"):
        rules.Trainer(Memory(), "fa").step(batch)
    trainer = rules.Trainer(Memory(), rules.make("fa", recurrent="exact"))
    trainer.step(batch)
    assert list(trainer.state.matrices) == ["out"]


class Masked(nn.Linear):
    """A synapse of which every second weight is missing."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight * (torch.arange(self.in_features) % 2), self.bias)


def test_synapses_that_compute_something_else_are_refused():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), Masked(6, 3))
    with pytest.raises(UnfitModel, match=r"'2' of Sequential is of class Masked, whose errors go back otherwise"):
        rules.Trainer(model, "fa").step((torch.rand(4, 4), torch.arange(4) % 3))


def test_it_asks_for_a_pass_first():
    with pytest.raises(NotFound, match=r"credit = credit.located\(model, batch\)"):
        Feedback(BPTT()).parameters(static())


def test_a_model_out_of_reach_is_refused():
    class Behind(nn.Module):
        """Calls its parts by their forward, past every hook, once it is told to."""

        def __init__(self):
            super().__init__()
            self.inner, self.direct = static(), False

        def forward(self, x):
            if not self.direct:
                return self.inner(x)
            for part in self.inner:
                x = part.forward(x)
            return x

    model, (_, batch) = Behind(), made("static")
    mine, state = located(model, batch)
    model.direct = True
    with pytest.raises(ValueError, match="no synapse of Behind was seen to be called, as in a compiled model"):
        assign(mine, model, batch, state)


@pytest.mark.parametrize("kind", KINDS)
def test_feedback_is_shown_to_diagnostics_where_it_has_the_shape_of_the_weights(kind):
    model, batch = made("recurrent")
    mine, state = located(model, batch, kind)
    shown = mine.feedback(state)
    names = {"layers.0.cells.recurrent.weight", "layers.1.cells.recurrent.weight"}
    chain = names | {"layers.1.synapse.weight", "layers.2.synapse.weight"}
    assert set(shown) == (names if KINDS[kind].direct else chain if KINDS[kind].paired else set())
    assert all(m.shape == model.get_parameter(n).shape for n, m in shown.items())


@dataclass(frozen=True)
class Redrawn(Feedback):
    """Draws in every step what is to stay."""

    def assign(self, model, objective, batch, state, rng):
        anew = self.init(model, rng).matrices
        return super().assign(model, objective, batch, state._replace(matrices=anew), rng)


@dataclass(frozen=True)
class Turned(Feedback):
    """Transposes once too often, where the shape does not show it."""

    def assign(self, model, objective, batch, state, rng):
        turned = {n: m.T if m.ndim == 2 and m.shape[0] == m.shape[1] else m for n, m in state.matrices.items()}
        return super().assign(model, objective, batch, state._replace(matrices=turned), rng)


@dataclass(frozen=True)
class Undecayed(Feedback):
    """Learns feedback that never decays."""

    def assign(self, model, objective, batch, state, rng):
        credit = super().assign(model, objective, batch, state, rng)
        lost = {n: m + self.decay * state.matrices[n] for n, m in credit.state.matrices.items()}
        return credit._replace(state=credit.state._replace(matrices=lost))


@dataclass(frozen=True)
class Signs(Feedback):
    """Gives signs of gradients, those of the read-out among them."""

    def assign(self, model, objective, batch, state, rng):
        credit = super().assign(model, objective, batch, state, rng)
        return credit._replace(grads={n: torch.sign(g) for n, g in credit.grads.items()})


def of_weights(kind):
    """Whether the rule is backpropagation with the weights as feedback."""
    model, batch = made("static")
    mine = kind(BPTT(), "fa").located(model, batch)
    state = as_weights(model, mine.init(model, torch.Generator()))
    want = assign(BPTT(), model, batch).grads
    got = assign(mine, model, batch, state).grads
    return all(torch.equal(got[name], want[name]) for name in want)


def stays(kind):
    """Whether two steps with the same weights have the same feedback."""
    model, batch = made("static")
    mine = kind(BPTT(), "fa").located(model, batch)
    state, rng = mine.init(model, torch.Generator()), torch.Generator()
    one = mine.assign(model, OBJECTIVE, batch, state, rng)
    two = mine.assign(model, OBJECTIVE, batch, one.state, rng)
    return all(torch.equal(two.grads[name], one.grads[name]) for name in one.grads)


def settles(kind):
    """Whether a mirror comes to rest at its weight."""
    model, batch = made("static")
    mine = kind(BPTT(), "weight_mirror", decay=0.1, rate=0.1, noise=200).located(model, batch)
    state = mine.init(model, torch.Generator())
    for _ in range(80):
        state = assign(mine, model, batch, state).state
    return all(
        float((m - model.get_submodule(n).weight.detach()).norm()) < 0.2 * float(m.norm())
        for n, m in state.matrices.items()
    )


def exact_at_the_end(kind):
    """Whether the read-out gets its own gradient."""
    model, batch = made("static")
    mine = kind(BPTT(), "dfa").located(model, batch)
    state = mine.init(model, torch.Generator())
    got, want = assign(mine, model, batch, state).grads, assign(BPTT(), model, batch).grads
    return torch.equal(got["4.weight"], want["4.weight"])


@pytest.mark.parametrize(
    ("oracle", "broken"), [(of_weights, Turned), (stays, Redrawn), (settles, Undecayed), (exact_at_the_end, Signs)]
)
def test_each_oracle_passes_the_rule_and_catches_the_sibling_broken_for_it(oracle, broken):
    assert oracle(Feedback)
    assert not oracle(broken)
