"""`sandbox inspect`: signals, operations, firing rates and energy of a model, or of the model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from sandbox.cli.options import OK
from sandbox.cli.printing import say
from sandbox.config.registry import Choice, find
from sandbox.inspection import Inspection, inspect
from sandbox.machine import files
from sandbox.machine.text import line
from sandbox.networks.calibration import settle
from sandbox.networks.inputs import features
from sandbox.networks.language import TokenModel
from sandbox.networks.models.making import make_model
from sandbox.networks.models.published import PUBLISHED
from sandbox.networks.streamed import Streamed
from sandbox.runs.inspected import inspect_run

OF_MODELS = ("size", "shape", "classes", "steps", "options")
STEPS, CLASSES = 4, 10
FIGURES = (".png", ".svg", ".pdf")


def inspect_(given: Any) -> int:
    """Print the table; draw the figure if a file is named."""
    chosen = None if given.figure is None else Path(given.figure)
    if chosen is not None and chosen.suffix not in FIGURES:
        raise ValueError(f"--figure {chosen}: give a file that ends with {', '.join(FIGURES)}")
    if given.samples < 1:
        raise ValueError(f"--samples {given.samples}: give at least 1")
    folder = Path(given.target)
    found = _of_run(folder, given) if folder.is_dir() else _of_model(given)
    text = "\n".join(map(line, str(found).splitlines()))
    if chosen is not None:
        files.write_atomically(chosen, _drawn(found, chosen.suffix[1:]))
        text += f"\nwritten: {chosen}"
    say(given, found.facts(), text)
    return OK


def _of_run(folder: Path, given: Any) -> Inspection:
    for name in OF_MODELS:
        if given[name]:
            raise ValueError(f"--{name} is for a model by name; {folder} is a folder, whose run says what its model is")
    return inspect_run(folder, given.data_dir, given.trust, given.samples)


def _of_model(given: Any) -> Inspection:
    """Build a model, let it normalise by the statistics of noise, and show it the same noise at every step."""
    name, samples = given.target, given.samples
    steps = given.steps or STEPS
    usual = PUBLISHED.get(name, {}).get(given.size or "tiny")
    shape = tuple(given.shape or (usual.shape if usual else ()))
    if name in PUBLISHED:
        model = make_model(name, given.size or "tiny", shape or None, given.classes, given.steps, **given.options)
        steps = given.steps or (usual.steps if usual else None) or STEPS
    else:
        if "/" in name and ":" not in name:
            raise ValueError(f"folder {name} was not found; name the folder of a run, or a model of `list models`")
        find("model", name)  # raises for a misspelt name
        if given.size:
            raise ValueError(f"--size: {name} has no sizes by name; give its options, such as --options '{{...}}'")
        if not shape:
            raise ValueError(f"--shape: say what {name} is to see, such as --shape '[3, 32, 32]'")
        model = Choice(name, given.options).make("model", shape=shape, classes=given.classes or CLASSES, seed=0)
    about = f"{name} {given.size or ''}".strip()
    if isinstance(model, TokenModel):
        return _of_text(model, samples, steps, about)
    noise = torch.rand(1, samples, *features(shape), generator=torch.Generator().manual_seed(0))
    title = (
        f"{about}: untrained, normalised by what it sees: {samples} samples of uniform noise of {shape}, "
        f"the same at each of {steps} steps"
    )
    x = noise.expand(steps, *noise.shape[1:])
    settle(model, x)
    return inspect(model, x, title=title)


def _of_text(model: TokenModel, samples: int, steps: int, about: str) -> Inspection:
    """Show a model of text random tokens."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(model.tokens.num_embeddings, (steps, samples), generator=rng)
    title = f"{about}: untrained: {samples} samples of {steps} random tokens"
    if not model.causal:
        return inspect(model, x, title=title)
    return inspect(Streamed(model), x, title=f"{title}, one after the other")


def _drawn(found: Inspection, form: str) -> bytes:
    from io import BytesIO

    file = BytesIO()
    found.figure().savefig(file, format=form, dpi=150)
    return file.getvalue()
