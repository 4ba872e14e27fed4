"""Calling a model that may be independent of this package, with the arguments that it accepts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from rules.contract import Batch, Run, Trace
from rules.last_weight import last_trace, watched, weighs
from rules.optional import find_layers, offers, plain, recorder_of, takes, turned_inside
from rules.seeds import seeded
from rules.spikes.surrogate import differentiating
from rules.traces import alone, gathered
from rules.untouched import untouched


def as_run(returned: Any) -> Run:
    """Return the result of a model as a `Run` with output `[T, B, classes]`."""
    run = returned if isinstance(returned, Run) else Run(returned)
    if not isinstance(run.output, Tensor):
        known = list(returned) if isinstance(returned, Mapping) else []
        first = next((key for key in ("logits", "output") if key in known), known[0] if known else 0)
        raise TypeError(
            f"a model must return a tensor [T, B, classes] or [B, classes], or rules.Run; got {type(returned).__name__}"
            f": pick the output, as in model = rules.adapt(model, output={first!r})"
        )
    if run.output.ndim == 2:
        return run._replace(output=run.output[None])
    if run.output.ndim != 3:
        raise ValueError(
            f"model output has shape {tuple(run.output.shape)}; wanted [T, B, classes] or [B, classes]: "
            "flatten everything behind the batch axis in the last layer"
        )
    return run


def run_model(model: nn.Module, batch: Batch, record: bool | frozenset[str] = False) -> Run:
    """Run a model on a batch; `carry`, `lengths` and `record` are passed if its `forward` accepts them.

    Args:
        model: any `nn.Module`.
        batch: the input.
        record: whether to record traces, or the needs of an objective, which are recorded if they name `layers` or
            `features`. A model that records no traces by itself gets one, of the weight that it uses last
            (`rules.last_weight`), unless its layers are asked for.

    Raises:
        ValueError: if the output does not have one row for each label, or if there are no features.
    """
    wanted = frozenset({"layers" if records(model) else "features"}) if record is True else frozenset(record or ())
    own = "layers" in wanted or ("features" in wanted and traced(model, batch.x))
    inner = plain(model)
    if own and sequential(inner):
        return labelled(record_sequential(inner, batch.x), batch)  # type: ignore[arg-type]  # `sequential` has looked
    if own or "features" not in wanted & offers(model):
        return called(model, batch, record=own and takes(model, "record"))
    with watched(inner) as uses:
        run = called(inner, batch)
    return run._replace(traces=(last_trace(inner, uses, run, turned_inside(inner)),))


def called(model: nn.Module, batch: Batch, record: bool = False) -> Run:
    """Call a model, with the batch's carry and lengths if it takes them."""
    keywords: dict[str, Any] = {"carry": batch.carry} if takes(model, "carry") else {}
    keywords |= {"lengths": batch.lengths} if batch.lengths is not None and takes(model, "lengths") else {}
    keywords |= {"record": True} if record else {}
    try:
        returned = model(batch.x, **keywords)
    except (TypeError, RuntimeError) as error:
        explain(error, model, batch.x, keywords)
        raise
    return labelled(as_run(returned), batch)


def explain(error: Exception, model: nn.Module, x: Any, keywords: Mapping[str, Any]) -> None:
    """Raise TypeError with a remedy if a model failed because of the number or the dtype of its inputs."""
    name = type(plain(model)).__name__
    if isinstance(error, TypeError) and not (isinstance(x, Tensor) and binds(model, x, keywords)):
        held = f"dict with the keys {', '.join(map(repr, x))}" if isinstance(x, dict) else type(x).__name__
        raise TypeError(
            f"{name} cannot be called with one argument, a {held}: {error}. For several arguments let the loader yield "
            "a dict or a tuple of them and y, and write model = rules.adapt(model), which passes the entries of a dict "
            "by name and those of a tuple in order, or as inputs= says"
        ) from error
    odd = next((leaf.dtype for leaf in leaves(x) if not leaf.is_floating_point()), None)
    if odd is not None and ("dtype" in str(error) or "scalar type" in str(error)):
        remedy = "torch.view_as_real(x).flatten(-2)" if odd.is_complex else "x.float()"
        raise TypeError(
            f"x is {odd}, and {name} raised {error}. Whole numbers stay as they are, because they may be tokens, "
            f"and so do complex ones; for a layer that takes numbers with a fraction pass {remedy}"
        ) from error


