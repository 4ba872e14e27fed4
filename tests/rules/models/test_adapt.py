"""`rules.adapt` on models of torch: outputs, inputs, axes, wrappers, names, and every refusal."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.credit.zero_order import HZO

T, B, IN, OUT = 5, 4, 3, 2


def x_of(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradient(rule, model, x, y):
    objective = rules.make("bptt").objective
    credit = rule.assign(
        model, objective, rules.Batch(x, y), rule.init(model, torch.Generator()), torch.Generator().manual_seed(0)
    )
    return credit.grads


class Answer:
    def __init__(self, logits):
        self.logits = logits


class Packed(nn.Module):
    def __init__(self, pack):
        super().__init__()
        self.line, self.pack = nn.Linear(IN, OUT), pack

    def forward(self, x):
        return self.pack(self.line(x))


@pytest.mark.parametrize(
    ("pack", "output"),
    [
        (lambda y: y, None),
        (lambda y: {"logits": y}, None),
        (lambda y: {"logits": 2 * y, "out": y}, "out"),
        (Answer, None),
        (Answer, "logits"),
        (lambda y: (2 * y, y), 1),
        (lambda y: (2 * y, y), -1),
        (lambda y: (y, 2 * y), "spikes"),
        (lambda y: (2 * y, y), "membrane"),
        (lambda y: y / 2, lambda y: 2 * y),
        (lambda y: list(y), None),
    ],
)
def test_the_output_is_picked(pack, output):
    model, x = Packed(pack), x_of(T, B, IN)
    torch.testing.assert_close(rules.adapt(model, output=output)(x), model.line(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("pack", "output", "said"),
    [
        (lambda y: (y, y), None, "which part is the output? the model returned a tuple (0: [5, 4, 2], 1: [5, 4, 2]); "
         "choose with rules.adapt(model, output=0)"),
        (lambda y: {"a": y, "b": 1}, None, "the model returned a dict ('a': [5, 4, 2], 'b': int); choose with "
         "rules.adapt(model, output='a')"),
        (lambda y: {"a": y}, "b", "output='b' is not there: the model returned a dict ('a': [5, 4, 2]); choose with "
         "rules.adapt(model, output='a')"),
        (lambda y: (y,), 3, "output=3 is not there: the model returned a tuple (0: [5, 4, 2])"),
        (lambda y: {"a": 1}, "a", "output='a' is a int, not a tensor"),
    ],
)  # fmt: skip
def test_an_output_that_is_not_known_is_refused(pack, output, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        rules.adapt(Packed(pack), output=output)(x_of(T, B, IN))


class Two(nn.Module):
    """Takes two arguments by name."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(IN, OUT)

    def forward(self, values, mask):
        return self.line(values * mask[..., None])


VALUES, MASK = x_of(T, B, IN), torch.ones(T, B).bool()


@pytest.mark.parametrize(
    ("x", "inputs"),
    [
        ({"values": VALUES, "mask": MASK}, None),
        ({"v": VALUES, "m": MASK, "other": 1}, {"v": "values", "m": "mask"}),
        ((VALUES, MASK), None),
        ((MASK, VALUES), ("mask", "values")),
    ],
)
def test_inputs_are_mapped(x, inputs):
    model = Two()
    assert torch.equal(rules.adapt(model, inputs=inputs)(x), model.line(VALUES))


def test_a_tensor_goes_to_a_named_argument():
    class Named(nn.Linear):
        def forward(self, *, pixels):
            return super().forward(pixels)

    model = Named(IN, OUT)
    assert torch.equal(rules.adapt(model, inputs="pixels")(VALUES), model(pixels=VALUES))


