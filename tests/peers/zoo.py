"""Models that were written elsewhere, as their libraries' tutorials write them: shared by the tests and by the table."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from tests.peers.stub import stand_in

T, B, IN, HIDDEN, CLASSES = 6, 9, 5, 8, 3


def present(library):
    return importlib.util.find_spec(library) is not None


def sequences(seed=0, steps=T, samples=B):
    """Time-first sequences `[T, B, IN]` whose mean tells the class."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(samples) % CLASSES
    x = torch.rand(steps, samples, IN, generator=rng) + 1.5 * F.one_hot(y, IN)
    return x, y


def strong(seed=0, steps=T):
    """Sequences that make cells with larger thresholds fire."""
    x, y = sequences(seed, steps)
    return 4 * x, y


def images(seed=0):
    """Images `[B, 1, 6, 6]` with a bright row for each class."""
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(B) % CLASSES
    x = torch.rand(B, 1, 6, 6, generator=rng)
    x[torch.arange(B), 0, y] += 2
    return x, y


def static(seed=0):
    x, y = sequences(seed)
    return x.mean(0), y


def strong_static(seed=0):
    x, y = static(seed)
    return 4 * x, y


def tokens(seed=0):
    x, y = sequences(seed)
    return (10 * x).long().sum(-1) % 11, y


@dataclass
class Entry:
    """A model: how it is built, its data, what `rules.adapt` is told, and the library that it needs."""

    name: str
    build: Callable[[], nn.Module]
    data: Callable[[], Any] = sequences
    adapt: dict[str, Any] = field(default_factory=dict)
    library: str = "torch"


# snnTorch


class SnnTutorial(nn.Module):
    """The net of snnTorch's tutorial 5: state is an argument of its neurons; returns spikes and membranes."""

    def __init__(self, neuron="Leaky", **settings):
        import snntorch as snn

        super().__init__()
        kinds = {"Leaky": {"beta": 0.9}, "Synaptic": {"alpha": 0.8, "beta": 0.9}}
        cell = lambda: getattr(snn, neuron)(**kinds[neuron], **settings)  # noqa: E731
        self.fc1, self.lif1 = nn.Linear(IN, HIDDEN), cell()
        self.fc2, self.lif2 = nn.Linear(HIDDEN, CLASSES), cell()

    def forward(self, x):
        first, second = self.lif1.reset_mem(), self.lif2.reset_mem()
        first, second = (state if isinstance(state, tuple) else (state,) for state in (first, second))
        spikes, membranes = [], []
        for step in range(len(x)):
            spk, *first = self.lif1(self.fc1(x[step]), *first)
            spk, *second = self.lif2(self.fc2(spk), *second)
            spikes.append(spk)
            membranes.append(second[-1])
        return torch.stack(spikes), torch.stack(membranes)


class SnnRecurrent(nn.Module):
    """RLeaky, with recurrent weights of its own."""

    def __init__(self):
        import snntorch as snn

        super().__init__()
        self.fc1 = nn.Linear(IN, HIDDEN)
        self.lif1 = snn.RLeaky(beta=0.9, linear_features=HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x):
        spk, mem = self.lif1.init_rleaky()
        outputs = []
        for step in range(len(x)):
            spk, mem = self.lif1(self.fc1(x[step]), spk, mem)
            outputs.append(self.fc2(spk))
        return torch.stack(outputs)


class SnnForgetful(nn.Module):
    """A loop over neurons with hidden state, which nobody resets."""

    def __init__(self):
        super().__init__()
        self.net = snn_sequential(output=False)

    def forward(self, x):
        return torch.stack([self.net(step) for step in x])


class SnnResetting(SnnForgetful):
    """The same, with `utils.reset` first."""

    def forward(self, x):
        from snntorch import utils

        utils.reset(self.net)
        return super().forward(x)


def snn_sequential(output=True, **settings):
    import snntorch as snn

    return nn.Sequential(
        nn.Linear(IN, HIDDEN),
        snn.Leaky(beta=0.9, init_hidden=True, **settings),
        nn.Linear(HIDDEN, CLASSES),
        snn.Leaky(beta=0.9, init_hidden=True, output=output, **settings),
    )


