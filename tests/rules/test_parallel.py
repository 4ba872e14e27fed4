"""What several processes learn together: what one learns."""

from __future__ import annotations

import pytest
import torch
from torch import distributed as dist
from torch import nn

import rules
from rules.contract import Batch, CreditRule
from rules.parallel import cut, heard, share
from rules.preparing import require_whole
from tests.rules import team_work as work

CLOSE = 1e-12  # float64, whose sums over two shares are rounded in another order


pytestmark = pytest.mark.slow  # processes that find one another


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """One pair of processes for all tests of this file."""
    return work.run_team(tmp_path_factory.mktemp("team"), "one_pass")


def moved(found):
    """Whether training has changed the weights at all."""
    return any(not torch.equal(p, found["weights"][name]) for name, p in work.model().named_parameters())


@pytest.mark.parametrize("name", ["bptt", "stcl", "spsa", "hzo", "bptt_on_memristor"])
def test_two_processes_learn_what_one_learns(both, name):
    one = work.recipe(name)
    assert moved(one)
    for two in (found["recipes"][name] for found in both):
        for key, weight in one["weights"].items():
            torch.testing.assert_close(two["weights"][key], weight, atol=CLOSE, rtol=0)
        assert two["losses"] == pytest.approx(one["losses"], abs=CLOSE)
        assert (two["samples"], two["accuracy"]) == (one["samples"], one["accuracy"])


def test_processes_agree_in_every_bit_and_hold_no_dice_of_their_own(both):
    for name in both[0]["recipes"]:
        first, second = (found["recipes"][name]["state"] for found in both)
        assert rules.team.digest(first) == rules.team.digest(second)
        assert torch.equal(first["rng"], work.recipe(name)["state"]["rng"])


def test_clip_schedule_and_accumulation_stand_after_the_average(both):
    one = work.loop(None)
    for found in both:
        for key, weight in one["weights"].items():
            torch.testing.assert_close(found["loop"]["weights"][key], weight, atol=CLOSE, rtol=0)


def test_rates_are_those_of_the_whole_batch(both):
    """The penalty on them is not a mean over samples."""
    one = work.penalty(None)
    for found in both:
        assert found["penalty"]["losses"] == pytest.approx(one["losses"], rel=CLOSE)
        for name, p in one["weights"].items():
            assert float((found["penalty"]["weights"][name] - p).norm() / p.norm()) < CLOSE, name
    assert work.trained(rules.make("eprop"), None, "lif")["losses"] != one["losses"]


def test_work_is_summed_over_processes(both):
    one, two = work.recipe("bptt")["costs"], both[1]["recipes"]["bptt"]["costs"]
    assert [cost["synaptic_operations"] for cost in two] == [cost["synaptic_operations"] for cost in one]
    assert [cost["forwards"] for cost in two] == [2, 2, 1]  # the last batch has one sample, which the first one takes


def test_zero_order_rules_send_no_gradient(both):
    """As many bytes for a model of ten times the weights, where backpropagation sends all of them."""
    sent = both[0]["sent"]
    for name in ("spsa", "evolution_strategy", "forward_gradient", "node_perturbation"):
        assert sent[name, 8] == sent[name, 80] < 1000
    small, large = (6 * hidden + hidden + 3 * hidden + 3 for hidden in (8, 80))
    assert sent["bptt", 80] - sent["bptt", 8] == 8 * (large - small)


REFUSED = {
    "batch norm": "UnfitModel: '1' of Sequential normalises by the statistics of the batch, and each of 2 processes",
    "coupled": "Coupled is not a mean over samples. Train in one process, or use",
    "rate band": "Sum is not a mean over samples",
    "lengths": "TET is not a mean over samples. Train in one process, or use an objective that does not compare samples",
    "carry": "a batch with a carry cannot be divided among processes",
    "weights": "the weights of Sequential differ between processes before step 1: build everything from the same seed",
    "batches": "the processes were given different batches: hand the same loader to the trainer of each",
    "fact": "another seed than in the first process (1, not 0): start the same command",
}


@pytest.mark.parametrize(("name", "said"), REFUSED.items())
def test_all_processes_refuse(both, name, said):
    for found in both:
        assert said in found["refusals"][name]["error"]


def test_an_error_of_one_process_is_raised_in_all_and_changes_nothing(both):
    for kind, said in (("nan", "NonFinite"), ("raises", "gone"), ("raises while exchanging", "gone")):
        first, second = (found["refusals"][kind] for found in both)
        assert first["said"]["error"].startswith(
            ("NonFinite: process 1 of 2: ", "PeerFailed: process 1 of 2: KeyError")
        )
        assert said in first["said"]["error"]
        assert said in second["said"]["error"]
        assert first["unchanged"]
        assert second["unchanged"]
    assert "gone" in both[0]["refusals"]["raises while gathering"]["said"]["error"]


def test_after_an_error_a_team_goes_on(both):
    one = work.trained("bptt")
    for found in both:
        for key, weight in one["weights"].items():
            torch.testing.assert_close(found["refusals"]["afterwards"]["weights"][key], weight, atol=CLOSE, rtol=0)


def test_every_rule_says_how_processes_share_a_step():
    shares = {name: rules.make(name).credit.over_processes for name in rules.RULES}
    assert {name for name, how in shares.items() if how == "sum"} == set(work.STATISTICAL)
    assert {name for name, how in shares.items() if how == "draws"} == {
        *("hzo", "layerwise_zo", "sequential_local", "spsa", "node_perturbation"),
        *("forward_gradient", "coordinate_wise", "evolution_strategy", "target_propagation"),
        "microcircuit",
    }
    assert CreditRule.over_processes == "mean"


def test_shares_cover_a_batch_once():
    for size in (1, 2, 3, 7):
        for total in (1, 2, 3, 10, 29):
            parts = [share(rank, size, total) for rank in range(size)]
            rows = [row for start, held, _ in parts for row in range(start, start + held)]
            assert rows == list(range(total))


def test_a_cut_keeps_what_is_constant_in_time():
    x = torch.rand(1, 6, 3).expand(5, 6, 3)
    part = cut(Batch((x, x[0]), torch.arange(6), lengths=torch.full((6,), 5)), 2, 3, 6)
    assert part.x[0].stride(0) == 0
    assert torch.equal(part.x[0], x[:, 2:5])
    assert torch.equal(part.x[1], x[0, 2:5])
    assert part.y.tolist() == [2, 3, 4]
    assert len(part.lengths) == 3


def test_a_process_is_alone_unless_it_says_otherwise(tmp_path):
    """Merely initialising torch.distributed changes nothing."""
    before = work.trained("bptt")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        after, team = work.trained("bptt"), work.trained("bptt", rules.Team())
    finally:
        dist.destroy_process_group()
    for found in (after, team):
        assert all(torch.equal(found["weights"][name], weight) for name, weight in before["weights"].items())


def test_a_model_of_distributed_data_parallel_is_told_of_teams(monkeypatch):
    class Wrapped(nn.parallel.DistributedDataParallel):
        def __init__(self):
            nn.Module.__init__(self)

    with pytest.raises(ValueError, match=r"rules.Trainer\(model.module, rule, team=rules.Team\(\)\)"):
        require_whole(Wrapped(), rules.BPTT())


def test_a_state_that_is_one_tensor_is_heard():
    class Alone:
        def hear(self, said):
            return said

    assert torch.equal(heard(Alone(), torch.ones(2), torch.zeros(2)), torch.ones(2))
    assert heard(None, (), ()) == ()