def binds(model: nn.Module, x: Any, keywords: Mapping[str, Any]) -> bool:
    """Return whether `forward` takes one argument and these keywords."""
    try:
        inspect.signature(plain(model).forward).bind(x, **keywords)
    except TypeError:
        return False
    return True


def labelled(run: Run, batch: Batch) -> Run:
    """Return a run; raise ValueError if its output does not have one row for each label."""
    if (batch.y is None and batch.targets is None) or run.output.shape[1] == samples(batch):
        return run
    seen = f"input {shapes(batch.x)} gave output {tuple(run.output.shape)} for {samples(batch)} labels: "
    if not any(samples(batch) in leaf.shape[:2] for leaf in leaves(batch.x)):
        raise ValueError(seen + "no axis of the input counts as many samples; give one label for each sample")
    raise ValueError(
        seen + "arrays are time-first, [T, B, ...]; for batch-first data pass x.transpose(0, 1), and for a model that "
        "takes [B, T, ...] write model = rules.adapt(model, batch_first=True)"
        + ("" if batch.targets is None else "; for several answers of each sample pass rules.Batch(x, y)")
    )


def sequential(model: nn.Module) -> bool:
    """Return whether a model runs its children one after the other, and does nothing else."""
    return isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward


def records(model: nn.Module) -> bool:
    """Return whether a model records traces of its layers."""
    return sequential(plain(model)) or takes(model, "record")


def traced(model: nn.Module, x: Any) -> bool:
    """Return whether a model records traces by itself, whose last one has the features.

    Not if its layers cannot be found; nor for a plain `nn.Sequential`, whose read-out may lie inside a stage.
    """
    if sequential(inner := plain(model)):
        stages = [stage for stage in inner.children() if recorder_of(stage) is not None or [*stage.parameters()]]
        return any(map(recorder_of, stages)) and (recorder_of(stages[-1]) is not None or weighs(stages[-1]))
    if not takes(model, "record"):
        return False
    try:
        find_layers(model, x)
    except ValueError:  # its layers do not follow one another
        return False
    return True


def leaves(x: Any) -> list[Tensor]:
    """Return the tensors of an input: itself, or those in nested tuples, lists and dicts, in their order.

    >>> [len(leaf) for leaf in leaves({"image": torch.zeros(2), "parts": (torch.zeros(3), torch.zeros(4))})]
    [2, 3, 4]
    """
    found: list[Tensor] = []
    map_tensors(found.append, x)
    return found


def samples(batch: Batch) -> int:
    """Return the number of samples in a batch; without labels that of the first input, behind time if it has that."""
    if batch.y is not None:
        return len(batch.y)
    if batch.targets is not None:
        return batch.targets.shape[1]
    first = leaves(batch.x)[0]
    return first.shape[1] if first.ndim > (2 if first.is_floating_point() else 1) else len(first)


def shapes(x: Any) -> str:
    """Return the shapes of an input in words, for messages."""
    return " and ".join(str(tuple(leaf.shape)) for leaf in leaves(x))


def require_tensor(x: Any, rule: str) -> Tensor:
    """Return an input that is one tensor; raise ValueError for one of several parts, which `rule` cannot take."""
    if isinstance(x, Tensor):
        return x
    raise ValueError(
        f"{rule} works on one input tensor [T, B, ...], and this batch has a {type(x).__name__} of {len(leaves(x))}: "
        "join them, as in rules.Batch(torch.cat([x1, x2], -1), y), or use a rule that runs the whole model, such as "
        'rules.make("bptt") or rules.make("spsa")'
    )


def pieces(batch: Batch, size: int) -> Iterator[Batch]:
    """Yield a batch in pieces of `size` time steps, without the carry; the last one may be shorter.

    Lengths count from the beginning of the piece, and are not above 0 for samples that have ended.

    Raises ValueError for inputs of different numbers of steps.
    """
    found = {len(leaf) for leaf in leaves(batch.x)}
    if len(found) > 1:
        raise ValueError(
            f"inputs of shapes {shapes(batch.x)} cannot be cut into pieces of time together: give each as many steps, "
            "or leave window and checkpoint None"
        )
    for start in range(0, found.pop(), size):
        yield steps_from(batch, start, size)


