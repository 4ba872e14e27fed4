"""What arrives at weights, by hand; energies by the papers' test vector; and that the model stays as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from rules import Batch
from rules.diagnostics.work import Work
from rules.synapses import Product
from sandbox import build
from sandbox.inspection import Alphabet, inspect
from sandbox.inspection.operands import Operand, operands
from sandbox.inspection.papers import of_papers
from sandbox.neurons import LIF, NILIF, LeakyIntegrator

BITS, REAL = Alphabet("binary", 1.0, 1.0), Alphabet("real", 1.0, 2.0)
NOTHING = Work("", 0.0, 0.0, 0.0, 0.0)


def operand(pairs, *given, biases=0.0):
    alphabets, rates = zip(*given, strict=True)
    return Operand("l", None, 0, alphabets, rates, pairs, biases, NOTHING)


def test_spikingformer_8_512_by_the_papers_formula():
    """Layers of the released log (section 3 of its energy page): first convolution and head, then all spikes."""
    rest = 6.51754094076244e9
    layers = [
        operand(4 * 224 * 224 * 64 * 27, (REAL, 1.0)),
        operand(rest / 0.25, (BITS, 0.25)),
        operand(512_000, (REAL, 1.0), biases=1000),
    ]
    assert sum(map(of_papers, layers)) * 1e-9 == pytest.approx(7.463502601886196, rel=1e-12)
    second = operand(3_699_376_128, (BITS, 0.25831))
    assert of_papers(second) / 0.9 == pytest.approx(0.95560e9, rel=1e-4)  # digits of the log


def test_attention_takes_the_smaller_rate_of_keys_and_values():
    """T h N d^2 (min(r_k, r_v) + r_q), for q (k^T v): the product of keys and values has integers."""
    base, q, k, v = 25_690_112, 0.3, 0.1, 0.2
    first = operand(base, (BITS, k), (BITS, v))
    second = operand(base, (BITS, q), (Alphabet("integer", 1.0, 9.0), 0.8))
    assert of_papers(first) + of_papers(second) == pytest.approx(0.9 * base * (min(k, v) + q))
    assert of_papers(operand(base, (REAL, 0.5), (REAL, 0.5))) == 4.6 * base


def test_bits_that_are_always_there_multiply_and_silence_is_free():
    assert of_papers(operand(100, (BITS, 1.0), biases=10)) == 4.6 * 110
    assert of_papers(operand(100, (Alphabet("silent"), 0.0), biases=10)) == pytest.approx(9)


def test_operands_are_what_hooks_see():
    """Oracle: sets of values and rates by forward hooks of our own, at every weight of a spiking network."""
    net = build((1, 8, 8), 3, ("4c3p2", 10), LIF(tau_mem=2.0), LeakyIntegrator(), seed=0)
    x = 6 * torch.rand(5, 2, 1, 8, 8)
    seen = {}
    weighted = {n: m for n, m in net.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))}
    handles = [
        m.register_forward_hook(lambda m, i, o, n=n: seen.setdefault(n, []).append((i[0], o)))
        for n, m in weighted.items()
    ]
    net.eval()(x)
    for handle in handles:
        handle.remove()
    found = operands(net, Batch(x))
    assert [each.layer for each in found] == list(seen)
    for each in found:
        given = torch.cat([a.flatten() for a, _ in seen[each.layer]])
        made = sum(b.numel() for _, b in seen[each.layer])
        weight = weighted[each.layer].weight
        assert each.shape == tuple(weight.shape)
        assert each.rates == (int(given.count_nonzero()) / given.numel(),)
        assert each.pairs == made * weight[0].numel() / 2
        assert each.biases == made / 2
        bits = set(given.tolist()) <= {0.0, 1.0}
        assert each.alphabets[0].spikes == bits
    assert [each.alphabets[0].kind for each in found] == ["real", "binary", "binary"]


def test_cells_that_count():
    """NILIF puts out quarters."""
    net = build((4,), 3, (20,), NILIF(), LeakyIntegrator(), seed=0)
    found = inspect(net, 20 * torch.rand(5, 3, 4))
    assert str(found.operands[1].alphabets[0]) == "integer to 4 x 0.25"


class Attention(nn.Module):
    """Two projections and their product."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.meet = nn.Linear(4, 4), nn.Linear(4, 4), Product()

    def forward(self, x):
        return self.meet((self.q(x) > 0).float(), (self.k(x) > 0).float().mT).flatten(2)


