"""Kernels by Triton: interpreted on the CPU, compiled for a device that need not be there, and run on CUDA where it is."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest
import torch

from sandbox import scan
from sandbox.kernels import MODES, source, state, using
from sandbox.kernels.launch import backends
from sandbox.kernels.launch.registered import WRITERS
from sandbox.kernels.plans import planned
from sandbox.kernels.write.emit import Variant
from sandbox.kernels.write.triton_words import FUNCTIONS, WIDTH, Triton
from sandbox.machine import compiled as compiled_loops
from sandbox.neurons import IN_BRIAN2, LIF, AdEx, EscapeLIF
from sandbox.neurons.stepping import body_of
from tests.conftest import ROOT

from .conftest import DOUBLE, agree, answer, driven
from .kinds_at_once import all_kinds

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
installed = pytest.mark.skipif(backends.triton_absent() is not None, reason="triton is not installed")
compiling = pytest.mark.skipif(INTERPRETED, reason="Triton interprets in this process, and compiles nothing")
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.slow
@installed
@pytest.mark.parametrize("tier", ["not slow", "slow"])
def test_kernels_in_the_interpreter_do_what_the_plain_loop_does(tier):
    """In a process of its own: Triton asks when it is imported whether to interpret."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    env |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    cases = "tests/sandbox/kernels/triton_cases.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", cases, "-q", "-m", tier, "-p", "no:cacheprovider"],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def machine_code(structure, direction, variant, dtype):
    """What Triton makes of a kernel for a device of compute capability 8.0."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from sandbox.kernels.launch import store

    source, names = WRITERS[direction](structure, variant, Triton)
    signature = {"C": f"*{dtype}", **{f"{name}_": f"*{dtype}" for name in names}}
    signature |= dict.fromkeys(("T", "M", "sx", "every"), "i32") | {"BLOCK": "constexpr"}
    made = triton.compile(
        ASTSource(store.imported(source), signature, {"BLOCK": WIDTH}),
        target=GPUTarget("cuda", 80, 32),
        options={"enable_fp_fusion": False},
    )
    return made.asm["ptx"]


@pytest.fixture
def nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.slow
@installed
@compiling
@pytest.mark.parametrize("dtype", ["fp64", "fp32"])
def test_every_kind_of_node_is_compiled(dtype, nothing_kept):
    """The interpreter is lenient about types; the compiler is not."""
    structure, _ = all_kinds()
    code = machine_code(structure, "forward", Variant((), True), dtype)
    assert {"fp64": "div.rn.f64", "fp32": "div.rn.f32"}[dtype] in code
    assert {"fp64": "sqrt.rn.f64", "fp32": "sqrt.rn.f32"}[dtype] in code
    if dtype == "fp64":
        assert "0d3FD3333333333333" in code  # a literal of 0.3, which has not been through float32


@pytest.mark.slow
@installed
@compiling
@pytest.mark.parametrize("neuron", [pytest.param(cls(), id=name) for name, cls in IN_BRIAN2.items()])
def test_every_neuron_is_compiled(neuron, nothing_kept):
    state = neuron.initial_state((1,), torch.zeros(1, dtype=DOUBLE))
    body = partial(body_of, (), False)
    structure = planned(neuron, body, ((), False), DOUBLE, state, 0.25).structure
    for dtype, sparse in (("fp32", False), ("fp64", True)):
        machine_code(structure, "forward", Variant((), True, sparse), dtype)
        machine_code(structure, "backward", Variant((), False, sparse, (True,), ("x",)), dtype)


@installed
@compiling
def test_every_word_has_its_function():
    from sandbox.kernels.device import triton_functions

    assert all(hasattr(triton_functions, name) for name in FUNCTIONS)


def test_who_makes_kernels_for_which_device(monkeypatch):
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    backends.triton_absent.cache_clear()
    try:
        missing = "triton is not installed: pip install 'learning-rule-sandbox[triton]'"
        assert backends.refusal(CPU, "triton") == missing
        assert backends.refusal(CUDA, "auto") == f"currents are on cuda:0, and {missing}"
        assert backends.refusal(CUDA, "numba") == "currents are on cuda:0"
        assert backends.refusal(CPU, "auto") == compiled_loops.absent()
        assert "triton is not installed" in state()
        with using("triton"), pytest.raises(RuntimeError, match=r"LIF cannot run in a kernel: triton is not installed"):
            scan(LIF(), torch.ones(3, 2))
        backends.triton_absent.cache_clear()
        monkeypatch.setattr(backends, "find_spec", lambda name: name)
        assert backends.refusal(CUDA, "auto") is backends.refusal(CUDA, "triton") is None
        with using("triton"), pytest.raises(RuntimeError, match="start Python with TRITON_INTERPRET=1"):
            scan(LIF(), torch.ones(3, 2))
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        assert backends.refusal(CPU, "triton") is None
        assert backends.refusal(torch.device("meta"), "triton") == "currents are on meta"
    finally:
        backends.triton_absent.cache_clear()


@installed
def test_triton_is_said_to_be_experimental():
    assert "(experimental: no device has run its kernels yet)" in state()
    assert MODES["triton"].startswith("experimental:")


def test_a_kernel_of_triton_can_be_read():
    text = source(LIF(tau_mem=10.0), dt=1.0, backend="triton")
    assert text.startswith("# x = current, s0 = v\n# k0 = 0.904837")
    assert text.count("@triton.jit") == 2
    assert "n0 = lerp(x, s0, k0)" in text
    with pytest.raises(ValueError, match="unknown back end of the kernels 'cuda'"):
        source(LIF(), backend="cuda")


@pytest.mark.slow
def test_without_being_asked_nothing_of_ours_loads_triton():
    """Torch may: importing torch._dynamo does, where it is installed."""
    code = (
        "import sys, torch, sandbox.kernels as kernels; from sandbox import LIF, scan\n"
        "with kernels.using('numba'): scan(LIF(), torch.ones(9, 3, requires_grad=True))[0].sum().backward()\n"
        "kernels.source(LIF(), backend='triton'); kernels.state()\n"
        "print([name for name in sys.modules if name.startswith('sandbox.kernels') and 'triton' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "['sandbox.kernels.write.triton_words']", done.stderr


@on_cuda
@installed
@pytest.mark.parametrize("mode", ["auto", "triton"])
@pytest.mark.parametrize("neuron", [LIF(t_refractory=1.0), AdEx(), EscapeLIF()], ids=lambda n: type(n).__name__)
def test_on_a_device_as_in_the_plain_loop(neuron, mode):
    """Shapes that `auto` finds worth a kernel."""
    from sandbox.kernels.launch import triton_call

    triton_call.kernel.cache_clear()
    currents = driven(neuron, (7, 100)).cuda()
    plain, ours = (answer(each, neuron, currents, 0.25) for each in ("plain", mode))
    assert triton_call.kernel.cache_info().currsize == 2
    assert torch.equal(plain.spikes, ours.spikes)
    agree(ours, plain, 1e-10)


@on_cuda
@installed
@pytest.mark.parametrize("memory", [None, 0])
def test_learned_parameters_on_a_device(memory):
    tau = torch.tensor(7.0, dtype=DOUBLE, device="cuda", requires_grad=True)
    reset = torch.linspace(-0.5, 0.0, 300, dtype=DOUBLE, device="cuda").requires_grad_()
    cell = LIF(tau_mem=tau, v_reset=reset)
    currents = driven(LIF(), (300,)).cuda()
    plain, ours = (answer(mode, cell, currents, 0.25, [tau, reset], memory) for mode in ("plain", "triton"))
    assert torch.equal(plain.spikes, ours.spikes)
    agree(ours, plain, 1e-10)


@on_cuda
@installed
def test_single_precision_on_a_device():
    """Spikes of all but a few cells that come to the threshold by the last digit, as on a CPU."""
    currents = driven(LIF(), (2000,), dtype=torch.float32).cuda()
    plain, ours = (answer(mode, LIF(), currents, 0.25) for mode in ("plain", "triton"))
    alike = (plain.spikes == ours.spikes).all(0)
    assert alike.double().mean() > 0.99
    torch.testing.assert_close(
        ours.gradients[0][:, alike],
        plain.gradients[0][:, alike],
        rtol=1e-4,
        atol=1e-4 * float(plain.gradients[0].abs().max()),
    )
