"""Code of steps in stages beside that of Brian2, statement for statement run on the same numbers."""

from __future__ import annotations

import math

import pytest

b2 = pytest.importorskip("brian2")

from sandbox.reference.compiler.explicit import updater_of  # noqa: E402

MODELS = {
    "one": "dv/dt = -v / tau : 1",
    "two that depend on each other": "dv/dt = (v*w - v**3)/tau : 1\ndw/dt = (v - w*exp(-v))/tau : 1",
    "subexpressions within one another": "dv/dt = (s*v - s)/tau : 1\ns = r**2 - w : 1\nr = v + w : 1\ndw/dt = -w*r/tau : 1",
    "one that nothing reads": "dv/dt = -v/tau : 1\ns = v**2 : 1",
    "the time": "dv/dt = (sin(t/tau) - v*cos(2*t/tau))/tau : 1",
    "a name twice": "dv/dt = -(v - a)*(v + a)/tau : 1\na = v*t/tau : 1",
    "signs and powers": "dv/dt = -v**2/tau - -v/tau : 1",
    "conditions": "dv/dt = (int(v > w)*w - v)/tau : 1\ndw/dt = (int(not (v < 1 and w > 0)) - w)/tau : 1",
    "a parameter": "dv/dt = (p - v)/tau : 1\np : 1",
    "over one step": "dv/dt = (s - v)/tau : 1\ns = v**2 : 1 (constant over dt)",
    "a function of two": "dv/dt = clip(v*w, -0.3, 0.4)/tau : 1\ndw/dt = -w/tau : 1",
}
VALUES = {"v": 0.7, "w": -0.4, "p": 1.3, "s": 0.49, "tau": 3.0, "t": 2.0, "dt": 0.5}
FUNCTIONS = {name: getattr(math, name) for name in ("exp", "sin", "cos", "sqrt")} | {
    "clip": lambda x, low, high: min(max(x, low), high)
}


def ended(code, **drawn):
    """The values after statements."""
    space = FUNCTIONS | VALUES | drawn
    for line in code.splitlines():
        exec(line, {}, space)
    return {name: space[name] for name in VALUES}


@pytest.mark.parametrize("method", ["rk2", "rk4"])
@pytest.mark.parametrize("name", MODELS)
def test_a_step_is_that_of_brian2(name, method):
    """A few roundings apart, of values near 1."""
    equations = b2.Equations(MODELS[name])
    code = updater_of(method, equations)(equations)
    found, wanted = ended(code), ended(b2.StateUpdateMethod.stateupdaters[method](equations, {}))
    assert found == pytest.approx(wanted, rel=1e-14)
    assert found["v"] != VALUES["v"]


NOISY = {
    "additive": "dv/dt = -v/tau + a*xi*tau**-0.5 : 1\ndw/dt = (v - w)/tau : 1\na = 0.3 + 0.1*t/tau : 1",
    "multiplicative": "dv/dt = -v/tau + v**2*xi*tau**-0.5 : 1\ndw/dt = (v - w)/tau : 1",
    "one for each": "dv/dt = (w - v)/tau + v*w*xi_1*tau**-0.5 : 1\ndw/dt = (v - w)/tau - w**2*xi_2/tau**0.5 : 1",
    "times a subexpression": "dv/dt = -(v - s*xi*tau**0.5/2)/tau : 1\ns = w + v**2 : 1\ndw/dt = -w*v/tau : 1",
    "nothing else": "dv/dt = -v*xi/tau**0.5 : 1",
    "a sum as a factor": "dv/dt = ((v - 1)*-xi - v + +xi)*v/tau**0.5 : 1",
    "behind a condition": "dv/dt = int(v < 1)*(exp(-v) - v*xi)*tau**-0.5 : 1",
}
SHARED = {
    "two in an equation": "dv/dt = -v/tau + (v*xi_1 + xi_2*v**2/2)*tau**-0.5 : 1\ndw/dt = -w/tau + v*xi_2/tau**0.5 : 1",
    "two in one": "dv/dt = -v/tau + (xi_1 + xi_2*v**2)*tau**-0.5 : 1",
    "one in two": "dv/dt = v*xi_1/tau**0.5 : 1\ndw/dt = -w/tau + w*xi_1/tau**0.5 : 1",
}


@pytest.mark.parametrize(
    ("method", "name"),
    [("milstein", name) for name in NOISY] + [("heun", name) for name in {**NOISY, **SHARED}],
)
def test_a_noisy_step_is_that_of_brian2(method, name):
    equations = b2.Equations({**NOISY, **SHARED}[name])
    code = updater_of(method, equations)(equations)
    theirs = b2.StateUpdateMethod.stateupdaters[method](equations, {"dt": None, "t": None})
    noises = sorted(equations.stochastic_variables)
    drawn = {f"{noise} = dt**.5 * randn()" for noise in noises}
    assert set(code.splitlines()[: len(noises)]) == drawn == set(theirs.splitlines()[: len(noises)])
    dw = dict(zip(noises, (0.6, -1.1), strict=False))
    found, wanted = (ended("\n".join(each.splitlines()[len(noises) :]), **dw) for each in (code, theirs))
    assert found == pytest.approx(wanted, rel=1e-13)
    still = ended("\n".join(code.splitlines()[len(noises) :]), **dict.fromkeys(dw, 0.0))
    assert found["v"] != still["v"]


@pytest.mark.parametrize("name", SHARED)
def test_milstein_is_for_one_noise_in_each_equation(name):
    assert updater_of("milstein", b2.Equations(SHARED[name])) == "milstein"


@pytest.mark.parametrize("noise", ["exp(xi)", "xi**2", "1/xi", "xi*xi_2", "xi**1"])
def test_noise_that_is_not_a_factor_is_left_to_brian2(noise):
    equations = b2.Equations(f"dv/dt = -v/tau + {noise}/tau : 1")
    assert updater_of("heun", equations) == "heun"


def test_a_subexpression_is_written_once_for_a_stage():
    equations = b2.Equations(MODELS["subexpressions within one another"])
    code = updater_of("rk4", equations)(equations)
    assert [code.count(f"__s_{stage}_{name} = ") for name in "rs" for stage in (1, 2, 3, 4)] == [1] * 8


@pytest.mark.parametrize(
    "text", ["dv/dt = -v/tau + xi*tau**-0.5 : 1", "dv/dt = (rand() - v)/tau : 1", "dv/dt = s/tau : 1\ns = randn() : 1"]
)
def test_noise_and_draws_are_left_to_brian2(text):
    assert updater_of("rk4", b2.Equations(text)) == "rk4"
    assert updater_of("euler", b2.Equations("dv/dt = -v/tau : 1")) == "euler"


@pytest.mark.parametrize("side", ["floor(t/tau) - v", "int(t > 3*tau)*v", "v*(t % tau)", "s", "int(lastspike < 2)*v"])
def test_moments_that_decide_are_left_to_brian2(side):
    equations = b2.Equations(
        f"dv/dt = ({side})/tau : 1\ns = t//tau : 1" if side == "s" else f"dv/dt = ({side})/tau : 1"
    )
    assert updater_of("rk2", equations) == "rk2"
