"""What NIR has no field for, as text in the metadata of a node: which cell it was, its reset, what it learned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.neurons import NEURONS, Cell, learnable
from sandbox.neurons.learnable import Learnable

KEY = "sandbox"  # in the metadata of a graph or node
FORMAT = 1


def noted(**entries: Any) -> dict[str, str]:
    """Return metadata with these entries.

    >>> noted(bias=False)
    {'sandbox': '{"format": 1, "bias": false}'}
    """
    return {KEY: json.dumps({"format": FORMAT, **entries})}


def notes(name: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the entries of our metadata, empty where there are none.

    Raises:
        ValueError: for text that is not ours, and for a newer format.

    >>> notes("graph", noted(dt=1.0))["dt"]
    1.0
    """
    text = metadata.get(KEY)
    if text is None:
        return {}
    try:
        found = json.loads(text)
        form = found["format"]
    except (TypeError, ValueError, KeyError):
        raise ValueError(
            f"the metadata {KEY!r} of {name} cannot be read: {text!r:.60}; remove it with "
            f"metadata.pop({KEY!r}), and the parameters of the node count"
        ) from None
    if form != FORMAT:
        raise ValueError(f"the metadata of {name} has format {form}, and this version reads {FORMAT}: update it")
    return dict(found)


def encoded(cell: Cell, marked: Mapping[str, Learnable]) -> dict[str, Any]:
    """Return a cell as plain data; `marked` are the fields that it learns.

    >>> from sandbox.neurons import LIF
    >>> encoded(LIF(), {})["kind"]
    'lif'
    """
    kind = next(name for name, known in NEURONS.items() if known is type(cell))
    learned = [name for name, mark in marked.items() if not mark.shape]
    return {"kind": kind, "fields": {f.name: _plain(getattr(cell, f.name)) for f in fields(cell)}, "learned": learned}


def decoded(name: str, data: Mapping[str, Any]) -> Cell:
    """Return the cell that `encoded` wrote.

    Raises:
        ValueError: for a cell or a field that this version does not have.

    >>> from sandbox.neurons import LIF
    >>> decoded("lif", encoded(LIF(tau_mem=7.0, reset="subtract"), {})) == LIF(tau_mem=7.0, reset="subtract")
    True
    """
    if data.get("kind") not in NEURONS:
        raise ValueError(
            f"node {name!r} was a cell {data.get('kind')!r}, which this version does not have: remove its metadata "
            f"{KEY!r}, and the parameters of the node count"
        )
    values = {key: _value(value) for key, value in data["fields"].items()}
    values |= {key: learnable(float(values[key])) for key in data["learned"]}
    try:
        return NEURONS[data["kind"]](**values)
    except TypeError as error:
        raise ValueError(f"the metadata {KEY!r} of node {name!r} does not fit this version: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Surrogate):
        return {"surrogate": value.name, "normalize": value.normalize, "parameters": dict(value.parameters)}
    if isinstance(value, Tensor) and value.ndim:
        return {"tensor": value.detach().double().tolist()}
    return float(value) if isinstance(value, (Tensor, Learnable)) else value


def _value(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return torch.tensor(value["tensor"], dtype=torch.float64)
    return Surrogate(value["surrogate"], normalize=value["normalize"], **value["parameters"])