# SpikingJelly


def jelly(mode="m", container=nn.Sequential):
    from spikingjelly.activation_based import layer, neuron

    return container(
        layer.Linear(IN, HIDDEN, step_mode=mode),
        neuron.LIFNode(step_mode=mode),
        layer.Linear(HIDDEN, CLASSES, step_mode=mode),
        neuron.IFNode(step_mode=mode),
    )


class JellyResetting(nn.Sequential):
    """A Sequential whose forward resets the net."""

    def forward(self, x):
        from spikingjelly.activation_based import functional

        functional.reset_net(self)
        return super().forward(x)


class JellyStatic(nn.Module):
    """A loop over one image, steps counted by the model itself."""

    def __init__(self, resets):
        super().__init__()
        self.net, self.resets = jelly("s"), resets

    def forward(self, x):
        from spikingjelly.activation_based import functional

        if self.resets:
            functional.reset_net(self.net)
        return sum(self.net(x) for _ in range(T)) / T


def jelly_convolutional():
    from spikingjelly.activation_based import layer, neuron

    return nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, bias=False, step_mode="m"),
        neuron.LIFNode(step_mode="m"),
        layer.MaxPool2d(2, 2, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(4 * 9, CLASSES, step_mode="m"),
        neuron.LIFNode(step_mode="m"),
    )


def image_sequences(seed=0):
    x, y = images(seed)
    return x.expand(4, *x.shape).clone(), y


def strong_image_sequences(seed=0):
    x, y = image_sequences(seed)
    return 6 * x, y


def sew_resnet():
    stand_in()
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.model import sew_resnet as models

    net = models.sew_resnet18(cnf="ADD", num_classes=CLASSES, spiking_neuron=neuron.IFNode)
    functional.set_step_mode(net, "m")
    return net


def spikformer():
    stand_in()
    from spikingjelly.activation_based.model import spikformer as models

    return models.spikformer_ti(T=2, img_size_h=16, img_size_w=16, num_classes=CLASSES)


def coloured(seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, 3, 16, 16, generator=rng), torch.arange(3)


# Norse


def norse_sequential(cells=False):
    import norse.torch as norse

    hidden, output = (norse.LIFCell(), norse.LICell()) if cells else (norse.LIF(), norse.LI())
    return norse.SequentialState(nn.Linear(IN, HIDDEN), hidden, nn.Linear(HIDDEN, CLASSES), output)


class NorseTutorial(nn.Module):
    """The net of Norse's MNIST tutorial: cells, their states handed on in a loop; or LSNN for a whole sequence."""

    def __init__(self, recurrent=False):
        import norse.torch as norse

        super().__init__()
        self.fc1 = nn.Linear(IN, HIDDEN)
        self.lif = norse.LSNNRecurrent(HIDDEN, HIDDEN) if recurrent else norse.LIFCell()
        self.fc2 = nn.Linear(HIDDEN, CLASSES, bias=False)
        self.out = norse.LI() if recurrent else norse.LICell()
        self.recurrent = recurrent

    def forward(self, x):
        if self.recurrent:
            return self.out(self.fc2(self.lif(self.fc1(x))[0]))[0]
        s1 = s2 = None
        voltages = []
        for step in x:
            z, s1 = self.lif(self.fc1(step), s1)
            v, s2 = self.out(self.fc2(z), s2)
            voltages.append(v)
        return torch.stack(voltages)


# Sinabs


def sinabs_sequential(squeeze=False):
    import sinabs.layers as sl

    if squeeze:
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False),
            sl.IAFSqueeze(batch_size=B),
            nn.AvgPool2d(2, 2),
            nn.Flatten(),
            nn.Linear(4 * 9, CLASSES, bias=False),
            sl.IAFSqueeze(batch_size=B),
        )
    return nn.Sequential(
        nn.Linear(IN, HIDDEN), sl.LIF(tau_mem=20.0), nn.Linear(HIDDEN, CLASSES), sl.ExpLeak(tau_mem=20.0)
    )


