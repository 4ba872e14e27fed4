"""Probes divided between two processes: the same update as in one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from rules.credit.zero_order import HZO
from tests.rules.credit.zero_order.nets import assign, inputs, mlp

PROCESS = """
import json, os, sys
import torch
from torch import distributed as dist
from rules.credit.zero_order import HZO
from tests.rules.credit.zero_order.nets import assign, inputs, mlp

rank, probes, same = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "same"
dist.init_process_group("gloo", init_method="file://" + sys.argv[4], rank=rank, world_size=2)
try:
    credit = assign(HZO(probes=probes), mlp([3, 6, 5, 2]), inputs(4, 3, seed=1 if same else rank))
except ValueError as error:
    print(json.dumps({"error": str(error)}))
else:
    grads = {name: g.tolist() for name, g in credit.grads.items()}
    print(json.dumps({"grads": grads, "probes": credit.info["probes"], "cost": credit.cost.layer_evaluations}))
dist.barrier()  # nobody leaves while the other still talks
dist.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # threads of gloo, still ending, sometimes abort an interpreter that ends as well
"""


def both(tmp_path, probes, same):
    command = [sys.executable, "-c", PROCESS]
    options = [probes, "same" if same else "own", str(tmp_path / "meeting")]
    running = [
        subprocess.Popen([*command, str(r), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for r in range(2)
    ]
    said = [process.communicate(timeout=120) for process in running]
    assert all(process.returncode == 0 for process in running), said
    return [json.loads(out) for out, _ in said]


@pytest.mark.slow
@pytest.mark.parametrize(("probes", "tolerance"), [("basis", 1e-12), ("random", 1e-12), ("scattered", 1e-12)])
def test_two_processes_make_one_update(tmp_path, probes, tolerance):
    """1e-12 with a step of 6e-6: sums over probes have another order, the probes themselves do not."""
    one = assign(HZO(probes=probes), mlp([3, 6, 5, 2]), inputs(4, 3))
    for result in both(tmp_path, probes, same=True):
        assert result["probes"] == one.info["probes"]
        assert result["cost"] == one.cost.layer_evaluations + 3  # both make the first pass
        for name, g in one.grads.items():
            mine = torch.tensor(result["grads"][name], dtype=torch.float64)
            torch.testing.assert_close(mine, g, atol=tolerance, rtol=tolerance)


@pytest.mark.slow
def test_batches_that_differ_are_refused(tmp_path):
    for result in both(tmp_path, "basis", same=False):
        assert "give all the same model and batch; they divide probes, not samples" in result["error"]
