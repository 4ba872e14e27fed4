"""Two packages, one direction, and nothing heavy at import."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from functools import lru_cache

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
    "ray",
    "submitit",
    "nir",
    "h5py",
}
FLOORS = [  # from the ground up: a room imports rooms of lower floors alone, and of its own floor only itself
    [
        *("rules.errors", "rules.seeds", "rules.lazy", "rules.synapses", "rules.processes", "rules.state"),
        *("rules.steps", "rules.measures", "rules.following", "rules.brief", "rules.uncompiled", "rules.threads"),
        *("rules.chains", "rules.settling"),
    ],
    ["rules.draws", "rules.fields"],
    ["rules.contract", "rules.options", "rules.generators", "rules.views"],
    [
        *("rules.spikes", "rules.untouched", "rules.products", "rules.last_weight", "rules.local", "rules.traces"),
        "rules.perplexity",
    ],
    ["rules.optional", "rules.weight_gradients"],
    ["rules.forward", "rules.metering", "rules.plasticity", "rules.spaces", "rules.schedules"],
    ["rules.batches"],
    ["rules.models", "rules.objectives"],
    ["rules.diagnostics"],
    ["rules.sites"],
    ["rules.credit"],
    ["rules.recipes", "rules.updates", "rules.preparing", "rules.team"],
    ["rules.evaluation", "rules.loading", "rules.parallel", "rules.windows"],
    ["rules.trainer"],
    ["rules.check", "rules.federated"],
    ["rules"],  # the public face
    ["sandbox.machine", "sandbox.statistics", "sandbox.measures", "sandbox.events", "sandbox.cameras"],
    ["sandbox.neurons", "sandbox.synapses", "sandbox.executors", "sandbox.tracking", "sandbox.ledger", "sandbox.tasks"],
    ["sandbox.events"],
    ["sandbox.kernels", "sandbox.microscope", "sandbox.hardware", "sandbox.inspection"],
    ["sandbox.simulation"],
    ["sandbox.networks", "sandbox.circuits", "sandbox.environments"],
    ["sandbox.reference", "sandbox.config", "sandbox.nir"],
    ["sandbox.runs"],
    ["sandbox.comparisons"],
    ["sandbox.tuning", "sandbox.report"],
    ["sandbox.cli"],
    ["sandbox", "sandbox.__main__", "sandbox.presets"],
]
KERNELS = [  # the floors inside that room, whose parts are rooms themselves
    ["choice"],
    ["unsupported"],
    ["trace"],
    ["device"],
    ["write"],
    ["launch"],
]


def files():
    """Return the syntax tree of every module of ours, by name."""
    found = {}
    for path in sorted([*ROOT.glob("rules/**/*.py"), *ROOT.glob("sandbox/**/*.py")]):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text())
    return found


TREES = files()


def modules():
    yield from TREES.items()


def imported(tree):
    """What a module imports, at its head, late, or for types alone: `from a import b` is a.b where that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in TREES else node.module for name in inner)


def inside(name, room):
    return name == room or name.startswith(room + ".")


@lru_cache(maxsize=1)
def arrows():
    """Each module of ours and those of ours that it imports."""
    return {name: {other for other in imported(tree) if other in TREES} - {name} for name, tree in modules()}


def circles(graph):
    """Sets of modules from each of which every other can be reached (Tarjan 1972)."""
    order, low, stack, found = {}, {}, [], []

    def visit(name):
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph[name]:
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            place = stack.index(name)
            if len(stack) - place > 1:
                found.append(sorted(stack[place:]))
            del stack[place:]

    for name in graph:
        if name not in order:
            visit(name)
    return found


def test_no_circle_of_files():
    """Late imports and those for types alone count."""
    assert circles(arrows()) == []


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set()}) == [["a", "b", "c"]]


def room_of(name):
    """The room of a module: the longest name of FLOORS that it is inside of."""
    return max((room for floor in FLOORS for room in floor if inside(name, room)), key=len)


def upward(pairs, floors):
    """The pairs of different rooms whose arrow does not go down."""
    level = {room: number for number, floor in enumerate(floors) for room in floor}
    return [(a, b) for a, b in pairs if a != b and level[b] >= level[a]]


def test_every_arrow_between_rooms_goes_down():
    broken = [
        f"{name} imports {other}"
        for name, others in arrows().items()
        for other in others
        if upward([(room_of(name), room_of(other))], FLOORS)
    ]
    assert not broken


def test_every_arrow_inside_the_kernels_goes_down():
    """Files beside the folders are above them all, but for those that are listed."""
    room = "sandbox.kernels."

    def part(name):
        head = name.removeprefix(room).split(".")[0]
        return head if any(head in floor for floor in KERNELS) else "top"

    floors = [*KERNELS, ["top"]]
    broken = [
        f"{name} imports {other}"
        for name, others in arrows().items()
        for other in others
        if name.startswith(room) and other.startswith(room) and upward([(part(name), part(other))], floors)
    ]
    assert not broken


