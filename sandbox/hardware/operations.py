"""Energy of the operations of one layer in one update, engine by engine, for a learning rule."""

from __future__ import annotations

from dataclasses import replace

from sandbox.hardware.constants import Hardware
from sandbox.hardware.plans import Plan
from sandbox.hardware.workload import WORD, Layer
from sandbox.ledger.training import Training, of_layer


def operations(layer: Layer, plan: Plan, hardware: Hardware, classes: int, last: bool) -> Training:
    """Estimate the energy of operations: synapses and cells, what the rule adds, and batch normalisation.

        E_FP = passes (T d C K r_s e_AC b/16 + T K e_soma_fp) + probes d C K e_add
        E_BP = T_b d C K r_g e_MAC + T_b K e_soma_bp + T K (n_out e_MAC + e_adjoint)
        E_WG = T_w d C K r_s r_g e_AC' + T (traces C + cell traces K + eligibilities d C K) e_MAC

    The shares are 1 where the hardware does not skip the zero. Parallel neurons take `reach` multiply-accumulates for
    each output, forward and back, in place of the step of a neuron.

    Args:
        layer: its sizes and shares.
        plan: of the learning rule.
        hardware: the constants, and the zeros that are skipped.
        classes: n_out, outputs of the network.
        last: whether this is the last layer.

    Reference: our own formula, after arXiv 2204.05422. A weight of b bits is taken to need b/16 of an addition. The
    rate of spikes is used for graded traces too, which are not zero for longer: a lower bound for these.
    """
    over, skips, engines = plan.over(layer.steps), hardware.skips, hardware.engines
    if layer.reach is not None:
        engines = replace(engines, soma_forward=layer.reach * engines.mac, soma_backward=layer.reach * engines.mac)
    narrow = replace(engines, ac=engines.ac * layer.bits / WORD)
    ahead = of_layer(layer.synapses(skips.forward, False), over, narrow).forward
    sent = replace(layer.synapses(False), errors=plan.arriving(layer) if skips.backward else 1.0)
    back = of_layer(sent, over, engines, layer.passes and plan.down).backward
    gated = replace(layer.synapses(skips.weight_spikes), errors=plan.gating(layer) if skips.weight_errors else 1.0)
    learned = of_layer(gated, over, engines).weight if last or not plan.last else 0.0
    norm = _normalisation(layer, hardware)
    return Training(
        ahead + (1 + over.probes) * norm[0] + plan.nudges * over.probes * layer.parameters * hardware.add,
        back + over.backward * norm[1] + _brought(layer, plan, classes, last) * engines.mac,
        learned + _traced(layer, plan) * engines.mac,
    )


def _brought(layer: Layer, plan: Plan, classes: int, last: bool) -> float:
    """Return the multiply-accumulates that bring errors to cells directly, and those of an adjoint state."""
    cells = layer.batch * layer.steps * layer.cells
    hidden = not (last and layer.cells == classes)  # the last cells have the error
    return cells * (plan.direct * classes * hidden + plan.adjoint)


def _traced(layer: Layer, plan: Plan) -> float:
    """Return the multiply-accumulates of all traces."""
    each = plan.traces * layer.afferents + plan.cell_traces * layer.cells + plan.eligibility * layer.parameters
    return layer.batch * layer.steps * each


def _normalisation(layer: Layer, hardware: Hardware) -> tuple[float, float]:
    """Return the energy of batch normalisation, forward and back; 0 where it is absent or square roots have no price.

    For each number 3 additions and 3 multiplications, back 7 and 3; for each channel and step 2 additions, 4
    multiplications and a square root, back 22 multiplications. Reference: the preset "NeuroMC", read in its code.
    """
    if not layer.normed or hardware.root is None:
        return 0.0, 0.0
    numbers, channels = layer.batch * layer.steps * layer.cells, layer.outputs * layer.steps
    add, multiply = hardware.add, hardware.multiply
    ahead = numbers * 3 * (add + multiply) + channels * (2 * add + 4 * multiply + hardware.root)
    return ahead, numbers * (7 * add + 3 * multiply) + channels * 22 * multiply
