"""Ready-made models by name and size."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from rules.errors import unknown
from rules.options import built
from sandbox.networks.models import MODELS
from sandbox.networks.models.published import PUBLISHED


def make_model(
    name: str,
    size: int | str = "tiny",
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    steps: int | None = None,
    *,
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Build a ready-made model of a published size, or a tiny one.

    What is not given is that of the data for which the size was published: of ImageNet, CIFAR-10, event data or video,
    and of the digits for "tiny". `sandbox list models` has the sizes with their numbers of parameters.

    Args:
        name: "spikformer", "qkformer" and others.
        size: such as "8-512", "4-384", 34 or "tiny".
        shape: of an image or frame `(C, H, W)`.
        classes: number of outputs.
        steps: of a sequence. It matters to models with weights for each step; the others run sequences of any length.
        seed: of the initial weights.
        options: of the model, such as `neuron`.

    Raises:
        ValueError: for an unknown name, size or option, with the valid ones and the nearest, and for what the model
            refuses, such as an image that patches do not divide.

    >>> import torch
    >>> model = make_model("qkformer", classes=4, neuron="ilif")
    >>> model(torch.rand(4, 2, 1, 8, 8)).output.shape
    torch.Size([4, 2, 4])
    >>> make_model("spikformer", "8-521")
    Traceback (most recent call last):
    ...
    ValueError: unknown size of 'spikformer' '8-521'; nearest: '8-512'; valid: tiny, 8-384, 8-512, 8-768, 4-256, ...
    """
    if name not in PUBLISHED:
        if name in MODELS:
            raise ValueError(
                f"{name} has no sizes by name: call sandbox.networks.models.{MODELS[name].__name__} itself"
            )
        raise unknown("model with sizes", name, PUBLISHED)
    if str(size) not in PUBLISHED[name]:
        raise unknown(f"size of {name!r}", str(size), PUBLISHED[name])
    if classes is not None and (not isinstance(classes, int) or classes < 1):
        raise ValueError(f"classes={classes!r}: give the number of outputs, at least 1")
    if steps is not None and steps < 1:
        raise ValueError(f"steps={steps}: give the number of steps of a sequence, at least 1")
    usual = PUBLISHED[name][str(size)]
    taken = inspect.signature(MODELS[name]).parameters
    given: dict[str, Any] = {
        "shape": tuple(shape or usual.shape),
        "classes": usual.classes if classes is None else classes,
        "depth" if "depth" in taken else "size": str(size),
        "seed": seed,
    }
    if "steps" in taken:
        given["steps"] = steps or usual.steps
    made: nn.Module = built("model", name, MODELS[name], options, **given)
    return made
