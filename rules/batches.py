"""What loaders yield, as batches: pairs, dicts, NumPy arrays, packed and ragged sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence, pad_sequence

from rules.contract import Batch
from rules.forward import leaves, map_tensors, samples

ANSWERS = ("y", "label", "labels", "target", "targets")  # keys of a dict under which the right answer may be


def as_batch(item: Any) -> Batch:
    """Return a loader's item as a `Batch` of tensors.

    | item | batch |
    | --- | --- |
    | `rules.Batch`, `(x, y)`, x alone | as it says; x may be a tuple or a dict of several inputs |
    | a dict with one of the keys `ANSWERS` | that is y, the rest is x; the single key `x` is that input itself |
    | NumPy arrays | tensors |
    | a list of sequences `[T_i, *in]` of different length | padded with zeros to `[T, B, *in]`; `lengths` has the T_i |
    | `PackedSequence` | unpacked, likewise |
    | sparse x | dense |
    | x in uint8, such as images | divided by 255; tokens are int64 or int32 |
    | x in bool | zeros and ones in torch's default dtype |
    | x in int8, int16, uint16, uint32 | int64; int32 and int64 stay, as tokens |
    | y in another integer dtype | int64 |
    | y with the steps and samples of x as its first axes, `[T, B]` or `[T, B, k]` | `targets`, but not in a Batch |

    Args:
        item: what a loader yields.

    Raises:
        TypeError: for anything else; the message says what to yield.
        ValueError: for a y that could belong to samples or to steps, and for lengths that do not fit.

    >>> as_batch({"x": np.zeros((5, 3, 2), np.float32), "label": np.array([0, 1, 1], np.int32)}).y
    tensor([0, 1, 1])
    >>> ragged = as_batch(([torch.ones(2, 4), torch.ones(5, 4)], torch.tensor([0, 1])))
    >>> tuple(ragged.x.shape), ragged.lengths.tolist()
    ((5, 2, 4), [2, 5])
    """
    given = _structured(item)
    x, lengths = _inputs(given.x, given.y)
    batch = given._replace(
        x=x,
        y=_answers(given.y, "y"),
        targets=_answers(given.targets, "targets"),
        lengths=_answers(given.lengths, "lengths") if lengths is None else lengths,
    )
    batch = batch if isinstance(item, Batch) else _by_step(batch)
    _check_lengths(batch)
    return batch


def fitted(batch: Batch, model: nn.Module, like: Tensor) -> Batch:
    """Return a batch for a model: floating-point inputs and answers in its dtype, everything on a device.

    Args:
        batch: its carry stays as it is.
        model: its parameters say the dtype; where they have several, that of the batch stays.
        like: the parameter whose device the batch gets.

    >>> fitted(Batch(torch.ones(2, 3, dtype=torch.float64)), nn.Linear(3, 1), torch.ones(1)).x.dtype
    torch.float32
    """
    parts = leaves((batch.x, batch.y, batch.targets, batch.lengths, batch.plain))
    there = all(part.device == like.device for part in parts)
    if there and not any(part.is_floating_point() and part.dtype != like.dtype for part in parts):
        return batch
    found = {p.dtype for p in model.parameters() if p.is_floating_point()}
    dtype = found.pop() if len(found) == 1 else None
    held: Batch = map_tensors(
        lambda part: moved(part, like.device, dtype if part.is_floating_point() else None), batch._replace(carry=None)
    )
    return held._replace(carry=batch.carry)


def moved(x: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor on a device; one that is constant in time, with a stride of 0, stays so.

    A network multiplies such an input by its weights only once, and rules draw noise for the product once.

    >>> moved(torch.ones(1, 2, 3).expand(5, 2, 3), "cpu", torch.float64).stride(0)
    0
    """
    if x.ndim and len(x) > 1 and x.stride(0) == 0:
        return x[:1].to(device, dtype).expand_as(x)
    return x.to(device, dtype)


def _structured(item: Any) -> Batch:
    """Find x and y in an item."""
    if isinstance(item, Batch):
        return item
    if isinstance(item, (Tensor, np.ndarray, PackedSequence)):
        return Batch(item)
    if isinstance(item, Mapping):
        return _from_mapping(item)
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return Batch(item[0], item[1])
    if isinstance(item, (tuple, list)) and len(item) > 2:
        raise TypeError(
            f"the loader yielded {len(item)} parts, and which are inputs is not known: yield ((x1, x2), y) for two "
            "inputs, rules.Batch(x, y, lengths=lengths) for padded sequences, rules.Batch(x, targets=targets) for a "
            "target at each step"
        )
    raise TypeError(
        f"a loader must yield (x, y), rules.Batch(x, y), a dict such as {{'x': x, 'y': y}}, or a tensor x; this one "
        f"yielded {type(item).__name__}"
    )


def _from_mapping(item: Mapping[Any, Any]) -> Batch:
    keys = [key for key in ANSWERS if key in item]
    rest = {key: value for key, value in item.items() if key not in keys}
    if len(keys) > 1 or not rest:
        raise TypeError(
            f"the loader yielded a dict with the keys {', '.join(map(repr, item))}: give the inputs, and one of "
            f"{', '.join(map(repr, ANSWERS))}; or yield rules.Batch(inputs, y, targets=targets)"
        )
    return Batch(rest["x"] if list(rest) == ["x"] else rest, item[keys[0]] if keys else None)


def _inputs(x: Any, y: Any) -> tuple[Any, Tensor | None]:
    """Return the inputs as tensors, and the lengths of sequences that were padded."""
    if isinstance(x, PackedSequence):
        padded, lengths = pad_packed_sequence(x)
        return _input(padded), lengths.to(padded.device)
    if isinstance(x, np.ndarray) and x.dtype == object:
        x = list(x)
    if isinstance(x, list) and y is not None and len(x) == len(y) and _ragged(x, len(y)):
        sequences = [_input(each) for each in x]
        return pad_sequence(sequences), torch.tensor([len(each) for each in sequences], device=sequences[0].device)
    return _nested(x), None


