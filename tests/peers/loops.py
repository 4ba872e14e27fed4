"""The loop that each library's documentation writes for its model, time first in and out: what an adapter must equal."""

from __future__ import annotations

import torch


def snn_tutorial(net, x, output=0):
    return net(x)[output]


def snn_sequential(net, x):
    from snntorch import utils

    utils.reset(net)
    steps = [net(step) for step in x]
    return torch.stack([step[0] if isinstance(step, tuple) else step for step in steps])


def snn_forgetful(net, x):
    return snn_sequential(net.net, x)


def plain(net, x):
    return net(x)


def jelly_multi(net, x):
    from spikingjelly.activation_based import functional

    functional.reset_net(net)
    return net(x)


def jelly_single(net, x):
    from spikingjelly.activation_based import functional

    functional.reset_net(net)
    return torch.stack([net(step) for step in x])


def norse_sequence(net, x):
    return net(x)[0]


def norse_cells(net, x):
    state, outputs = None, []
    for step in x:
        output, state = net(step, state)
        outputs.append(output)
    return torch.stack(outputs)


def sinabs_batch_first(net, x):
    import sinabs

    sinabs.reset_states(net)
    return net(x.transpose(0, 1)).transpose(0, 1)


def sinabs_squeezed(net, x):
    import sinabs

    sinabs.reset_states(net)
    steps, samples = x.shape[:2]
    return net(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (samples, steps)).transpose(0, 1)


LOOPS = {
    "snnTorch tutorial net, returns (spk, mem)": snn_tutorial,
    "snnTorch tutorial net, learned leak, membrane": lambda net, x: snn_tutorial(net, x, 1),
    "snnTorch Sequential, init_hidden, output=True": snn_sequential,
    "snnTorch Sequential, init_hidden, output=False": snn_sequential,
    "snnTorch loop, utils.reset first": plain,
    "snnTorch loop, reset forgotten": snn_forgetful,
    "snnTorch Synaptic": snn_tutorial,
    "snnTorch RLeaky": plain,
    "SpikingJelly Sequential, step mode m": jelly_multi,
    "SpikingJelly Sequential, step mode s": jelly_single,
    "SpikingJelly Sequential whose forward resets": plain,
    "SpikingJelly loop over static x, reset": plain,
    "SpikingJelly loop over static x, no reset": jelly_multi,
    "SpikingJelly convolutional, step mode m": jelly_multi,
    "SEW-ResNet18": jelly_multi,
    "Spikformer-ti": jelly_multi,
    "Norse SequentialState": norse_sequence,
    "Norse SequentialState of cells": norse_cells,
    "Norse tutorial net": plain,
    "Norse LSNN": plain,
    "Sinabs Sequential": sinabs_batch_first,
    "Sinabs Sequential, B = T": sinabs_batch_first,
    "Sinabs convolutional, squeezed": sinabs_squeezed,
}
