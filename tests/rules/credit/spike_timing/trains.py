"""Spike trains in float64, and the change of weights by a double loop over spikes."""

from __future__ import annotations

import torch

from rules.credit.spike_timing.window import Window, change


def moved(window: Window, pre, post, dt=1.0):
    """The change of every weight `[C, K]` by trains of the inputs `[T, K]` and of the cells `[T, C]`."""
    terms, _ = window.terms(pre[:, None, None], post[:, None, :, None], dt)
    return change(terms)


def running(window: Window, pre, post, dt=1.0):
    """The sum of the changes so far, `[T, C, K]`."""
    terms, _ = window.terms(pre[:, None, None], post[:, None, :, None], dt)
    return sum(torch.einsum("tbcl,tblk->tck", *term) for term in terms).cumsum(0)


def poisson(steps, cells, chance, seed):
    rng = torch.Generator().manual_seed(seed)
    return (torch.rand(steps, cells, generator=rng, dtype=torch.float64) < chance).double()


def regular(steps, cells, period, start=0):
    """Every cell in the same rhythm, each a step later than the one before."""
    at = torch.arange(steps)[:, None] - torch.arange(cells) - start
    return ((at % period == 0) & (at >= 0)).double()


def stimulus(kind, steps, inputs, cells):
    """Trains of inputs and cells: independent, regular, or cells that follow the sum of the inputs."""
    if kind == "poisson":
        return poisson(steps, inputs, 0.03, 0), poisson(steps, cells, 0.03, 1)
    if kind == "regular":
        return regular(steps, inputs, 23), regular(steps, cells, 31, start=5)
    shared = poisson(steps, 1, 0.02, 2)
    pre = (shared + poisson(steps, inputs, 0.01, 3)).clamp(max=1)
    post = (torch.cat([torch.zeros(2, 1).double(), shared[:-2]]) + poisson(steps, cells, 0.01, 4)).clamp(max=1)
    return pre, post
