"""Probes of many positions at once are those of each position alone (P4.9)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rules.credit.zero_order import HZO, SequentialLocal
from rules.credit.zero_order.layered.colouring import layout
from rules.credit.zero_order.layered.stages import Plain
from tests.rules.credit.zero_order.nets import assign, drawn, error, flat, inputs


class Unknown(nn.Module):
    """Does nothing, and nothing is known of it."""

    def forward(self, x):
        return x


def exhaustive(model):
    """The same model with something unknown in front of every weight, so that each unit is probed alone."""
    return nn.Sequential(*(nn.Sequential(Unknown(), part) for part in model))


def stack(seed=0):
    """Strides, dilation, pools of both kinds, paddings of every kind, an activation everywhere."""
    return drawn(
        nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(3, 3, 3, stride=2, padding=(1, 2)),
            nn.Tanh(),
            nn.MaxPool2d(3, stride=1, ceil_mode=True),
            nn.Conv2d(3, 2, (2, 3), padding="same", dilation=2),
            nn.Sigmoid(),
            nn.AvgPool2d(2, padding=1),
            nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(12, 2),
        ),
        seed,
    )


@pytest.mark.parametrize("cut", ["pre", "post"])
@pytest.mark.parametrize("rule", [HZO, SequentialLocal])
def test_coloured_is_exhaustive_is_autograd(rule, cut):
    """1e-9 in float64: rounding of 1e-16 over steps of 6e-6, and steps squared."""
    model, x = stack(), inputs(3, 2, 9, 8)
    how = rule(cut=cut)
    coloured, alone = assign(how, model, x), assign(how, exhaustive(model), x)
    assert coloured.info["probes"] < alone.info["probes"]
    torch.testing.assert_close(list(coloured.grads.values()), list(alone.grads.values()), atol=1e-9, rtol=1e-9)
    assert error(how, model, x) < 1e-8


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_windows_are_what_autograd_sees(data):
    """What an output sees of the input, from the dependence of autograd, for convolutions and pools of any kind."""
    size = data.draw(st.integers(5, 11))
    module, x = (
        nn.Sequential(),
        torch.randn(1, 1, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0)),
    )
    steps, shapes, values = [], [(1, size)], [x.requires_grad_()]
    for number in range(data.draw(st.integers(1, 3))):
        kernel, stride = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
        if data.draw(st.booleans()):
            module = nn.Conv1d(
                1, 1, kernel, stride, padding=data.draw(st.integers(0, 2)), dilation=data.draw(st.integers(1, 2))
            )
            module = module.double()
            nn.init.uniform_(module.weight, 0.5, 1.0)
        else:
            module = nn.AvgPool1d(
                kernel, stride, padding=data.draw(st.integers(0, kernel // 2)), ceil_mode=data.draw(st.booleans())
            )
        if values[-1].shape[-1] + 2 * module.padding[0] < 2 * (kernel - 1) + 1:
            continue
        values.append(module(values[-1]))
        steps.append(Plain(str(number), module))
        shapes.append(tuple(values[-1].shape[1:]))
    found = layout(steps, shapes)
    if not steps:
        return
    rows = [torch.autograd.grad(out, x, retain_graph=True)[0][0, 0] != 0 for out in values[-1][0, 0]]
    seen = torch.stack(rows)
    window = found.windows[0]
    assert torch.equal(window > 0 if window is not None else torch.eye(size) > 0, seen)
    (spacing,) = found.spacing
    for first in range(spacing):
        assert int(seen[:, first::spacing].sum(1).max()) <= 1, "two positions that are probed at once meet"


@pytest.mark.parametrize(("layers", "kernel", "height", "width"), [(1, 3, 32, 32), (8, 3, 32, 32), (2, 5, 6, 20)])
def test_the_number_of_probes(layers, kernel, height, width):
    """C min(H, P) min(W, P) with P = 1 + n (k - 1)."""
    steps = [Plain("conv", nn.Conv2d(4, 4, kernel, padding=kernel // 2)) for _ in range(layers)]
    reach = 1 + layers * (kernel - 1)
    found = layout(steps, [(4, height, width)] * (layers + 1))
    assert found.probes == 4 * min(height, reach) * min(width, reach)


def test_counted_probes():
    model = drawn(nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=1), nn.Flatten()))
    assert assign(HZO(), model, inputs(2, 1, 12, 12)).info["probes"] == 3 * 3 * 3 + 1  # and one through the Flatten
    assert assign(HZO(probes="scattered", q=5), model, inputs(2, 1, 12, 12)).info["probes"] == 3 * 5 + 1


def test_what_is_read_together_is_not_coloured():
    """A norm over positions, a classifier over all of them, a class of somebody else: each unit alone."""
    shape = (4, 6, 6)
    ring = nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")
    for module in (nn.GroupNorm(2, 4), nn.Softmax2d(), ring, type("Own", (nn.Conv2d,), {})(4, 4, 3, padding=1)):
        assert layout([Plain("0", module)], [shape, shape]).probes == 4 * 6 * 6
    steps = [Plain("0", nn.Flatten()), Plain("1", nn.Linear(144, 10))]
    assert layout(steps, [shape, (144,), (10,)]).probes == 4 * 6 * 6
    rearranged = [Plain("0", nn.Flatten()), Plain("1", nn.Unflatten(1, (1, 12, 12))), Plain("2", nn.Conv2d(1, 1, 3))]
    assert layout(rearranged, [shape, (144,), (1, 12, 12), (1, 10, 10)]).probes == 4 * 6 * 6
    assert layout([Plain("0", nn.ReLU()), Plain("1", nn.Flatten())], [shape, shape, (144,)]).probes == 1


def test_scattered_signs_are_unbiased():
    """A mean over 1,000 rounds, to five times its standard error."""
    model, x = (
        drawn(nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.Conv1d(2, 2, 3, padding=1), nn.Flatten())),
        inputs(1, 1, 6),
    )
    true = flat(assign(HZO(), model, x).grads)
    rounds = torch.stack([flat(assign(HZO(probes="scattered", q=40), model, x, seed=s).grads) for s in range(25)])
    away, noise = rounds.mean(0) - true, rounds.std(0) / 5
    assert bool((away.abs() <= 5 * noise + 1e-8).all())
    assert float(noise.max()) < 0.1 * float(true.abs().max())


@pytest.mark.parametrize("conv", [nn.Conv1d, nn.Conv3d, nn.ConvTranspose1d])
def test_other_convolutions(conv):
    axes = 3 if conv is nn.Conv3d else 1
    model = drawn(nn.Sequential(conv(2, 2, 3), nn.Tanh(), conv(2, 3, 2, stride=2, groups=1), nn.Flatten()))
    assert error(HZO(), model, inputs(2, 2, *[6] * axes)) < 1e-8


def test_grouped_convolutions_and_frozen_norms():
    model = drawn(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten())
    )
    model.eval()
    assert error(HZO(), model, inputs(2, 2, 7, 7)) < 1e-8
