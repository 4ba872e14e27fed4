"""torch's optimizers, to the bit, without importing torch.compile: see `rules.uncompiled`."""

from __future__ import annotations

import inspect

import torch
from torch.optim.optimizer import Optimizer

from rules.uncompiled import uncompiled


class Eager(Optimizer):
    """Base class of optimizers that do not import `torch._dynamo`."""

    add_param_group = uncompiled(Optimizer.add_param_group)
    zero_grad = uncompiled(Optimizer.zero_grad)
    state_dict = uncompiled(Optimizer.state_dict)
    load_state_dict = uncompiled(Optimizer.load_state_dict)


class AdamW(Eager, torch.optim.AdamW):
    """`torch.optim.AdamW`, but for the option `differentiable`.

    >>> optimizer = AdamW([torch.nn.Parameter(torch.zeros(2))], lr=0.01)
    >>> isinstance(optimizer, torch.optim.AdamW), optimizer.defaults["lr"]
    (True, 0.01)
    """

    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))  # torch's own decorator imports the compiler


class SGD(Eager, torch.optim.SGD):
    """`torch.optim.SGD`, but for the option `differentiable`."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class RMSprop(Eager, torch.optim.RMSprop):
    """`torch.optim.RMSprop`, but for the option `differentiable`."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.RMSprop.step))
