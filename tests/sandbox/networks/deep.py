"""Deep spiking models in tests: lively weights, what enters and leaves their parts, and what is true of each."""

from __future__ import annotations

import torch
from torch import nn

T, B = 4, 3
SHAPE = (1, 8, 8)


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def lively(model, seed=0, low=0.4, high=1.2):
    """Draw gains and offsets of normalisations, so that every layer fires, and evaluate."""
    rng = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            nn.init.uniform_(module.weight, 0.8, 1.8, generator=rng)
            nn.init.uniform_(module.bias, low, high, generator=rng)
    model(drawn(T, 16, *SHAPE, seed=seed))  # running statistics
    return model.eval()


def seen(model, x):
    """Return the values that enter every convolution, by name."""
    found = {}

    def watch(name):
        return lambda module, inputs: found.setdefault(name, set()).update(inputs[0].unique().tolist())

    convolutions = [
        (name, module) for name, module in model.named_modules() if isinstance(module, (nn.Conv2d, nn.Conv3d))
    ]
    handles = [module.register_forward_pre_hook(watch(name)) for name, module in convolutions]
    model(x)
    for handle in handles:
        handle.remove()
    return found


def outputs(model, x, kind):
    """Return what every part of a kind puts out, by name."""
    found = {}
    parts = [(name, part) for name, part in model.named_modules() if isinstance(part, kind)]
    for name, part in parts:
        run = part.run
        part.run = lambda x, carry=None, record=False, run=run, name=name: found.setdefault(name, run(x, carry))
    model(x)
    for _, part in parts:
        del part.run
    return {name: run.output for name, run in found.items()}


def require_independent_samples(model):
    """To rounding, because products of other sizes may be summed in another order: 1e-5 of outputs around 1."""
    model, x = lively(model), drawn(T, B, *SHAPE, seed=1)
    torch.testing.assert_close(model(x).output[:, :1], model(x[:, :1]).output, atol=1e-5, rtol=1e-5)


def require_no_state_left(model):
    """Two passes from rest are the same."""
    model, x = lively(model), drawn(T, B, *SHAPE, seed=1)
    assert torch.equal(model(x).output, model(x).output)


def require_continuation(model):
    """A sequence in two pieces is the whole, and the state matters."""
    model, x = lively(model), drawn(T, B, *SHAPE, seed=1)
    whole = model(x)
    first = model(x[:2])
    assert torch.equal(torch.cat([first.output, model(x[2:], first.carry).output]), whole.output)
    assert not torch.equal(model(x[2:]).output, whole.output[2:])
    assert "carry" in model.offers


def require_causality(model):
    """No step sees a later one."""
    model, x = lively(model), drawn(T, B, *SHAPE, seed=1)
    other = x.clone()
    other[2:] = drawn(2, B, *SHAPE, seed=2)
    assert torch.equal(model(x).output[:2], model(other).output[:2])
    assert not torch.equal(model(x).output[2:], model(other).output[2:])


def require_silence(model):
    """Without input, biases and offsets nothing fires."""
    model.eval()
    for module in model.modules():
        if isinstance(getattr(module, "bias", None), nn.Parameter):
            nn.init.zeros_(module.bias)
    assert not model(torch.zeros(T, B, *SHAPE)).output.any()


def require_finite_gradients(model):
    """Nowhere is a gradient missing; it may be 0 in front of a gain that starts at 0."""
    run = model(drawn(T, B, *SHAPE))
    run.output.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    return run.output


class Largest(torch.overrides.TorchFunctionMode):
    """The number of entries of the largest tensor that any function returns."""

    def __init__(self):
        super().__init__()
        self.entries = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.entries = max(self.entries, made.numel())
        return made
