"""Every neuron and every equation in this repository has a kernel, or a documented reason why not."""

from __future__ import annotations

import ast
import json
import re
from functools import partial
from pathlib import Path

import pytest
import torch

from sandbox.kernels import plans
from sandbox.kernels.unsupported import Unsupported
from sandbox.neurons import IN_BRIAN2
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import variables
from sandbox.neurons.stepping import body_of

ROOT = Path(__file__).parents[3]
WITHOUT: dict[str, str] = {}  # neurons without a kernel, by name: the reason, as `auto` logs it


def reason(neuron, dt=0.05):
    """Why a neuron has no kernel that records all variables, in either precision; None if it has one."""
    for dtype in (torch.float32, torch.float64):
        state = neuron.initial_state((1,), torch.zeros(1, dtype=dtype))
        record = tuple(variables(state))
        try:
            plans.planned(neuron, partial(body_of, record, True), (record, True), dtype, state, dt)
        except Unsupported as why:
            return str(why)
    return None


def hold(name, neuron, dt=0.05):
    assert reason(neuron, dt) == WITHOUT.get(name), name


@pytest.mark.parametrize("name", IN_BRIAN2)
def test_every_neuron_of_the_library(name):
    hold(name, IN_BRIAN2[name]())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in IN_BRIAN2 if name != "alpha_lif"])  # SymPy takes 7 s
def test_every_neuron_of_the_library_from_its_equations(name):
    from tests.sandbox.reference.test_compiler import compiled

    hold(f"{name}, compiled", compiled(IN_BRIAN2[name]()))


@pytest.mark.slow
def test_every_model_of_the_tests():
    b2 = pytest.importorskip("brian2")
    from sandbox.reference import from_brian2
    from tests.sandbox.reference import test_compiler as recipes
    from tests.sandbox.reference import test_compiler_models as models

    assert len(models.MODELS) > 10
    for name, case in models.MODELS.items():
        hold(name, from_brian2(**case.model), case.dt)
    for method, equations in models.NOISY.items():
        space = {"tau": 10 * b2.ms, "sigma": 2 * b2.mV}
        hold(f"noise, {method}", from_brian2(equations, method=method, namespace=space, initial={"v": 1.0}))
    for name, recipe in (("adex", recipes.ADEX), ("coba", recipes.COBA)):
        hold(name, from_brian2(**recipe))


def test_a_random_threshold():
    """Random numbers alone decide whether it fires."""
    pytest.importorskip("brian2")
    from sandbox.reference import from_brian2

    hold("poisson", from_brian2("dv/dt = -v / (10*ms) : 1", "rand() < 0.5*kHz * dt", "v += 1"))


@pytest.mark.parametrize("method", ["euler", "rk2", "rk4"])
def test_products_of_variables_and_of_learned_parameters(method):
    """`addcmul` and `addcdiv`, and a constant that is a tensor."""
    pytest.importorskip("brian2")
    from sandbox.reference import from_brian2

    cell = from_brian2(
        "dv/dt = (a*v*w - v/(1 + w*w) + 0.3*w*w + current/nA)/(5*ms) : 1\ndw/dt = (b*v - w)/(60*ms) : 1",
        threshold="v > 1",
        reset="v = 0",
        method=method,
        namespace={"a": 0.5, "b": 0.8},
    )
    hold("products", cell)
    hold("learned", cell.with_parameters(a=torch.tensor(0.5, requires_grad=True), b=torch.tensor([0.8])))


def code_of(path):
    """The blocks of Python in a page or a notebook."""
    if path.suffix == ".ipynb":
        return [
            "".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"
        ]
    return re.findall(r"^```python[^\n]*\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def defined(block, imports):
    """The neurons that a block defines: it is run after the imports, without calls that simulate, check or train."""
    kept = ast.parse(block)
    kept.body = [
        node
        for node in kept.body
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef))
        or (isinstance(node, ast.Assign) and not re.search(r"scan|validate|simulate|Trainer", ast.unparse(node)))
    ]
    space = {"__name__": "__main__"}  # a dataclass looks its module up
    exec(imports, space)
    exec(compile(kept, "page", "exec"), space)
    found = [value for value in space.values() if isinstance(value, Neuron)]
    kinds = [value for value in space.values() if isinstance(value, type) and issubclass(value, Neuron)]
    return found + [kind() for kind in kinds if kind is not Neuron]


def test_every_neuron_of_the_pages_and_notebooks():
    pytest.importorskip("brian2")
    places = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("notebooks/*.ipynb"))]
    seen = 0
    for path in places:
        blocks = code_of(path)
        imports = "\n".join(re.findall(r"^(?:import|from) [\w., ]+$", "\n".join(blocks), re.MULTILINE))
        for block in blocks:
            if "from_brian2(" in block or re.search(r"class \w+\((sandbox\.)?Neuron\)", block):
                for neuron in defined(block, imports):
                    hold(f"{path.name}: {type(neuron).__name__}", neuron)
                    seen += 1
    assert seen >= 3  # of README.md and docs/neuron.md
