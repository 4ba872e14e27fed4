"""The same libraries' cells without a threshold, in float64, so that central differences are exact to their error."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tests.peers.zoo import CLASSES, IN, present, sequences

HIDDEN = 4


def leaky():
    """snnTorch, with a sigmoid in place of spikes."""
    import snntorch as snn

    cell = lambda: snn.Leaky(beta=0.8, init_hidden=True, spike_grad=squash, reset_mechanism="none")  # noqa: E731
    return nn.Sequential(nn.Linear(IN, HIDDEN), cell(), nn.Linear(HIDDEN, CLASSES), cell())


def squash(u):
    return torch.sigmoid(2 * u)


class Looping(nn.Module):
    """The tutorial net of snnTorch, with a sigmoid in place of spikes."""

    def __init__(self):
        import snntorch as snn

        super().__init__()
        self.fc1, self.lif1 = nn.Linear(IN, HIDDEN), snn.Leaky(beta=0.8, spike_grad=squash, reset_mechanism="none")
        self.fc2, self.lif2 = nn.Linear(HIDDEN, CLASSES), snn.Leaky(beta=0.8, spike_grad=squash, reset_mechanism="none")

    def forward(self, x):
        first, second, outputs = self.lif1.init_leaky(), self.lif2.init_leaky(), []
        for step in x:
            spk, first = self.lif1(self.fc1(step), first)
            spk, second = self.lif2(self.fc2(spk), second)
            outputs.append(spk)
        return torch.stack(outputs)


def jelly(mode):
    """SpikingJelly, which puts out its surrogates' primitives where `spiking=False`."""
    from spikingjelly.activation_based import layer, neuron, surrogate

    cell = lambda: neuron.LIFNode(surrogate_function=surrogate.Sigmoid(2.0, spiking=False), step_mode=mode)  # noqa: E731
    return nn.Sequential(
        layer.Linear(IN, HIDDEN, step_mode=mode), cell(), layer.Linear(HIDDEN, CLASSES, step_mode=mode), cell()
    )


def integrators(cells):
    """Norse, leaky integrators."""
    import norse.torch as norse

    cell = norse.LICell if cells else norse.LI
    return norse.SequentialState(nn.Linear(IN, HIDDEN), cell(), nn.Tanh(), nn.Linear(HIDDEN, CLASSES), cell())


def exponential():
    """Sinabs, leaky integrators."""
    import sinabs.layers as sl

    return nn.Sequential(nn.Linear(IN, HIDDEN), sl.ExpLeak(5.0), nn.Tanh(), nn.Linear(HIDDEN, CLASSES), sl.ExpLeak(5.0))


@dataclass
class Smooth:
    name: str
    library: str
    build: object


SMOOTH = [
    Smooth("snnTorch Sequential", "snntorch", leaky),
    Smooth("snnTorch tutorial", "snntorch", Looping),
    Smooth("SpikingJelly m", "spikingjelly", lambda: jelly("m")),
    Smooth("SpikingJelly s", "spikingjelly", lambda: jelly("s")),
    Smooth("Norse sequence", "norse", lambda: integrators(False)),
    Smooth("Norse cells", "norse", lambda: integrators(True)),
    Smooth("Sinabs", "sinabs", exponential),
]
HERE = [entry for entry in SMOOTH if present(entry.library)]


def built(entry):
    """The model in float64, from a seed."""
    torch.manual_seed(0)
    return entry.build().double()


def batch():
    x, y = sequences(steps=4, samples=6)
    return x.double(), y


def central(model, objective, batch, names, step=1e-5):
    """Central differences of the loss in every entry of the named parameters: error of order step^2, rounding 1e-11."""
    from rules import run_model

    found = {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name not in names:
                continue
            flat, slopes = p.data.view(-1), torch.zeros(p.numel(), dtype=torch.float64)
            for n in range(p.numel()):
                kept, losses = float(flat[n]), []
                for sign in (1, -1):
                    flat[n] = kept + sign * step
                    losses.append(float(objective(run_model(model, batch), batch)))
                flat[n] = kept
                slopes[n] = (losses[0] - losses[1]) / (2 * step)
            found[name] = slopes.view_as(p)
    return found
