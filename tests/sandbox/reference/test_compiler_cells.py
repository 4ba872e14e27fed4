"""Cells of compiled neurons in half precision, and constants and initial values for another number of cells."""

import brian2 as b2
import pytest
import torch
from brian2 import ms, mV

from sandbox import build, scan, validate
from sandbox.reference import from_brian2

MOVES = "dv/dt = (20*mV + R*I - v)/tau : volt"
CELL = {"threshold": "v > 15*mV", "reset": "v = 0*mV", "namespace": {"tau": 10 * b2.ms, "R": 10 * b2.Mohm}}
CONSTANTS = {"E_l": -60 * mV, "E_e": 0 * mV, "E_i": -80 * mV}
SYNAPTIC = """
dv/dt = (E_l - v + ge*(E_e - v) + gi*(E_i - v)) / (20*ms) : volt (unless refractory)
dge/dt = -ge / (5*ms) : 1
dgi/dt = -gi / (10*ms) : 1
"""


@pytest.mark.parametrize("reset", ["v = E_l", "v = E_l; ge = 0.5*ge; gi *= 2"])
def test_conductances_in_half_precision(reset, rng):
    cell = from_brian2(
        SYNAPTIC,
        "v > -50*mV",
        reset,
        5 * ms,
        "exponential_euler",
        CONSTANTS,
        jumps={"excitation": "ge", "inhibition": "gi"},
        initial={"v": -60 * mV},
    )
    x = torch.rand(400, 2, 30, 2, generator=rng) * torch.tensor([0.1, 0.01])
    count = scan(cell, x, dt=0.1)[0].sum()
    for dtype, near in ((torch.float16, 0.1), (torch.bfloat16, 0.2)):  # 11 and 8 bits, of which a spike may take many
        currents = x.to(dtype).requires_grad_()
        spikes = scan(cell, currents, dt=0.1)[0]
        assert spikes.dtype == dtype
        assert float(spikes.float().sum()) == pytest.approx(float(count), rel=near)
        spikes.sum().backward()
        assert torch.isfinite(currents.grad).all()


def test_constants_that_float16_cannot_hold_are_refused():
    cell = from_brian2("dv/dt = (a*current/nA - v)/ms : 1", "v > 1", "v = 0", namespace={"a": 1e6}, method="euler")
    assert scan(cell, torch.ones(3, 2), dt=0.1)[0].sum() == 6
    with pytest.raises(
        ValueError, match=r"is 100000 in house units, and torch.float16 ends at 65504: use torch.bfloat16"
    ):
        scan(cell, torch.ones(3, 2, dtype=torch.float16), dt=0.1)


def test_the_moment_of_a_spike_that_never_was_fits_half_precision():
    cell = from_brian2("dv/dt = current/nA/ms : 1", "v > 1 and t - lastspike > 1*ms", "v = 0", 1 * ms)
    for dtype in (torch.float32, torch.float16):
        assert scan(cell, torch.ones(40, 2, dtype=dtype), dt=0.1)[0].sum() > 2


CELLS_OF_TWO_SIZES = {
    "a constant": lambda cell: cell.with_parameters(tau=torch.full((5,), 10.0)),
    "a refractory time": lambda cell: cell.with_parameters(t_refractory=torch.full((5,), 2.0)),
}


@pytest.mark.parametrize("case", CELLS_OF_TWO_SIZES)
def test_values_for_another_number_of_cells_are_refused_at_the_first_use(case):
    cell = from_brian2(MOVES, **CELL, input="I", refractory=1 * ms)
    other = CELLS_OF_TWO_SIZES[case](cell)
    both = r"has (a value for each of 5 cells, in )?shape \(5,\), and (there are 3, in shape|the cells have) \(2, 3\)"
    like, current = torch.zeros(1), torch.ones(2, 3)
    uses = [
        lambda: other.initial_state((2, 3), like),
        lambda: other.step(current, cell.initial_state((2, 3), like), 0.1),
        lambda: scan(other, torch.ones(4, 2, 3), dt=0.1),
        lambda: build((4,), 2, hidden=(3,), neuron=other)(torch.ones(5, 2, 4)),
    ]
    for use in uses:
        with pytest.raises(ValueError, match=both):
            use()
    assert other.initial_state((2, 5), like).v.shape == (2, 5)


def test_initial_values_for_another_number_of_cells_are_refused_at_the_first_use():
    cell = from_brian2(MOVES, **CELL, input="I", initial={"v": [1, 2, 3, 4] * mV})
    with pytest.raises(
        ValueError, match=r"initial v has a value for each of 4 cells.* and there are 3, in shape \(2, 3\)"
    ):
        scan(cell, torch.ones(4, 2, 3), dt=0.1)


REFRACTORY = [  # time or condition, threshold, what is behind the equation of a jump
    ("(1 + 2*rand())*ms", "v > 15*mV", ""),
    ("2*ms + poisson(3)*ms", "v > 15*mV + rand()*mV", ""),
    ("2*ms*g", "v > 15*mV", ""),
    ("2*ms*g", "v > 15*mV", " (unless refractory)"),
    ("g > 0.5", "v > 15*mV", ""),
]


@pytest.mark.parametrize(("refractory", "threshold", "flag"), REFRACTORY)
def test_refractory_times_of_draws_and_of_what_is_added_beside_brian2(refractory, threshold, flag):
    """Both read the same stored draws; an input is added to `g` at the start of each step."""
    cell = from_brian2(
        f"dv/dt = (60*mV - v)/(10*ms) : volt (unless refractory)\ndg/dt = (1 - g)/(20*ms) + 0.1*xi*ms**-0.5 : 1{flag}",
        threshold,
        "v = 0*mV; g += 0.1*rand()",
        refractory,
        "euler",
        input="kick",
        jumps="g",
    )
    report = validate(cell, cells=3, duration=40.0, tiers=("same_scheme",))
    assert report.passed, report
    assert report.spikes > 10
