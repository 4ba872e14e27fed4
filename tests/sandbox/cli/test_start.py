"""What a command imports: each takes a share of the time until something happens."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

UNWANTED = {  # the first takes as long as torch itself
    *("torch._dynamo", "torch._inductor", "torch.distributed.fsdp", "torch.onnx", "triton"),
    *("scipy.stats", "sklearn", "pandas", "matplotlib", "brian2", "plotly", "tensorboard", "optuna"),
}


@pytest.mark.parametrize(("kernels", "also"), [("plain", {"numba", "sympy", "scipy"}), ("auto", set())])
def test_a_run_imports_what_it_needs(kernels, also, tmp_path):
    """Yin-Yang by backpropagation, to its result: kernels need numba, which needs a part of SciPy, and SymPy."""
    words = ["run", "--epochs", "1", "--task.options", "{train: 100, validation: 50, test: 50}", "--kernels", kernels]
    code = (
        f"import sys; from sandbox.cli import main; assert main({[*words, '--out', str(tmp_path)]}) == 0\n"
        f"print('imported', *sorted({UNWANTED | also} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1:] == ["imported"], done.stdout + done.stderr
