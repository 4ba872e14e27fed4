"""Draws divided between two processes: the same update as in one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from rules.credit.zero_order.flat.coordinate_wise import CoordinateWise  # noqa: F401
from rules.credit.zero_order.flat.evolution import EvolutionStrategy  # noqa: F401
from rules.credit.zero_order.flat.forward_gradient import ForwardGradient  # noqa: F401
from rules.credit.zero_order.flat.node_perturbation import NodePerturbation  # noqa: F401
from rules.credit.zero_order.flat.spsa import SPSA  # noqa: F401
from tests.rules.credit.zero_order.nets import assign, inputs, mlp

PROCESS = """
import json, os, sys
from torch import distributed as dist
from tests.rules.credit.zero_order.test_flat_processes import *

rank, rule, same = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "same"
dist.init_process_group("gloo", init_method="file://" + sys.argv[4], rank=rank, world_size=2)
try:
    credit = assign(eval(rule), mlp([3, 6, 5, 2]), inputs(4, 3, seed=1 if same else rank), seed=rank)
except ValueError as error:
    print(json.dumps({"error": str(error)}))
else:
    grads = {name: g.tolist() for name, g in credit.grads.items()}
    print(json.dumps({"grads": grads, "loss": credit.loss, "forwards": credit.cost.forwards}))
dist.barrier()  # nobody leaves while the other still talks
dist.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # threads of gloo, still ending, sometimes abort an interpreter that ends as well
"""
RULES = {  # and the passes that both make
    "SPSA(draws=5)": 0,
    "SPSA(draws=1)": 0,
    "SPSA(draws=4, diff='forward')": 1,
    "EvolutionStrategy(10)": 0,
    "EvolutionStrategy(5, antithetic=False, shaping='none')": 0,
    "NodePerturbation(draws=3)": 1,
    "ForwardGradient(draws=3)": 0,
    "CoordinateWise(sparsity=0.8)": 1,
}


def both(tmp_path, rule, same):
    command = [sys.executable, "-c", PROCESS]
    options = [rule, "same" if same else "own", str(tmp_path / "meeting")]
    running = [
        subprocess.Popen([*command, str(r), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for r in range(2)
    ]
    said = [process.communicate(timeout=120) for process in running]
    assert all(process.returncode == 0 for process in running), said
    return [json.loads(out) for out, _ in said]


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "twice"), RULES.items())
def test_two_processes_make_one_update(tmp_path, rule, twice):
    """The generator of the first process counts, not that of the second. 1e-12: losses are sent whole, so all bits agree."""
    one = assign(eval(rule), mlp([3, 6, 5, 2]), inputs(4, 3))
    for result in both(tmp_path, rule, same=True):
        assert result["forwards"] == one.cost.forwards + twice
        assert result["loss"] == pytest.approx(one.loss, abs=1e-12)
        for name, g in one.grads.items():
            mine = torch.tensor(result["grads"][name], dtype=torch.float64)
            torch.testing.assert_close(mine, g, atol=1e-12, rtol=1e-12)


@pytest.mark.slow
def test_batches_that_differ_are_refused(tmp_path):
    for result in both(tmp_path, "SPSA(draws=5)", same=False):
        assert "give all the same model and batch; they divide draws, not samples" in result["error"]