# torch


class Picking(nn.Module):
    """A recurrent layer and a read-out."""

    def __init__(self, kind="LSTM", last=False, **settings):
        super().__init__()
        self.rnn = getattr(nn, kind)(IN, HIDDEN, **settings)
        self.out = nn.Linear(HIDDEN, CLASSES)
        self.last = last

    def forward(self, x):
        y = self.rnn(x)[0]
        if self.last:
            y = y[:, -1] if self.rnn.batch_first else y[-1]
        return self.out(y)


class Returning(nn.Module):
    """A perceptron whose output is packed: as a tuple, a dict, or an object with `logits`."""

    def __init__(self, kind):
        super().__init__()
        self.body, self.head, self.kind = nn.Linear(IN, HIDDEN), nn.Linear(HIDDEN, CLASSES), kind

    def forward(self, x):
        h = self.body(x).tanh()
        y = self.head(h)
        return {"tuple": (h, y), "dict": {"hidden": h, "logits": y}}.get(self.kind) or Answer(y, h)


@dataclass
class Answer:
    logits: Any
    hidden: Any


class Encoder(nn.Module):
    """A transformer over the steps of a sequence."""

    def __init__(self, dropout):
        super().__init__()
        self.inside = nn.Linear(IN, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.block(self.inside(x)))


class Dropping(nn.Module):
    """Dropout that no module shows."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(IN, HIDDEN), nn.Linear(HIDDEN, CLASSES)

    def forward(self, x):
        return self.head(F.dropout(self.body(x).relu(), 0.5, self.training))


class Convolutional(nn.Module):
    """A small net for images, batch-normalised."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.pool = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.MaxPool2d(2)
        self.head = nn.Linear(36, CLASSES)

    def forward(self, x):
        return self.head(self.pool(F.relu(self.norm(self.conv(x)))).flatten(1))


class Residual(nn.Module):
    """A residual block, and a head."""

    def __init__(self, norm):
        super().__init__()
        self.stem, self.norm, self.conv = nn.Conv2d(1, 4, 3, padding=1), norm(4), nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(144, CLASSES)

    def forward(self, x):
        h = self.stem(x)
        return self.head((h + self.conv(self.norm(h).relu())).flatten(1))


class HeadFirst(nn.Module):
    """A head that is defined before the body."""

    def __init__(self):
        super().__init__()
        self.head, self.body = nn.Linear(HIDDEN, CLASSES), nn.Sequential(nn.Linear(IN, HIDDEN), nn.Tanh())

    def forward(self, x):
        return self.head(self.body(x))


class Tied(nn.Module):
    """A decoder that shares the weight of the embedding."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, HIDDEN)
        self.rnn = nn.GRU(HIDDEN, HIDDEN)
        self.decoder = nn.Linear(HIDDEN, 11)
        self.decoder.weight = self.embedding.weight

    def forward(self, x):
        return self.decoder(self.rnn(self.embedding(x))[0])


class Tokens(nn.Module):
    """A GRU over tokens."""

    def __init__(self):
        super().__init__()
        self.embedding, self.rnn, self.head = (
            nn.Embedding(11, HIDDEN),
            nn.GRU(HIDDEN, HIDDEN),
            nn.Linear(HIDDEN, CLASSES),
        )

    def forward(self, x):
        return self.head(self.rnn(self.embedding(x))[0])


class Buffered(nn.Module):
    """Layers in a ModuleList, and a buffer."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(IN, HIDDEN), nn.Linear(HIDDEN, CLASSES)])
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        return self.blocks[1]((self.scale * self.blocks[0](x)).tanh())


def perceptron():
    return nn.Sequential(nn.Linear(IN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, CLASSES))


def frozen():
    net = perceptron()
    net[0].requires_grad_(False)
    return net


def lazy():
    return nn.Sequential(nn.LazyLinear(HIDDEN), nn.Tanh(), nn.LazyLinear(CLASSES))


