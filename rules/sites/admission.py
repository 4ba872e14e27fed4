"""What a local rule asks of a batch, and of the trainable parameters of a model."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from rules.contract import Batch
from rules.forward import require_tensor, run_model
from rules.models.admission import UnfitModel
from rules.optional import plain, shape_of
from rules.sites.site import Site
from rules.synapses import Changes


def arranged(model: nn.Module, batch: Batch) -> Tensor:
    """Return an input `[T, B, *shape]`, of the shape of a sample that the model declares.

    Raises:
        ValueError: for an input of another size, without time, or of whole numbers: in the words of the model if it
            refuses it too, since a rule that runs layer by layer does not call it.
    """
    x, shape = require_tensor(batch.x, "a local rule"), shape_of(plain(model))
    if shape is None:
        return x
    if x.ndim < 3 or prod(x.shape[2:]) != prod(shape) or not x.is_floating_point():
        run_model(model, batch)
        raise ValueError(
            f"input has shape {tuple(x.shape)} and dtype {x.dtype}; a local rule hands the layers of "
            f"{type(plain(model)).__name__} numbers with a fraction, [T, B, {', '.join(map(str, shape))}], as its "
            "`shape` says: x.float(), and time first, x.transpose(0, 1)"
        )
    return x.reshape(*x.shape[:2], *shape)


def as_options(model: nn.Module, names: list[str]) -> str:
    """Return how a command says that numbers of cells are constants; empty where none of these is one."""
    changes = {id(p) for part in model.modules() if isinstance(part, Changes) for p in part.parameters(recurse=False)}
    own = sorted({name.rpartition(".")[2] for name in names if id(model.get_parameter(name)) in changes})
    given = ", ".join(f"{name}: NUMBER" for name in own)
    return f"; on the command line, numbers in their place do: --network.neuron.options='{{{given}}}'" if own else ""


def require_learned(model: nn.Module, places: list[Site]) -> None:
    """Raise UnfitModel for a model with trainable parameters that no trace belongs to, such as constants of cells."""
    known = {name for site in places for name in site.parameters()}
    left = [name for name, p in plain(model).named_parameters() if p.requires_grad and name not in known]
    if left:
        raise UnfitModel(
            f"{', '.join(left[:4])}{' and others' * (len(left) > 4)} of {type(plain(model)).__name__} would stay as "
            "they are, because traces belong to the weights of synapses: rules.make('bptt') trains them, and "
            f"model.get_parameter({left[0]!r}).requires_grad_(False) says that they are constants"
            f"{as_options(plain(model), left)}"
        )
