"""What is counted equals torch's own count of floating point operations, two for each product and sum."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import rules
from rules import Batch, Health, HealthWarning, Meter, Product, Trainer
from rules.check import toy
from rules.diagnostics.work import work
from rules.metering import _FUNCTIONAL
from sandbox import build

T, B = 5, 6
X = torch.rand(T, B, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(B) % 3


class Attending(nn.Module):
    """Attention by functions alone, with weights of its own."""

    def __init__(self, product=None):
        super().__init__()
        self.w = nn.Parameter(torch.rand(24, 8))
        self.head = nn.Linear(8, 3)
        self.product = product

    def forward(self, x):
        q, k, v = F.linear(x, self.w).chunk(3, -1)
        if self.product is None:
            return self.head((q @ k.transpose(-1, -2)).softmax(-1) @ v)
        return self.head(self.product(self.product(q, k.transpose(-1, -2)).softmax(-1), v))


class First(nn.Module):
    def forward(self, returned):
        return returned[0]


class Scaled(nn.Module):
    """Attention in one operator."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(F.scaled_dot_product_attention(*self.inner(x).chunk(3, -1)))


class Einsum(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.rand(8, 3))

    def forward(self, x):
        return torch.einsum("tbi,io->tbo", x, self.w)


class Images(nn.Module):
    """A convolution by function, a transposed one by module."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.rand(4, 1, 3))
        self.up, self.head = nn.ConvTranspose1d(4, 2, 3, stride=2), nn.Linear(26, 3)

    def forward(self, x):
        return self.head(self.up(F.conv1d(x.flatten(0, 1)[:, None], self.w)).flatten(1).unflatten(0, x.shape[:2]))


MODELS = {
    "dense": lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)),
    "functional attention": Attending,
    "fused attention": Scaled,
    "counted products": lambda: Attending(Product()),
    "einsum": Einsum,
    "convolutions": Images,
    "transformer": lambda: nn.Sequential(
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), 2, enable_nested_tensor=False),
        nn.Linear(8, 3),
    ),
    "spiking": lambda: build((8,), 3, hidden=(10,)),
}


# Torch's counter does not know attention on a CPU: two products forward, four backward, without those computed again.
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *rest, **options: attention(q, k),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda g, q, k, *rest, **options: (
        2 * attention(q, k)
    ),
}


def attention(q, k):
    samples, heads, steps, width = q
    return 2 * 2 * samples * heads * steps * k[2] * width


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_bptt_counts_what_torch_counts(model):
    """Also the second time, when it is known whether there are operators to be watched."""
    model = model()
    rule, batch = rules.make("bptt"), Batch(X, Y)
    for _ in range(2):
        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
            cost = rule.credit.assign(model, rule.objective, batch, (), torch.Generator()).cost
        products = cost.synaptic_operations + cost.error_operations + cost.weight_operations
        assert 2 * products == counter.get_total_flops()
        assert cost.multiplications == products


def test_only_models_with_such_operators_are_watched():
    quiet, loud = MODELS["dense"](), Attending()
    for model in (quiet, loud):
        rules.make("bptt").credit.assign(model, rules.make("bptt").objective, Batch(X, Y), (), torch.Generator())
    assert _FUNCTIONAL[quiet] == {(True, True): False}
    assert _FUNCTIONAL[loud] == {(True, True): True}


def test_products_of_activities_have_two_errors_and_no_weight():
    a, b = (torch.rand(n, m, requires_grad=True) for n, m in ((4, 5), (5, 6)))
    with Meter(product := Product()) as meter:
        product(a, b)
    cost = meter.cost(1, 1)
    assert (cost.synaptic_operations, cost.error_operations, cost.weight_operations) == (120, 240, 0)
    assert cost.layer_evaluations == 0


def test_weights_in_functions_are_told_from_activities():
    x = torch.rand(4, 8, requires_grad=True)
    model = Einsum()
    with Meter(model) as meter:
        model(x[None])
    cost = meter.cost(1, 1)
    assert (cost.error_operations, cost.weight_operations) == (4 * 8 * 3, 4 * 8 * 3)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rule", ["spsa", "node_perturbation", "coordinate_wise", "evolution_strategy"])
def test_passes_without_gradient_count_every_operator(rule, training):
    """Torch has one operator for a whole layer of a transformer in evaluation mode, without gradient."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    model = nn.Sequential(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(8, 3)).train(training)
    credit = rules.make(rule).credit
    cost = credit.assign(model, toy.Quadratic(), Batch(X, Y), (), torch.Generator()).cost
    once = T * B * (4 * 8 * 8 + 2 * T * 8 + 2 * 8 * 16 + 8 * 3)
    assert cost.synaptic_operations == cost.forwards * once


def test_the_work_of_the_objective_is_counted():
    class Teaching(toy.Quadratic):
        teacher = nn.Linear(8, 3)

        def helpers(self):
            return (self.teacher,)

        def __call__(self, run, batch):
            return super().__call__(run, batch) + (run.output - self.teacher(batch.x)).square().mean()

    model = nn.Sequential(nn.Linear(8, 3))
    for rule, passes in (("bptt", 1), ("spsa", 32)):
        alone, taught = (
            rules.make(rule).credit.assign(model, objective, Batch(X, Y), (), torch.Generator()).cost
            for objective in (toy.Quadratic(), Teaching())
        )
        assert taught.synaptic_operations - alone.synaptic_operations == passes * T * B * 8 * 3
        assert taught.layer_evaluations == alone.layer_evaluations