@pytest.mark.parametrize(
    ("x", "inputs", "said"),
    [
        ({"v": VALUES}, {"w": "values"}, "inputs= names 'w', and a batch has: 'v'"),
        ((VALUES, MASK), {"v": "values"}, "give the arguments of forward in their order, rules.adapt(model, inputs=['values'])"),
        ((VALUES, MASK), ("values",), "inputs= names 1 arguments of forward, and a batch has 2 tensors"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(x, inputs, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        rules.adapt(Two(), inputs=inputs)(x)


class Last(nn.Module):
    """A recurrent layer that takes [B, T, ...], and a head on every step or on the last."""

    def __init__(self, last=False, batch_first=True):
        super().__init__()
        self.rnn, self.head = nn.GRU(IN, 6, batch_first=batch_first), nn.Linear(6, OUT)
        self.last = last

    def forward(self, x):
        y = self.rnn(x)[0]
        return self.head(y[:, -1] if self.last else y)


@pytest.mark.parametrize("steps", [T, B])  # as many steps as samples, too
@pytest.mark.parametrize("last", [False, True])
def test_batch_first_models_take_time_first_data(last, steps):
    model, x = Last(last), x_of(steps, B, IN)
    y = model(x.transpose(0, 1))
    assert torch.equal(rules.adapt(model)(x), y if last else y.transpose(0, 1))
    assert "batch first inside" in repr(rules.adapt(model))


def test_one_static_sample_is_a_sequence_of_one_step():
    model, x = Last(), x_of(B, IN)
    assert torch.equal(rules.adapt(model)(x), model(x[:, None])[:, 0])


@pytest.mark.parametrize("steps", [T, B])
@pytest.mark.parametrize("rule", [HZO(step=1e-4), rules.make("node_perturbation", draws=400, sigma=1e-3).credit])
def test_zero_order_rules_see_the_time_of_batch_first_models(rule, steps):
    """The head alone, whose gradient both find: exactly, or in 400 draws to a cosine of 0.9."""
    model, x, y = rules.adapt(Last().double()), x_of(steps, B, IN).double(), torch.arange(B) % OUT
    truth = gradient(rules.BPTT(), model, x, y)["model.head.weight"].flatten()
    mine = gradient(rule, model, x, y)["model.head.weight"].flatten()
    assert float(truth @ mine / truth.norm() / mine.norm()) > (0.999 if isinstance(rule, HZO) else 0.9)


def test_mixed_axes_must_be_said():
    mixed = nn.ModuleList([nn.GRU(IN, 6), nn.GRU(6, OUT, batch_first=True)])
    with pytest.raises(ValueError, match=r"rules\.adapt\(model, batch_first=True\)"):
        rules.adapt(mixed)
    assert rules.adapt(mixed, batch_first=True).turned_inside


def test_a_reset_of_one_s_own_is_called_at_every_pass_and_stage():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.state = 0.0

        def forward(self, x):
            steps = []
            for step in x:
                self.state = 0.5 * self.state + step
                steps.append(torch.tanh(self.state))
            return torch.stack(steps)

    def clear(model):
        model[1].state = 0.0

    def build():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(IN, 4), Keeping(), nn.Linear(4, OUT)).double()

    x, y = x_of(T, B, IN).double(), torch.arange(B) % OUT
    model = rules.adapt(build(), reset=clear)
    truth = gradient(rules.BPTT(), model, x, y)
    assert all(torch.equal(truth[name], g) for name, g in gradient(rules.BPTT(), model, x, y).items())
    for _ in range(2):
        mine = gradient(HZO(step=1e-4), model, x, y)
        for name, g in truth.items():
            torch.testing.assert_close(mine[name], g, rtol=1e-5, atol=1e-7)  # the error of central differences


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_wrappers_are_taken_off(wrap):
    """Adapted or not, their layers are those of the model inside."""
    model = nn.Sequential(nn.Linear(IN, 4), nn.Tanh(), nn.Linear(4, OUT))
    assert rules.adapt(wrap(model)).model is model
    assert rules.optional.offers(wrap(model)) >= {"layers"}
    x, y = x_of(B, IN), torch.arange(B) % OUT
    found = gradient(HZO(), wrap(model), x, y)
    truth = gradient(rules.BPTT(), model, x, y)
    for name, g in found.items():  # named as the wrapper names them; to float32 beside a step of 5e-3
        torch.testing.assert_close(g, truth[name.partition(".")[2]], rtol=1e-2, atol=1e-4)


class Skipping(nn.Sequential):
    """A Sequential with a forward of its own, which the children called one by one would not give."""

    def forward(self, x):
        return self[2](x + self[1](self[0](x)))


def test_a_sequential_with_a_forward_of_its_own_is_not_run_child_by_child():
    model, x = Skipping(nn.Linear(IN, IN), nn.Tanh(), nn.Linear(IN, OUT)), x_of(T, B, IN)
    assert torch.equal(rules.run_model(model, rules.Batch(x), record=True).output, model(x))
    with pytest.raises(ValueError, match=r"the output of '1' is not the input of '2'"):
        rules.adapt(model)(x, record=True)


def test_layers_named_by_hand_are_blocks():
    """A block with a shortcut, which cannot be taken apart, and a head."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(IN, OUT)
            self.block = Skipping(nn.Linear(IN, IN), nn.Tanh(), nn.Linear(IN, IN))

        def forward(self, x):
            return self.head(self.block(x))

    torch.manual_seed(0)
    model, x, y = Net().double(), x_of(T, B, IN).double(), torch.arange(B) % OUT
    truth = gradient(rules.BPTT(), rules.adapt(model), x, y)
    for layers in (None, ("block", "head")):
        mine = gradient(HZO(step=1e-4), rules.adapt(model, layers=layers), x, y)
        for name, g in truth.items():
            torch.testing.assert_close(mine[name], g, rtol=1e-5, atol=1e-7)  # the error of central differences
    with pytest.raises(ValueError, match=r"'head' does not receive the input of the model"):
        rules.adapt(model, layers=("head",)).find_layers(x)


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: rules.adapt("model"), TypeError, "rules.adapt takes an nn.Module, and got str"),
        (lambda: rules.adapt(nn.Linear(1, 1), reset=3), TypeError, "reset=3 cannot be called: rules.adapt(model, reset=lambda"),
        (lambda: rules.adapt(rules.adapt(nn.Linear(1, 1))), ValueError, "this model is adapted already"),
        (lambda: rules.adapt(Last(), layers=("haed",)), ValueError, "unknown module in layers 'haed'; nearest: 'head'"),
        (lambda: rules.adapt(Last(), surrogate="triangle"), ValueError, "and Last has none: rules.adapt(model)"),
        (lambda: rules.adapt(Last(), surrogate="triangel"), ValueError, "unknown surrogate 'triangel'"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(call, kind, said):
    with pytest.raises(kind, match=re.escape(said)):
        call()


def test_a_model_without_time_in_its_output_has_no_layers():
    with pytest.raises(ValueError, match="let it give an output at every step"):
        rules.adapt(Last(last=True)).find_layers(x_of(T, B, IN))


def test_a_model_that_returns_a_run_needs_no_adapter():
    with pytest.raises(ValueError, match="returns rules.Run, and needs no adapter"):
        rules.adapt(Packed(rules.Run)).find_layers(x_of(T, B, IN))


def test_after_a_refusal_layers_are_no_longer_offered():
    model = rules.adapt(Last(last=True))
    assert "layers" in model.offers
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot be called one after the other"):
            model.find_layers(x_of(T, B, IN))
    assert model.offers == {"gradient", "features"}


def test_looking_for_layers_leaves_no_trace():
    """Modes, buffers, generators, and what hooks have counted."""
    model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(9, OUT))
    calls = []
    model[0].register_forward_hook(lambda *_: calls.append(1))
    adapted, before = rules.adapt(model), {k: v.clone() for k, v in model.state_dict().items()}
    drawn = torch.get_rng_state()
    adapted.find_layers(x_of(B, 2, 3))
    assert calls == []
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


NAMES = ["body", "act", "norm", "head"]


@settings(max_examples=40, deadline=None)
@given(
    order=st.permutations(NAMES),
    timed=st.booleans(),
    batch_first=st.booleans(),
    tied=st.booleans(),
    buffer=st.booleans(),
    seed=st.integers(0, 100),
)
def test_layers_are_found_whatever_the_order_of_registration(order, timed, batch_first, tied, buffer, seed):
    """Head first, tied weights, buffers, batch first: hzo finds the gradient, and the layers are in order of use."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            parts = {"body": nn.Linear(4, 4), "act": nn.Tanh(), "norm": nn.LayerNorm(4), "head": nn.Linear(4, 4)}
            for name in order:
                self.add_module(name, parts[name])
            if tied:
                self.head.weight = self.body.weight
            if buffer:
                self.register_buffer("scale", torch.ones(4))

        def forward(self, x):
            return self.head(self.norm(self.act(self.body(x))))

    torch.manual_seed(seed)
    x, y = (x_of(T, B, 4, seed=seed) if timed else x_of(B, 4, seed=seed)).double(), torch.arange(B) % OUT
    model = rules.adapt(Net().double(), batch_first=batch_first)
    truth, mine = gradient(rules.BPTT(), model, x, y), gradient(HZO(step=1e-4), model, x, y)
    assert repr(model).find("layers: body, act, norm, head") > 0
    for name, g in mine.items():
        # The error of central differences: the square of the step, times third derivatives, which in LayerNorm are large.
        torch.testing.assert_close(g, truth[name], rtol=1e-4, atol=1e-6)