def _ragged(x: list[Any], count: int) -> bool:
    """Return whether a list of as many arrays as labels is one sequence for each sample.

    Raises TypeError where it could as well be several inputs, each with all samples.
    """
    found = [tuple(np.shape(each)) for each in x]
    if not all(found):  # a list of numbers
        return False
    if all(count in shape[:2] for shape in found):
        raise TypeError(
            f"x is a list of {count} arrays, of shapes {' and '.join(map(str, found))}, for {count} labels: yield "
            "a tuple, ((x1, x2), y), if these are inputs, and rules.Batch(torch.nn.utils.rnn.pad_sequence(x), y, "
            "lengths=torch.tensor([len(s) for s in x])) if they are sequences"
        )
    return True


def _nested(x: Any) -> Any:
    if isinstance(x, Mapping):
        return {key: _nested(value) for key, value in x.items()}
    if isinstance(x, (tuple, list)):
        parts = [_nested(part) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return _input(x)


def _input(x: Any) -> Tensor:
    """Return one input as a dense tensor in a dtype that layers take."""
    if isinstance(x, np.ndarray):
        x = torch.from_numpy(np.ascontiguousarray(x))
    if not isinstance(x, Tensor):
        raise TypeError(
            f"an input is a {type(x).__name__}; let the loader yield tensors or NumPy arrays, as in "
            "(torch.as_tensor(x), y)"
        )
    found = dense(x, "x")
    if found.ndim == 0:
        raise ValueError(
            "x is a single number, without an axis of samples: yield [T, B, *features], as in x[None, None]"
        )
    if found.dtype == torch.uint8:
        if found.numel() and int(found.max()) == 1:
            raise ValueError(
                "x is torch.uint8 and holds nothing above 1, and uint8 is divided by 255, as images are: give spikes "
                "and other bits as x.bool() or x.float(), and tokens as x.long()"
            )
        return found / 255
    if found.dtype == torch.bool:
        return found.to(torch.get_default_dtype())
    tokens = found.is_floating_point() or found.is_complex() or found.dtype in (torch.int32, torch.int64)
    return found if tokens else found.long()


def dense(x: Tensor, name: str) -> Tensor:
    """Return a tensor of numbers, dense; raise TypeError for one that has a shape alone."""
    if x.is_meta:
        raise TypeError(f"{name} is on the device 'meta', and has a shape but no numbers: load it on 'cpu'")
    plain: Tensor = x.dequantize() if x.is_quantized else x
    return plain if plain.layout is torch.strided else plain.to_dense()


def _answers(y: Any, name: str) -> Tensor | None:
    """Return labels or targets as a tensor; whole numbers in int64."""
    if y is None:
        return None
    if not isinstance(y, (Tensor, np.ndarray, Sequence)) or isinstance(y, str) or _several(y):
        raise TypeError(
            f"{name} is a {type(y).__name__}; give one tensor, and what each sample or step has of it in its last "
            f"axis: {name}=torch.stack([y1, y2], -1)"
        )
    try:
        found = dense(torch.as_tensor(y), name)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(y, Tensor):
            raise
        kind = type(y[0]).__name__ if len(y) else "nothing"
        raise TypeError(
            f"{name} holds {kind} and cannot be made a tensor: number the classes, as in names = sorted(set(y)) and "
            f"{name} = torch.tensor([names.index(each) for each in y])"
        ) from error
    if found.ndim == 0:
        raise ValueError(f"{name} is a single number, without an axis of samples: give one for each, {name}[None]")
    whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
    return found.long() if whole else found


def _several(y: Any) -> bool:
    """Return whether these are several arrays, and not the numbers of one."""
    return isinstance(y, (tuple, list)) and any(np.ndim(part) for part in y if isinstance(part, (Tensor, np.ndarray)))


def _by_step(batch: Batch) -> Batch:
    """Move a y that has an entry for each step and sample to `targets`.

    Raises ValueError where the axes could as well be samples and outputs, as with images `[B, C, H, W]` and y `[B, C]`.
    """
    first, y = leaves(batch.x)[0], batch.y
    timed = first.ndim > (2 if first.is_floating_point() else 1)
    if y is None or y.ndim < 2 or not timed or y.shape[:2] != first.shape[:2]:
        return batch
    if y.ndim == 2 and (y.shape[0] == y.shape[1] or y.shape[1] == 1 or first.ndim == 4):
        raise ValueError(
            f"x has shape {tuple(first.shape)} and y {tuple(y.shape)}, whose second axis may be samples or outputs: "
            "yield rules.Batch(x, targets=y) for an answer at each step, rules.Batch(x, y) for those of each sample"
        )
    return batch._replace(y=None, targets=y)


def _check_lengths(batch: Batch) -> None:
    lengths = batch.lengths
    if lengths is None:
        return
    longest = max(len(leaf) for leaf in leaves(batch.x))
    least = 1 if batch.carry is None or batch.targets is None else 0  # of answers by step: it may have ended before
    fits = lengths.shape == (samples(batch),) and lengths.dtype == torch.int64
    if not fits or not len(lengths) or int(lengths.min()) < least or int(lengths.max()) > longest:
        raise ValueError(
            f"lengths of shape {tuple(lengths.shape)} do not fit {samples(batch)} samples of {longest} steps: give one "
            f"whole number from {least} to {longest} for each, as in lengths=torch.tensor([len(s) for s in sequences])"
        )
