"""SVFormer: a spiking transformer for video, one frame a step, with normalisation and a read-out over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rules.contract import Run, Trace
from sandbox.networks.attention import SelfAttention
from sandbox.networks.convolutions import drawn, require_image, sized, transformer
from sandbox.networks.joins import add, beside
from sandbox.networks.kinds import Given, Kind, kind_of
from sandbox.networks.over_time import TimeNorm
from sandbox.networks.parts import Joined, Stack, Stateless, Whole
from sandbox.neurons import PLIF


@dataclass(frozen=True)
class Size:
    """Channels, blocks and strides of the four stages, channels of a head, and the scale of attention."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    strides: tuple[int, int, int, int] = (4, 2, 2, 2)
    head: int = 64
    scale: float = 0.125
    ratio: int = 2
    gain: float = 1.0

    @property
    def patch(self) -> int:
        """Side of the patch of a frame that becomes a token of the last stage."""
        first, second, third, fourth = self.strides
        return first * second * third * fourth


SIZES: dict[int | str, Size] = {
    "tiny": Size((8, 12, 16, 24), (1, 1, 1, 1), (1, 2, 2, 2), head=8, scale=2.0, gain=2.0),
    "ucf101": Size((128, 256, 384, 512), (1, 1, 3, 1)),
}


class VideoReadout(Whole):
    """The read-out of a whole video: a grouped convolution over all steps and places, and a dense layer.

    `[T, B, C, H, W] -> [1, B, classes]`.

    Args:
        channels: C.
        groups: of the convolution.
        steps: T.
        side: H and W.
        classes: number of outputs.
    """

    def __init__(self, channels: int, groups: int, steps: int, side: tuple[int, int], classes: int) -> None:
        super().__init__(steps)
        self.weigh = nn.Sequential(
            nn.Conv3d(channels, channels, (steps, *side), groups=groups), nn.BatchNorm3d(channels), nn.Flatten()
        )
        self.dense = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a whole sequence, to an output of one step; the trace is that of the dense layer."""
        self.require_steps(x)
        pre = self.weigh(x.movedim(0, 2))[None]
        output = self.dense(pre)
        return Run(output, None, (Trace("dense.weight", pre, output, output),) if record else ())


def svformer(
    shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    size: str | Size = "tiny",
    steps: int = 4,
    *,
    neuron: Given = None,
    seed: int = 0,
) -> Stack:
    """Build an SVFormer: two stages of convolutions, two of spiking self-attention, and a read-out of all steps.

        stages 1, 2    x = x + BN(W5 SN(x)),    W5 = conv1x1 conv5x5 conv1x1
        stages 3, 4    x = x + BN(W SN(d^-1/2 q (k' v)))
        all            x = x + BN(W2 SN(BN(W1 SN(x))))

    The 5 x 5 convolution is one for each channel. Normalisations have statistics and gains of each step (`TimeNorm`),
    and neurons learn their time constant. What the third stage begins with goes past it and the fourth as well, and is
    put beside the result. The output has one step: the read-out weighs all frames. "tiny" is ours.

    Args:
        shape: of a frame `(C, H, W)`, whose sides are multiples of 32; of 8 for "tiny".
        classes: number of outputs.
        size: "ucf101", "tiny", or a `Size` of your own.
        steps: frames of a video, which normalisations and read-out are built for.
        neuron: a neuron, its name in `sandbox list neurons`, or `{"name": ..., "options": {...}}`; None for `PLIF`, the
            neuron of the paper.
        seed: of the initial weights.

    Raises:
        ValueError: for an unknown size or neuron, a frame that patches do not divide, and in a call for another number
            of steps.

    >>> import torch
    >>> svformer((1, 8, 8), 10)(torch.rand(4, 2, 1, 8, 8)).output.shape
    torch.Size([1, 2, 10])

    Reference: Yu et al. 2024 (arXiv 2406.15034), from the authors' code.
    """
    chosen = sized("size", size, SIZES)
    require_image(shape, chosen.patch)
    cells = kind_of(neuron, PLIF(), seed=seed)
    build = Builder(chosen, cells, steps)
    first, _, third, fourth = chosen.widths
    strides = chosen.strides
    parts = [*build.weighed(shape[0], first, strides[0] + 2, strides[0], 1), *build.blocks(0)]
    parts += [*build.embedding(1), *build.blocks(1), *build.embedding(2)]
    way = [cells.fires(third), *build.local(third, fourth)]
    parts.append(Joined([*build.blocks(2), *build.embedding(3), *build.blocks(3)], way, beside))
    side = (shape[1] // chosen.patch, shape[2] // chosen.patch)
    parts += [cells.fires(2 * fourth), VideoReadout(2 * fourth, fourth, steps, side, classes)]
    return drawn(Stack(parts, shape), seed, transformer)


@dataclass(frozen=True)
class Builder:
    """Makes the parts of a size."""

    size: Size
    cells: Kind
    steps: int

    def normed(self, synapse: nn.Module, width: int) -> list[nn.Module]:
        """Return weights and their normalisation of each step."""
        norm = TimeNorm(width, self.steps)
        nn.init.constant_(norm.norm.weight, self.size.gain * self.cells.gain)
        return [Stateless(synapse), norm]

    def weighed(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, padding: int = 0) -> list[nn.Module]:
        """Return a convolution and its normalisation."""
        return self.normed(nn.Conv2d(inputs, outputs, kernel, stride, padding), outputs)

    def embedding(self, stage: int) -> list[nn.Module]:
        """Return the beginning of a stage but the first: neurons and a convolution of overlapping patches."""
        inputs, outputs, stride = self.size.widths[stage - 1], self.size.widths[stage], self.size.strides[stage]
        return [self.cells.fires(inputs), *self.weighed(inputs, outputs, stride + 2, stride, 1)]

    def blocks(self, stage: int) -> list[nn.Module]:
        """Return the blocks of a stage."""
        width = self.size.widths[stage]
        mixing = self.near if stage < 2 else self.far
        made: list[nn.Module] = []
        for _ in range(self.size.depths[stage]):
            made += [Joined(mixing(width), [], add), Joined(self.feed_forward(width), [], add)]
        return made

    def near(self, width: int) -> list[nn.Module]:
        """Return three convolutions without neurons between them."""
        wide = nn.Conv2d(width, width, 5, padding=2, groups=width)
        chain = nn.Sequential(nn.Conv2d(width, width, 1), wide, nn.Conv2d(width, width, 1))
        return [self.cells.fires(width), *self.normed(chain, width)]

    def far(self, width: int) -> list[nn.Module]:
        """Return self-attention."""
        sources: dict[str, Sequence[nn.Module]] = {
            name: [*self.weighed(width, width), self.cells.fires(width)] for name in ("query", "key", "value")
        }
        heads = width // self.size.head
        attention = SelfAttention(sources, heads, self.cells.attends(heads), self.size.scale * self.cells.drive)
        return [self.cells.fires(width), attention, *self.weighed(width, width)]

    def feed_forward(self, width: int) -> list[nn.Module]:
        """Return the two layers behind attention."""
        inside = width * self.size.ratio
        return [
            self.cells.fires(width),
            *self.weighed(width, inside),
            self.cells.fires(inside),
            *self.weighed(inside, width),
        ]

    def local(self, inputs: int, outputs: int) -> list[nn.Module]:
        """Return the way past the last stages."""
        stride = self.size.strides[3]
        each = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs)
        return self.normed(nn.Sequential(each, nn.Conv2d(inputs, outputs, 1)), outputs)
