"""A gate for each token, from counts of spikes over channels: the spiking gated channel mixer (SGCM)."""

from __future__ import annotations

from torch import Tensor, nn

from sandbox.networks.dense import Channels, norm
from sandbox.networks.joins import both
from sandbox.networks.kinds import Kind
from sandbox.networks.parts import Joined, Stateless
from sandbox.networks.token_convolutions import depthwise


class Counted(nn.Module):
    """The sum over channels, `[B, C, N] -> [B, 1, N]`: of spikes, how many there are."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1, keepdim=True)


def gated(width: int, inside: int, cells: Kind, between: Kind, kernel: int = 3) -> list[nn.Module]:
    """Return the parts of the gated channel mixer, `[T, B, D, N] -> [T, B, D, N]`, and the neurons behind it.

        q, k = halves of BN(conv(SN(W1 SN'(x))))
        a = sum over channels of SN(BN(depthwise(SN(q))))             a count, [T, B, 1, N]
        y = SN'( W2 SN(BN(conv(a SN(BN(depthwise(SN(k))))))) )

    The text of the paper has spikes of that sum as the gate, and the authors' code, followed here, the sum.

    Args:
        width: D.
        inside: channels between W1 and the halves.
        cells: the neurons SN.
        between: the neurons SN' in front and behind.
        kernel: tokens that each convolution weighs, odd, 3 by default.
    """
    half, gain, around = inside // 2, cells.gain, kernel // 2
    first = nn.Conv1d(inside, inside, kernel, padding=around, bias=False)
    last = nn.Conv1d(half, half, kernel, padding=around, bias=False)
    spikes = [[cells.fires(half), cells.spiking(depthwise(half, kernel, gain), half)] for _ in range(2)]
    return [
        between.fires(width),
        cells.spiking(nn.Conv1d(width, inside, 1), inside),
        Stateless(nn.Sequential(first, norm(inside, gain))),
        Joined(
            [Stateless(Channels(half, inside)), *spikes[1]],
            [Stateless(Channels(0, half)), *spikes[0], Stateless(Counted())],
            both,
        ),
        cells.spiking(nn.Sequential(last, norm(half, gain)), half),
        Stateless(nn.Conv1d(half, width, 1)),
        between.fires(width),
    ]
