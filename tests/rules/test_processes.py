"""A batch spread over two processes: the same loss and the same gradient as in one."""

import json
import subprocess
import sys

import pytest
import torch

from rules.objectives.contrast import contrastive_loss
from rules.processes import processes, rank

PROCESS = """
import json, os, sys
import torch
from torch import distributed as dist
from rules.objectives.contrast import contrastive_loss

rank, sizes, switches = int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
dist.init_process_group("gloo", init_method="file://" + sys.argv[4], rank=rank, world_size=2)
rng = torch.Generator().manual_seed(0)
x = torch.randn(3, sum(sizes), 5, generator=rng, dtype=torch.float64)
y = torch.randint(4, (sum(sizes),), generator=rng)
weight = torch.randn(5, 4, generator=rng, dtype=torch.float64).requires_grad_()
mine = slice(0, sizes[0]) if rank == 0 else slice(sizes[0], None)
try:
    loss = contrastive_loss(x[:, mine] @ weight, y[mine], 0.2, gather=True, **switches)
except ValueError as error:
    print(json.dumps({"error": str(error)}))
else:
    (gradient,) = torch.autograd.grad(loss, weight)
    loss = loss.detach()
    for number in (loss, gradient):  # what DistributedDataParallel does
        dist.all_reduce(number)
    print(json.dumps({"loss": float(loss) / 2, "gradient": (gradient / 2).tolist()}))
dist.barrier()  # nobody leaves while the other still talks
dist.destroy_process_group()
sys.stdout.flush()
os._exit(0)  # threads of gloo, still ending, sometimes abort an interpreter that ends as well
"""


def both(tmp_path, sizes, **switches):
    command = [sys.executable, "-c", PROCESS]
    options = [json.dumps(sizes), json.dumps(switches), str(tmp_path / "meeting")]
    running = [
        subprocess.Popen([*command, str(r), *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for r in range(2)
    ]
    said = [process.communicate(timeout=120) for process in running]
    assert all(process.returncode == 0 for process in running), said
    return [json.loads(out) for out, _ in said]


PER_STEP = {"positives": "class_same_t", "negatives": "same_t_only", "chunk": 40}


@pytest.mark.slow
@pytest.mark.parametrize("switches", [{}, PER_STEP])
def test_two_processes_are_one_batch(tmp_path, switches):
    results = both(tmp_path, [6, 6], **switches)
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(3, 12, 5, generator=rng, dtype=torch.float64), torch.randint(4, (12,), generator=rng)
    weight = torch.randn(5, 4, generator=rng, dtype=torch.float64).requires_grad_()
    loss = contrastive_loss(x @ weight, y, 0.2, **switches)
    (gradient,) = torch.autograd.grad(loss, weight)
    for result in results:
        assert result["loss"] == pytest.approx(float(loss), abs=1e-9)  # float64; the order of sums differs
        torch.testing.assert_close(
            torch.tensor(result["gradient"], dtype=torch.float64), gradient, atol=1e-9, rtol=1e-9
        )


@pytest.mark.slow
def test_unequal_batches_are_refused(tmp_path):
    for result in both(tmp_path, [6, 4]):
        assert "the processes have batches of [6, 4] samples; a gathered loss needs equal sizes" in result["error"]


def test_alone_gathering_changes_nothing():
    assert (processes(), rank()) == (1, 0)
    features = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2] * 2)
    assert torch.equal(contrastive_loss(features, y, gather=True), contrastive_loss(features, y))
