"""What a microscope saw, where one was there: the cosine of credit with a reference, layer by layer, while learning."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sandbox.report import interactive
from sandbox.report.canvas import Curve, Drawing, Plot, lines

NAME = "microscope.jsonl"  # in the folder of a run: a line a step, layer and reference
Looks = Mapping[str, Sequence[list[dict[str, Any]]]]  # rule -> a list of lines for each seed


def read_looks(path: Path) -> list[dict[str, Any]]:
    """The lines that say where and what was seen; none without a microscope, or where they are damaged."""
    if not path.exists():
        return []
    try:
        found = [json.loads(line) for line in path.read_text().splitlines()]
    except json.JSONDecodeError:
        return []
    return [line for line in found if {"step", "layer", "reference", "cosine"} <= set(line)]


def drawings(looks: Looks, task: str) -> tuple[Drawing, ...]:
    """For each reference and layer a plot of the cosine while learning, with its numbers; none without looks."""
    places = dict.fromkeys((line["reference"], line["layer"]) for seeds in looks.values() for s in seeds for line in s)
    return tuple(_drawing(looks, task, *place) for place in places)


def _drawing(looks: Looks, task: str, reference: str, layer: str) -> Drawing:
    found = {rule: curve for rule, seeds in looks.items() if (curve := _curve(seeds, reference, layer)) is not None}
    means = {rule: float(np.mean([seed[-1] for seed in curve.seeds])) for rule, curve in found.items()}
    ends = "; ".join(f"{rule} ends at {mean:.2f}" for rule, mean in means.items())
    message = f"{task}: does the credit of {layer} point along {reference}? 1 is along it, 0 across"
    axes = ("steps of training before the look", "cosine")
    figure = interactive.curves(found, *axes, yaxis={"range": [-1.08, 1.08]})
    return Drawing(
        f"microscope_{reference}_{layer}".replace(" ", "_").replace("/", "_"),
        None,
        lines(
            {"rule": rule, "step": step, "seed": number, "cosine": seed[place]}
            for rule, curve in found.items()
            for number, seed in enumerate(curve.seeds)
            for place, step in enumerate(curve.x)
        ),
        f"Cosine of the credit of {layer} with {reference} against steps. {ends}.",
        Plot(message, figure),
    )


def _curve(seeds: Sequence[list[dict[str, Any]]], reference: str, layer: str) -> Curve | None:
    """The steps that every seed was looked at."""
    mine = [{line["step"]: line["cosine"] for line in seed if (line["reference"], line["layer"]) == (reference, layer)}
            for seed in seeds]  # fmt: skip
    steps = sorted(set.intersection(*(set(seed) for seed in mine))) if mine else []
    if not steps:
        return None
    return Curve(steps, [[math.nan if seed[step] is None else seed[step] for step in steps] for seed in mine])