def test_checkpoints_pay_twice_for_functions_too():
    """Torch stops the second pass where everything is there that the backward pass needs: before the head."""

    class Carrying(Attending):
        def forward(self, x, carry=None):
            return rules.Run(super().forward(x), ())

    once, twice = (
        rules.make("bptt", checkpoint=checkpoint)
        .credit.assign(Carrying(), rules.make("bptt").objective, Batch(X, Y), (), torch.Generator())
        .cost
        for checkpoint in (None, T)
    )
    assert twice.synaptic_operations == 2 * once.synaptic_operations - T * B * 8 * 3
    assert (twice.error_operations, twice.weight_operations) == (once.error_operations, once.weight_operations)


# --- looks ---


class Steps(nn.Conv2d):
    """A convolution that takes `[T, B, C, H, W]`, as layers of several steps in some libraries do."""

    def forward(self, x):
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def test_leading_axes_are_folded():
    model = nn.Sequential(Steps(1, 2, 3), nn.Flatten(2), nn.Linear(2 * 4 * 4, 3))
    x = (torch.rand(T, B, 1, 6, 6) < 0.5).float()
    trainer = Trainer(model, "bptt")
    info = trainer.step((x, Y))
    first = next(each for each in info.work if each.layer == "0")
    assert first.dense == T * 2 * 4 * 4 * 9
    assert first.accumulated == pytest.approx(
        float(F.conv2d(x.flatten(0, 1), torch.ones(2, 1, 3, 3)).sum()) / B
    )  # all weights differ from zero
    assert not first.note


@pytest.mark.filterwarnings("ignore:Sparse")
def test_what_cannot_be_counted_is_named_and_learning_goes_on():
    class Odd(nn.Linear):
        def forward(self, x):
            return F.linear(x["signal"], self.weight, self.bias)

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.odd = Odd(8, 3)

        def forward(self, x):
            return self.odd({"signal": x})

    with pytest.warns(HealthWarning, match=r"odd is not checked .*Odd could not be counted"):
        info = Trainer(Wrapped(), "bptt").step((X, Y))
    assert info.loss > 0
    assert [each.layer for each in info.work if each.note] == ["odd"]


def test_sparse_inputs_and_packed_sequences():
    model = nn.Linear(8, 3)
    found = work(model, X[0].to_sparse(), samples=B)
    assert found[0].dense == 24
    packed = nn.utils.rnn.pack_sequence([torch.rand(4, 8), torch.rand(2, 8)])

    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.RNN(8, 4, bias=False), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.rnn(packed)[0].data)

    with Meter(model := Packed()) as meter:
        model(X)
    assert meter.cost(1, 0).synaptic_operations == 6 * (8 * 4 + 4 * 4) + 6 * 4 * 3


def test_no_look_at_all():
    calls = []
    model = nn.Sequential(nn.Linear(8, 3))
    trainer = Trainer(model, "bptt", health=Health(every=0), confirm=False)
    model.register_forward_hook(lambda *args: calls.append(1))
    for _ in range(3):
        info = trainer.step((X, Y))
        assert info.work == info.health == ()
    assert len(calls) == 3


def test_a_model_that_cannot_be_looked_at_learns():
    class Training(nn.Linear):
        def forward(self, x):
            if not self.training:
                raise RuntimeError("only for training")
            return super().forward(x)

    trainer = Trainer(Training(8, 3), "bptt", confirm=False)
    with pytest.warns(HealthWarning, match=r"Training is not checked .*RuntimeError: only for training"):
        trainer.step((X, Y))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.step((X, Y))


class Unrolled(nn.Module):
    """A recurrent module of torch, written step by step with its weights."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        kind = {nn.LSTM: torch.lstm_cell, nn.GRU: torch.gru_cell, nn.RNN: torch.rnn_tanh_cell}[type(self.module)]
        for layer in range(self.module.num_layers):
            weights = [
                getattr(self.module, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            h = x.new_zeros(x.shape[1], self.module.hidden_size)
            state, out = ((h, torch.zeros_like(h)) if kind is torch.lstm_cell else h), []
            for now in x:
                state = kind(now, state, *weights)
                out.append(state[0] if isinstance(state, tuple) else state)
            x = torch.stack(out)
        return x


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("wanted", [False, True])
def test_errors_inside_recurrent_modules_are_counted(kind, layers, wanted):
    """As torch counts them when the module is written step by step."""
    module, x = kind(8, 6, layers), X.clone().requires_grad_(wanted)
    with Meter(module) as meter:
        module(x)
    cost = meter.cost(1, 1)
    with FlopCounterMode(display=False) as counter:
        Unrolled(module)(x).sum().backward()
    assert 2 * (cost.synaptic_operations + cost.error_operations + cost.weight_operations) == counter.get_total_flops()


def test_a_pass_that_is_broken_off_leaves_nothing_on_the_stack():
    from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as stack

    class Interrupted(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.rand(8, 3))

        def forward(self, x):
            x @ self.w
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rules.make("bptt").credit.assign(Interrupted(), toy.Quadratic(), Batch(X, Y), (), torch.Generator())
    assert not stack()
