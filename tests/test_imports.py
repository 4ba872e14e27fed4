"""Two packages, one direction, and nothing heavy at import."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = {
    "brian2",
    "matplotlib",
    "pandas",
    "IPython",
    "notebook",
    "sklearn",
    "scipy",
    "numba",
    "llvmlite",
    "optuna",
    "sqlalchemy",
    "plotly",
    "mlflow",
    "tensorboard",
}
ALLOWED = {  # room -> rooms of ours that it may import, beside itself
    "rules": set(),
    "sandbox.neurons": {
        "rules",
        "sandbox.machine.compiled",
        "sandbox.machine.memory",
        "sandbox.synapses",
        "sandbox.machine.threads",
    },
    "sandbox.reference": {"rules", "sandbox.neurons", "sandbox.networks.network", "sandbox.synapses"},
    "sandbox.synapses": {"sandbox.machine.compiled", "sandbox.machine.memory", "sandbox.machine.threads"},
    "sandbox.microscope": {"rules"},
    "sandbox.machine.compiled": {"rules.errors"},
    "sandbox.machine.memory": set(),
    "sandbox.machine.threads": set(),
    "sandbox.networks.network": {"rules", "sandbox.neurons"},
    "sandbox.tasks": {"rules.contract", "rules.errors", "sandbox.tasks.encode"},
    "sandbox.tasks.encode": set(),
    "sandbox.tracking": {"sandbox.config.experiment", "sandbox.runs.folder"},
}


def modules():
    for path in sorted([*ROOT.glob("rules/**/*.py"), *ROOT.glob("sandbox/**/*.py")]):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text())


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ([f"sandbox.{a.name}" for a in node.names] if node.module == "sandbox" else [node.module])


def inside(name, room):
    return name == room or name.startswith(room + ".")


def test_rooms_import_only_what_the_design_allows():
    broken = [
        f"{name} imports {other}"
        for name, tree in modules()
        for room, allowed in ALLOWED.items()
        if inside(name, room)
        for other in imported(tree)
        if other.split(".")[0] in ("rules", "sandbox") and not any(inside(other, legal) for legal in {room, *allowed})
    ]
    assert not broken


def test_only_the_reference_room_names_brian2():
    guilty = [n for n, tree in modules() if any(inside(i, "brian2") for i in imported(tree))]
    assert guilty
    assert all(inside(name, "sandbox.reference") for name in guilty)


def test_only_two_modules_name_triton():
    """An extra, which torch imports where it is; nothing of ours does before a kernel asks for it."""
    guilty = {n for n, tree in modules() if any(inside(i, "triton") for i in imported(tree))}
    assert guilty == {"sandbox.kernels.device.triton_functions", "sandbox.kernels.device.triton_library"}


def test_nothing_imports_the_command_line():
    assert [n for n, tree in modules() if any(inside(i, "sandbox.cli.parser") for i in imported(tree))] == [
        "sandbox.__main__"
    ]


def test_no_credit_imports_another_credit():
    """A family that shares its parts has a folder of its own."""
    found = [
        f"{n} imports {i}"
        for n, tree in modules()
        if inside(n, "rules.credit")
        for i in imported(tree)
        if inside(i, "rules.credit") and family(i) != family(n)
    ]
    assert not found
    assert family("rules.credit.bptt") != family("rules.credit.restricted")


def family(name):
    return name.split(".")[2:3]


@pytest.mark.parametrize("package", ["rules", "sandbox", "sandbox.cli.parser"])
def test_importing_loads_nothing_heavy(package):
    code = f"import sys, {package}; print(*sorted({HEAVY} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.split() == []


def test_importing_loads_no_compiler_of_torch():
    """It takes longer to load than all of ours."""
    code = "import sys, sandbox; print('torch._dynamo' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.strip() == "False"


def test_importing_draws_no_random_number():
    code = (
        "import torch; a = torch.get_rng_state(); import rules, sandbox; print(torch.equal(a, torch.get_rng_state()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.strip() == "True"


@pytest.mark.slow
def test_without_brian2_everything_but_the_reference_room_works():
    """A machine that lacks it is played by an import that fails."""
    code = (
        "import sys; sys.modules['brian2'] = None\n"
        "import torch, rules, sandbox\n"
        "net = sandbox.build((4,), 3, (5,))\n"
        "rules.Trainer(net, 'bptt').step((torch.rand(5, 2, 4), torch.tensor([0, 1])))\n"
        "for call in (lambda: sandbox.validate(sandbox.LIF(), duration=1.0, cells=1),\n"
        "             lambda: sandbox.from_brian2('dv/dt = -v / (10*ms) : 1'),\n"
        "             lambda: sandbox.reference.to_brian2(net).run(torch.rand(5, 2, 4))):\n"
        "    try: call()\n"
        "    except ImportError as error: print(error)\n"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert out.returncode == 0, out.stderr
    want = "this needs Brian2, which is not installed: pip install 'learning-rule-sandbox[reference]'"
    assert out.stdout.splitlines() == [want] * 3