def steps_from(batch: Batch, start: int, size: int) -> Batch:
    """Return `size` time steps of a batch from `start` on, without the carry.

    >>> steps_from(Batch(torch.zeros(5, 2, 1), lengths=torch.tensor([5, 3])), 4, 2).lengths
    tensor([ 1, -1])
    """
    cut = slice(start, start + size)
    return Batch(
        map_tensors(lambda leaf: leaf[cut], batch.x),
        batch.y,
        targets=None if batch.targets is None else batch.targets[cut],
        lengths=None if batch.lengths is None else batch.lengths - start,
        plain=map_tensors(lambda leaf: leaf[cut], batch.plain),
    )


def record_sequential(model: nn.Sequential, x: Tensor) -> Run:
    """Run stage by stage; a weighted stage and the unweighted ones behind it make one trace.

    A stage with `run(x, carry, record) -> Run` has traces of its own. Its weights that drive no neurons leave none, but
    for the last of all.
    """
    traces: list[Trace] = []
    loose: list[Trace] = []
    for name, stage in model._modules.items():  # named_children() would skip the second use of a stage
        assert stage is not None
        recorder = recorder_of(stage)
        if recorder is not None:
            run = recorder(x, None, True)
            x = run.output
            known = list(map(id, traces))
            traces = gathered(traces, run.traces, name)
            loose += [trace for trace in traces if id(trace) not in known and alone(trace)]
            continue
        weighted = isinstance(getattr(stage, "weight", None), nn.Parameter)
        pre, x = x, stage(x)
        if weighted:
            traces.append(Trace(f"{name}.weight", pre, x, x))
        elif traces:
            traces[-1] = traces[-1]._replace(post=x)
    dropped = {id(trace) for trace in loose} - {id(trace) for trace in traces[-1:]}
    traces = [trace for trace in traces if trace.weight and id(trace) not in dropped]
    timed = [trace if trace.post.ndim > 2 else Trace(trace.weight, *(a[None] for a in trace[1:])) for trace in traces]
    return as_run(x)._replace(traces=tuple(timed))


def map_tensors(change: Any, tree: Any) -> Any:
    """Apply `change` to every tensor of nested tuples, lists and dicts."""
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, dict):
        return {key: map_tensors(change, value) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [map_tensors(change, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return tree


def fold(module: nn.Module, x: Tensor) -> Tensor:
    """Apply a stateless module at every step of `[T, B, ...]`; once, if the input is constant in time (stride 0)."""
    if len(x) > 1 and x.stride(0) == 0:
        once = fold(module, x[:1])
        return once.expand(len(x), *once.shape[1:])
    y: Tensor = module(x.flatten(0, 1))
    return y.reshape(*x.shape[:2], *y.shape[1:])


def join(runs: list[Run]) -> Run:
    """Join consecutive pieces of a run into one."""
    if len(runs) == 1:
        return runs[0]
    by_layer = zip(*(run.traces for run in runs), strict=True)
    traces = tuple(Trace(t[0].weight, *(torch.cat(a) for a in zip(*(p[1:] for p in t), strict=True))) for t in by_layer)
    told = {name: _joined([run.internals[name] for run in runs]) for name in runs[-1].internals}
    told = {name: part for name, part in told.items() if part is not None}
    return Run(torch.cat([run.output for run in runs]), runs[-1].carry, traces, told)


def _joined(parts: list[Any]) -> Any:
    """Return what pieces of a run tell as one; None for tensors that do not fit, as attention to more and more keys."""
    if not isinstance(parts[-1], Tensor):
        return parts[-1]
    return torch.cat(parts) if len({part.shape[1:] for part in parts}) == 1 else None


@contextmanager
def looking(model: nn.Module, hooks: Mapping[nn.Module, Callable[..., None]]) -> Iterator[None]:
    """Register forward hooks in this context, in evaluation mode; afterwards the model is as it was.

    Without directions of forward mode, which a rule's own spikes may carry and these do not.
    """
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    evaluating = differentiating(generator=seeded(0, "look"), evaluating=True)
    try:
        with untouched(model), evaluating, forward_ad._set_fwd_grad_enabled(False):
            model.eval()
            yield
    finally:
        for handle in handles:
            handle.remove()
