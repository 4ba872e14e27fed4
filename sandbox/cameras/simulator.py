"""An event camera simulated from frames of brightness: a pixel fires where its log intensity has changed enough."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.cameras.events import Events, events_of, whole

SECOND = 1_000_000  # [us]
MOST = 2**25  # events of a recording, of 138 bytes each while they are made
SLACK = 1e-9  # of a threshold: where a pixel returns to a level, the last bits do not decide


def simulated(
    brightness: NDArray[Any],
    times: NDArray[Any],
    on: float | NDArray[Any],
    off: float | NDArray[Any],
    *,
    noise: float = 0.0,
    dice: np.random.Generator | None = None,
) -> Events:
    """Simulate the events of a camera that sees these frames; label what is made with it as simulated.

    Each pixel keeps a level `r`, at first its log brightness `L = ln(I)` in the first frame. Between two frames L is a
    straight line. Whenever `L >= r + on`, the pixel fires a brighter event and r rises by `on`; whenever `L <= r -
    off`, a darker event, and r falls by `off`; what is at most 1e-9 thresholds short counts. Times are where the line
    crosses the level, rounded down to us. Noise is an event of either polarity, at a uniform time, of all pixels
    independently (Poisson), and leaves r alone. Refractory times, bandwidth and leaks are left out.

    Args:
        brightness: frames `[K, height, width]`, above 0 and finite, at least 2.
        times: of the frames [us], `[K]` whole numbers that rise.
        on: threshold for brighter events [ln units], above 0; a number, or one for each pixel, `[height, width]`.
        off: threshold for darker events, likewise.
        noise: rate of noise events of a pixel [Hz].
        dice: for noise; None where there is none.

    Raises:
        ValueError: for frames, times, thresholds or a rate out of range, and where no pixel fires, or there are more
            than 2^25 events.

    >>> step = np.array([1.0, 4.0]).reshape(2, 1, 1)  # ln 4 = 1.386: three thresholds of 0.4
    >>> simulated(step, np.array([0, 1000]), 0.4, 0.4).t.tolist()
    [288, 577, 865]

    Reference: the model of Rebecq, Gehrig & Scaramuzza 2018 (ESIM) and, for thresholds that differ by pixel, Hu, Liu &
    Delbruck 2021 (v2e, arXiv 2006.07722); recalled, not read.
    """
    brightness, times = _numbers("brightness", brightness), _numbers("times", times)
    on, off = _numbers("on", on), _numbers("off", off)
    _require(brightness, times, on, off, noise, dice)
    level, times = np.log(brightness.astype(np.float64)), times.astype(np.int64)
    on, off = (np.broadcast_to(part.astype(np.float64), level.shape[1:]) for part in (on, off))
    kept, found, total = level[0].copy(), list[tuple[Any, ...]](), _expected(level.shape[1:], times, noise)
    for k in range(1, len(level)):
        rise = level[k] - kept
        fired = rise / np.where(rise > 0, on, off)
        fired = np.trunc(fired + SLACK * np.sign(rise))
        total += float(np.abs(fired).sum())
        _require_fewer(total)
        fired = fired.astype(np.int64)
        y, x = np.nonzero(fired)
        if not len(y):
            continue
        many, sign = np.abs(fired[y, x]), np.sign(fired[y, x])
        step = np.where(sign > 0, on[y, x], off[y, x]) * sign
        which = np.repeat(np.arange(len(y)), many)
        number = np.arange(len(which)) - np.repeat(np.cumsum(many) - many, many) + 1  # 1, 2, ... of each pixel
        before, after = level[k - 1][y, x], level[k][y, x]
        crossing = (kept[y, x][which] + number * step[which] - before[which]) / (after - before)[which]
        t = times[k - 1] + np.floor(crossing * (times[k] - times[k - 1])).astype(np.int64)
        found.append((np.clip(t, times[k - 1], times[k]), x[which], y[which], sign[which] > 0))
        kept[y, x] += many * step
    if noise and dice is not None:
        found.append(_noise(level.shape[1:], times, noise, dice))
    if not sum(len(part[0]) for part in found):
        raise ValueError(
            f"no pixel fires: from the first frame on, log brightness rises by {(level - level[0]).max():.3g} and "
            f"falls by {(level[0] - level).max():.3g} at most, and thresholds are at least {on.min():.3g} (on) and "
            f"{off.min():.3g} (off): give lower thresholds, or frames of more contrast"
        )
    t, x, y, p = (np.concatenate(part) for part in zip(*found, strict=True))
    height, width = level.shape[1:]
    return events_of(t, x, y, p, (height, width), "simulated events")


def _expected(shape: tuple[int, ...], times: NDArray[Any], rate: float) -> float:
    """Return the mean number of noise events."""
    return float(rate * (times[-1] - times[0]) / SECOND * shape[0] * shape[1])


def _noise(shape: tuple[int, ...], times: NDArray[Any], rate: float, dice: np.random.Generator) -> Any:
    """Draw t, x, y and p of noise events."""
    height, width = shape
    count = int(dice.poisson(_expected(shape, times, rate)))
    x, y = dice.integers(0, width, count), dice.integers(0, height, count)
    return dice.integers(times[0], times[-1], count), x, y, dice.random(count) < 0.5


def _require_fewer(total: float) -> None:
    """Raise ValueError for more events than a recording may have."""
    if total > MOST:
        raise ValueError(
            f"there would be {total:.2g} events or more; wanted {MOST} at most: give higher thresholds, frames of less "
            "contrast, fewer frames, or less noise"
        )


def _numbers(name: str, values: Any) -> NDArray[Any]:
    """Return an array of numbers, a tensor's too; raise ValueError for anything else."""
    try:
        found = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # tensors with gradients, or on another device
        raise ValueError(
            f"{name} cannot be read as an array ({error}); for a tensor give {name}.detach().cpu().numpy()"
        ) from error
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{name} is of type {found.dtype}; wanted an array of numbers")
    return found


def _require(brightness: Any, times: Any, on: Any, off: Any, noise: float, dice: Any) -> None:
    """Raise ValueError for what cannot be simulated."""
    if brightness.ndim != 3 or not brightness.size or len(brightness) < 2 or times.shape != brightness.shape[:1]:
        raise ValueError(
            f"brightness has shape {np.shape(brightness)} and times {np.shape(times)}; wanted [K, height, width] and "
            "[K], of at least 2 frames"
        )
    if not np.min(brightness) > 0:
        raise ValueError(f"brightness is {np.min(brightness)} at least; wanted numbers above 0: add a background light")
    if not np.max(brightness) < np.inf:
        raise ValueError(f"brightness is {np.max(brightness)} at most; wanted finite numbers: cut it off")
    if times.dtype.kind not in "iu" or (np.diff(whole(times, "time", "times")) <= 0).any():
        raise ValueError("times do not rise, or are not whole numbers; wanted the us of each frame")
    for name, threshold in (("on", on), ("off", off)):
        if threshold.shape not in ((), brightness.shape[1:]):
            raise ValueError(
                f"{name} has shape {threshold.shape}; give a number, or one for each pixel, {brightness.shape[1:]}"
            )
        if not np.min(threshold) > 0:
            raise ValueError(f"{name}={np.min(threshold):g}: give a threshold above 0")
    if not 0 <= noise < np.inf or (noise and dice is None):
        raise ValueError(f"noise={noise} Hz: give a rate of at least 0, and a generator, dice, for the noise")