def test_every_room_has_its_floor():
    """No file stands in a room that nobody placed, and no floor names a room that is not there."""
    placed = {room for floor in FLOORS for room in floor}
    assert placed <= set(TREES)
    top = {".".join(name.split(".")[:2]) for name in TREES}
    assert top == placed


def test_an_upward_arrow_would_be_found():
    assert upward([("rules.trainer", "rules.contract"), ("rules.contract", "rules.trainer")], FLOORS) == [
        ("rules.contract", "rules.trainer")
    ]


def test_every_folder_says_what_lives_there():
    """One sentence or more, and what it may import."""
    silent = [
        path.parent.relative_to(ROOT).as_posix()
        for path in [*ROOT.glob("rules/**/__init__.py"), *ROOT.glob("sandbox/**/__init__.py")]
        if "mport" not in (ast.get_docstring(ast.parse(path.read_text())) or "")
    ]
    assert not silent


@pytest.mark.parametrize("package", ["rules", "sandbox"])
def test_the_face_shows_type_checkers_what_it_shows_python(package):
    """The names are listed twice, once for each of them."""
    (block,) = [node for node in TREES[package].body if isinstance(node, ast.If)]
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    face = importlib.import_module(package)
    assert seen == face._HOMES
    assert dir(face) == sorted(seen)
    assert set(face.__all__) - {"__version__"} == set(seen)
    for name in face.__all__:
        assert getattr(face, name) is not None


def test_only_the_reference_room_names_brian2():
    guilty = [n for n, tree in modules() if any(inside(i, "brian2") for i in imported(tree))]
    assert guilty
    assert all(inside(name, "sandbox.reference") for name in guilty)


def test_only_two_modules_name_triton():
    """An extra, which torch imports where it is; nothing of ours does before a kernel asks for it."""
    guilty = {n for n, tree in modules() if any(inside(i, "triton") for i in imported(tree))}
    assert guilty == {"sandbox.kernels.device.triton_functions", "sandbox.kernels.device.triton_library"}


def test_nothing_imports_the_command_line():
    outside = [name for name in TREES if not inside(name, "sandbox.cli")]
    assert [n for n in outside if any(inside(i, "sandbox.cli") for i in arrows()[n])] == ["sandbox.__main__"]


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


@pytest.mark.parametrize(
    "package",
    [
        *("rules", "sandbox.cli", "sandbox.comparisons.comparison"),
        *(pytest.param(package, marks=pytest.mark.slow) for package in ("sandbox", "rules.check")),
    ],
)
def test_importing_loads_nothing_heavy(package):
    """With every public name used."""
    used = f"[getattr({package}, name) for name in getattr({package}, '__all__', [])]"
    code = f"import sys, {package}; {used}; print(*sorted({HEAVY} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.split() == []


def test_importing_loads_no_compiler_of_torch():
    """It takes longer to load than all of ours."""
    used = "[getattr(sandbox, name) for name in sandbox.__all__]"
    code = f"import sys, sandbox; {used}; print('torch._dynamo' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert loaded.strip() == "False"


@pytest.mark.parametrize("package", ["rules", "sandbox"])
def test_importing_a_package_takes_no_longer_than_torch(package):
    """Its own modules are imported at their first use, so that not even torch is there before."""
    code = f"import sys, {package}; print(len(sys.modules), 'torch' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    number, torch_too = loaded.split()
    assert (int(number) < 400, torch_too) == (True, "False")  # torch alone brings more than a thousand


def test_importing_draws_no_random_number():
    code = (
        "import torch; a = torch.get_rng_state(); import rules, sandbox; "
        "[getattr(package, name) for package in (rules, sandbox) for name in package.__all__]; "
        "print(torch.equal(a, torch.get_rng_state()))"
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


def test_a_face_finds_its_rooms_and_nothing_else():
    code = "import rules, sandbox; print(rules.credit.zero_order.HZO.__name__, sandbox.reference.to_brian2.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "HZO to_brian2\n", done.stderr
    assert not hasattr(importlib.import_module("rules"), "a.b")
    with pytest.raises(AttributeError, match="module 'sandbox' has no attribute 'nothing'; it has: .*LIF"):
        importlib.import_module("sandbox").__getattr__("nothing")


@pytest.mark.parametrize("shape", ["rules.py", "rules/__init__.py"])
def test_a_file_that_shadows_rules_is_named(shape, tmp_path):
    """Python looks in the folder where it is started first."""
    (tmp_path / shape).parent.mkdir(exist_ok=True)
    (tmp_path / shape).write_text("MINE = True\n")
    code = f"import sys; sys.path[1:1] = [{str(ROOT)!r}]; import sandbox"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"ImportError: the package `rules` at {tmp_path / shape} is not that of")
    assert said.endswith("no installed distribution owns it: rename it, or start Python in another folder")