SNN, JELLY, NORSE, SINABS = ({"library": name} for name in ("snntorch", "spikingjelly", "norse", "sinabs"))
ZOO = [
    Entry("snnTorch tutorial net, returns (spk, mem)", SnnTutorial, **SNN),
    Entry(
        "snnTorch tutorial net, learned leak, membrane",
        lambda: SnnTutorial(learn_beta=True),
        adapt={"output": "membrane"},
        **SNN,
    ),
    Entry("snnTorch Sequential, init_hidden, output=True", snn_sequential, **SNN),
    Entry("snnTorch Sequential, init_hidden, output=False", lambda: snn_sequential(False), **SNN),
    Entry("snnTorch loop, utils.reset first", SnnResetting, **SNN),
    Entry("snnTorch loop, reset forgotten", SnnForgetful, **SNN),
    Entry("snnTorch Synaptic", lambda: SnnTutorial("Synaptic", learn_alpha=True), **SNN),
    Entry("snnTorch RLeaky", SnnRecurrent, **SNN),
    Entry("SpikingJelly Sequential, step mode m", jelly, strong, **JELLY),
    Entry("SpikingJelly Sequential, step mode s", lambda: jelly("s"), strong, **JELLY),
    Entry("SpikingJelly Sequential whose forward resets", lambda: jelly(container=JellyResetting), strong, **JELLY),
    Entry("SpikingJelly loop over static x, reset", lambda: JellyStatic(True), strong_static, **JELLY),
    Entry("SpikingJelly loop over static x, no reset", lambda: JellyStatic(False), strong_static, **JELLY),
    Entry("SpikingJelly convolutional, step mode m", jelly_convolutional, strong_image_sequences, **JELLY),
    Entry("SEW-ResNet18", sew_resnet, coloured, **JELLY),
    Entry("Spikformer-ti", spikformer, coloured, **JELLY),
    Entry("Norse SequentialState", norse_sequential, strong, **NORSE),
    Entry("Norse SequentialState of cells", lambda: norse_sequential(True), strong, **NORSE),
    Entry("Norse tutorial net", NorseTutorial, strong, **NORSE),
    Entry("Norse LSNN", lambda: NorseTutorial(True), strong, **NORSE),
    Entry("Sinabs Sequential", sinabs_sequential, strong, **SINABS),
    Entry("Sinabs Sequential, B = T", sinabs_sequential, lambda: strong(steps=B), **SINABS),
    Entry("Sinabs convolutional, squeezed", lambda: sinabs_sequential(True), image_sequences, **SINABS),
    Entry("MLP, frozen layer", frozen, static),
    Entry("ConvNet with BatchNorm", Convolutional, images),
    Entry("ResNet with BatchNorm", lambda: Residual(nn.BatchNorm2d), images),
    Entry("ResNet with GroupNorm", lambda: Residual(lambda n: nn.GroupNorm(2, n)), images),
    Entry("LSTM, GRU", Picking),
    Entry("LSTM batch_first", lambda: Picking(batch_first=True)),
    Entry("LSTM batch_first, B = T", lambda: Picking(batch_first=True), lambda: sequences(steps=B)),
    Entry("LSTM batch_first, last step", lambda: Picking(last=True, batch_first=True)),
    Entry("Transformer, dropout 0.1", lambda: Encoder(0.1)),
    Entry("Transformer, dropout 0", lambda: Encoder(0.0)),
    Entry("functional dropout", Dropping, static),
    Entry("tuple output", lambda: Returning("tuple"), static, {"output": 1}),
    Entry("dict output", lambda: Returning("dict"), static),
    Entry("output with logits", lambda: Returning("answer"), static),
    Entry("tied weights", Tied, tokens),
    Entry("head defined before body", HeadFirst, static),
    Entry("buffers, ModuleList", Buffered, static),
    Entry("LazyLinear", lazy, static),
    Entry("DataParallel", lambda: nn.DataParallel(perceptron()), static),
    Entry("torch.compile, eager backend", lambda: torch.compile(perceptron(), backend="eager"), static),
    Entry("token GRU", Tokens, tokens),
]
HERE = [entry for entry in ZOO if present(entry.library)]