def test_products_of_activities():
    """Of what layers' pairs of ones: `ours` counts ones that meet."""
    torch.manual_seed(0)
    x, net = torch.randn(6, 2, 5, 4), Attention()
    found = inspect(net, x)
    product = found.operands[-1]
    assert (product.shape, product.parameters, product.biases) == (None, 0, 0)
    assert product.alphabet == "binary and binary"
    assert product.pairs == 6 * 5 * 5 * 4
    met = net(x).sum() / 2
    assert product.work.accumulated == pytest.approx(float(met))
    assert "product" in str(found)


def test_a_constant_input_is_counted_at_every_step():
    net = build((4,), 3, (8,), seed=0)
    same = torch.rand(1, 2, 4).expand(5, 2, 4)
    assert inspect(net, same).operands[0].pairs == 5 * 4 * 8


def test_the_model_stays_as_it_was():
    net = build((1, 8, 8), 3, ("4c3b",), seed=0).train()
    before = copy.deepcopy(net.state_dict())
    inspect(net, torch.rand(4, 2, 1, 8, 8))
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_facts_and_text_agree():
    found = inspect(build((4,), 3, (8,), seed=0), 20 * torch.rand(5, 2, 4), title="a net")
    facts, text = found.facts(), str(found)
    assert text.startswith("a net\n67 parameters, 0 numbers in buffers\n")
    assert facts["papers_picojoules"] == pytest.approx(sum(each["papers_picojoules"] for each in facts["layers"]))
    assert facts["ours_picojoules"] == pytest.approx(sum(each["ours_picojoules"] for each in facts["layers"]))
    for each in facts["layers"]:
        assert each["layer"] in text
    assert facts["rates"] == found.rates
    assert all(f"{rate:.3f}" in text for rate in found.rates.values())


def test_a_figure_has_a_bar_for_every_input():
    pytest.importorskip("matplotlib")
    found = inspect(build((4,), 3, (8, 8), seed=0), 20 * torch.rand(5, 2, 4), title="a net")
    left, right = found.figure().axes
    assert [bar.get_width() for bar in left.patches] == [rate for each in found.operands for rate in each.rates]
    widths = [bar.get_width() for bar in right.patches]
    assert sum(widths) == pytest.approx((found.papers + found.ours) * 1e-6)


def test_products_outside_of_modules_are_said():
    """Of an encoder layer of width 8: projections of attention 4 x 8 x 8 a token and its products, by hand."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    found = inspect(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), torch.rand(5, 1, 8))
    seen = sum(each.pairs for each in found.operands)
    assert seen + found.outside == 5 * 2 * 8 * 16 + 5 * 4 * 8 * 8 + 2 * 5 * 5 * 8
    assert f"{found.outside:,.0f} pairs of products outside of modules" in str(found)
    assert inspect(build((4,), 3, (8,)), torch.rand(5, 2, 4)).outside == 0


def test_numbers_that_are_not_finite_are_said():
    x = torch.rand(2, 1, 4)
    x[1, 0, 2] = torch.nan
    assert inspect(nn.Linear(4, 3), x).operands[0].alphabet == "not finite"


def test_an_empty_input_is_refused():
    with pytest.raises(ValueError, match=r"the input is empty, \(0, 1, 4\): give at least one step"):
        inspect(nn.Linear(4, 3), torch.rand(0, 1, 4))


def test_bad_input():
    with pytest.raises(
        ValueError, match="Tanh called no layer with weights on this input, so nothing can be inspected"
    ):
        inspect(nn.Tanh(), torch.rand(2, 3))
