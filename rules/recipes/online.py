"""Rules that learn through time from what is known at each step: traces of the past times signals of the present."""

from __future__ import annotations

from rules.credit.online import Online, Spatial
from rules.objectives import OBJECTIVES
from rules.plasticity import Adam
from rules.recipes.base import LearningRule, Loss, pick, timed
from rules.recipes.optimizers import optimised
from rules.spikes.surrogate import Surrogate


@timed
@optimised("adam")
def rtrl(
    *,
    lr: float = 5e-3,
    objective: Loss = "tet",
    surrogate: str | Surrogate | None = None,
    detach_reset: bool = False,
    weight_decay: float = 0.0,
) -> LearningRule:
    """Real-time recurrent learning, the gradient of BPTT carried forward, for small networks, Adam."""
    return online(Online("influence", surrogate=surrogate, detach_reset=detach_reset), lr, objective, weight_decay)


@timed
@optimised("adam")
def uoro(
    *,
    lr: float = 5e-3,
    objective: Loss = "tet",
    surrogate: str | Surrogate | None = None,
    detach_reset: bool = False,
    weight_decay: float = 0.0,
) -> LearningRule:
    """Unbiased online recurrent optimisation: RTRL's influence as one outer product of random signs, Adam."""
    return online(Online("rank_one", surrogate=surrogate, detach_reset=detach_reset), lr, objective, weight_decay)


@timed
@optimised("adam")
def snap1(
    *,
    lr: float = 5e-3,
    objective: Loss = "tet",
    surrogate: str | Surrogate | None = None,
    detach_reset: bool = False,
    weight_decay: float = 0.0,
) -> LearningRule:
    """RTRL with the entries alone that one step can reach, a cell's recurrent weight to itself included, Adam."""
    credit = Online(surrogate=surrogate, detach_reset=detach_reset, own_recurrence=True)
    return online(credit, lr, objective, weight_decay)


@timed
@optimised("adam")
def eprop(
    *,
    lr: float = 5e-3,
    signal: str = "symmetric",
    objective: Loss = "tet",
    filter: str | None = "readout",
    depth: str = "spatial",
    surrogate: str | Surrogate | None = None,
    detach_reset: bool = True,
    rate: float = 0.0,
    target_rate: float = 0.01,
    decay: float = 1e-3,
    weight_decay: float = 0.0,
) -> LearningRule:
    """e-prop: traces of each cell's own past, low-passed as the read-out is, times errors at the output, Adam.

    With signal "adaptive" the feedback weights of the last hidden layer follow the read-out's updates, and both lose
    `decay` in each update; `weight_decay` is then `decay / lr`.
    """
    credit = Online(
        "synapse", signal, filter, depth, surrogate, detach_reset, rate=rate, target_rate=target_rate, decay=decay
    )
    return online(credit, lr, objective, weight_decay)


@timed
@optimised("adam")
def ostl(
    *,
    lr: float = 5e-3,
    signal: str = "symmetric",
    objective: Loss = "tet",
    surrogate: str | Surrogate | None = None,
    detach_reset: bool = True,
    weight_decay: float = 0.0,
) -> LearningRule:
    """OSTL: traces of each cell's own past times errors backpropagated within the step, Adam."""
    return online(
        Online("synapse", signal, surrogate=surrogate, detach_reset=detach_reset), lr, objective, weight_decay
    )


@timed
@optimised("adam")
def otpe(
    *,
    lr: float = 5e-3,
    approximate: bool = False,
    objective: Loss = "tet",
    surrogate: str | Surrogate | None = None,
    weight_decay: float = 0.0,
) -> LearningRule:
    """OTPE: traces of what the next layer will remember of an output, Adam.

    Args:
        lr: learning rate.
        approximate: whether the input alone is filtered, in place of the whole trace.
        objective: the loss to minimise.
        surrogate: replaces every neuron's own surrogate; None keeps those.
        weight_decay: decay rate of the weights.
    """
    trace = "presynaptic" if approximate else "synapse"
    return online(Online(trace, filter="next", surrogate=surrogate), lr, objective, weight_decay)


@timed
@optimised("adam")
def ottt(
    *,
    lr: float = 5e-3,
    signal: str = "symmetric",
    objective: Loss = "tet",
    surrogate: str | Surrogate | None = None,
    weight_decay: float = 0.0,
) -> LearningRule:
    """OTTT: the input filtered by the membrane's leak times errors backpropagated within the step, Adam."""
    return online(Online("presynaptic", signal, surrogate=surrogate), lr, objective, weight_decay)


@timed
@optimised("adam")
def sltt(
    *,
    lr: float = 5e-3,
    signal: str = "symmetric",
    objective: Loss = "tet",
    surrogate: str | Surrogate | None = None,
    weight_decay: float = 0.0,
) -> LearningRule:
    """SLTT: errors backpropagated within the step, without any trace; for any model with a carry, Adam.

    Args:
        lr: learning rate.
        signal: "symmetric"; any other of `Online` wants layers of cells, as the other online rules do.
        objective: the loss to minimise.
        surrogate: replaces every neuron's own surrogate; None keeps those.
        weight_decay: decay rate of the weights.
    """
    credit = Spatial(surrogate) if signal == "symmetric" else Online("step", signal, surrogate=surrogate)
    return online(credit, lr, objective, weight_decay)


@timed
@optimised("adam")
def decolle(
    *, lr: float = 5e-3, objective: Loss = "tet", surrogate: str | Surrogate | None = None, weight_decay: float = 0.0
) -> LearningRule:
    """DECOLLE: filtered input times a loss of each layer's own, at a fixed random read-out, Adam."""
    return online(Online("presynaptic", "local", surrogate=surrogate), lr, objective, weight_decay)


@timed
@optimised("adam")
def three_factor(
    *,
    lr: float = 5e-3,
    objective: Loss = "tet",
    surrogate: str | Surrogate | None = None,
    detach_reset: bool = True,
    weight_decay: float = 0.0,
) -> LearningRule:
    """Traces of each cell's own past times one reward for all: `batch.targets`, or whether a step is right, Adam."""
    credit = Online("synapse", "reward", surrogate=surrogate, detach_reset=detach_reset)
    return online(credit, lr, objective, weight_decay)


def online(credit: Online | Spatial, lr: float, objective: Loss, weight_decay: float) -> LearningRule:
    """Build an online rule: its credit with Adam, which shrinks weights as adaptive feedback shrinks."""
    if isinstance(credit, Online) and credit.signal == "adaptive":
        if weight_decay:
            raise ValueError(
                f"weight_decay={weight_decay} with signal='adaptive', which sets it to decay / lr: leave it out"
            )
        if not lr > 0:
            raise ValueError(f"lr={lr}: signal='adaptive' shrinks weights with every update, so give a rate above 0")
        weight_decay = credit.decay / lr
    return LearningRule(pick("objective", OBJECTIVES, objective), credit, Adam(lr, weight_decay=weight_decay))
