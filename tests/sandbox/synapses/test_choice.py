"""What is chosen: by force, by the density against a crossover that is kept, and never where something unusual goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import rules
from rules import Batch
from rules.forward import fold
from sandbox import LIF, build
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.registry import Choice
from sandbox.runs.run import run
from sandbox.synapses import EventLinear, calibration, choice, linear, product, using
from tests.conftest import ROOT
from tests.sandbox.runs.test_run import same_files

SHAPE = (256, 128)  # of a weight that is worth a look at 512 samples


@pytest.fixture
def synapse():
    torch.manual_seed(0)
    return EventLinear(SHAPE[1], SHAPE[0])


def spikes(density, samples=512):
    return (torch.rand(samples, SHAPE[1], generator=torch.Generator().manual_seed(0)) < density).float()


def test_a_setting_forces_either(synapse, spied):
    for word, density, count in (("dense", 0.0, 0), ("events", 1.0, 1), ("auto", 1.0, 1)):
        with using(word):
            synapse(spikes(density))
        assert len(spied) == count
    synapse(spikes(0.0))  # the mode set in tests/conftest.py: dense
    assert len(spied) == 1


def test_the_environment_forces_either(synapse, spied, monkeypatch):
    monkeypatch.setenv("SANDBOX_SYNAPSES", "events")
    synapse(spikes(0.5, samples=2))
    assert len(spied) == 1
    with using("dense"):
        synapse(spikes(0.5))
    assert len(spied) == 1


@pytest.mark.parametrize("by", ["block", "environment"])
def test_a_density_of_one_s_own_decides_without_timings(synapse, spied, monkeypatch, by):
    monkeypatch.setattr(product, "crossover", lambda *shape: pytest.fail("timed"))
    if by == "environment":
        monkeypatch.setenv("SANDBOX_SYNAPSES", "0.2")
    with using(0.2) if by == "block" else nullcontext():
        for density, count in ((0.0, 1), (0.1, 2), (0.3, 2), (0.15, 3), (1.0, 3)):
            synapse(spikes(density))
            assert len(spied) == count


def test_errors_that_are_dense_go_by_the_dense_product(synapse):
    """Also where the input goes by events."""
    x = spikes(0.05).requires_grad_()
    with using(0.2):
        y = synapse(x)
        error = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        (found,) = torch.autograd.grad(y, x, error)
    assert torch.equal(found, error @ synapse.weight)


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        (1.5, "is 1.5: give a density from 0 to 1, below which synapses go by events"),
        (-0.1, "is -0.1: give a density from 0 to 1"),
        (float("nan"), "is nan: give a density from 0 to 1"),
        (True, "is True; give one of auto, events, dense, or a density such as 0.2"),
        (None, "is None; give one of"),
    ],
)
def test_what_is_no_mode(mode, message):
    with pytest.raises(ValueError, match=message), using(mode):
        pass


def test_the_density_decides_call_by_call(synapse, spied, monkeypatch):
    monkeypatch.setattr(product, "crossover", lambda *shape: 0.2)
    with using("auto"):
        for density in (0.0, 0.1, 0.3, 1.0, 0.15):
            synapse(spikes(density))
    assert len(spied) == 3


def test_little_is_not_looked_at(synapse, monkeypatch):
    monkeypatch.setattr(product, "sparse", lambda *given: pytest.fail("looked"))
    with using("auto"):
        synapse(spikes(0.0, samples=16))
        synapse(spikes(0.0, samples=0))


def test_unknown_settings_are_refused(synapse, monkeypatch):
    with (
        pytest.raises(ValueError, match="unknown mode of the synapses 'event'; nearest: 'events'; valid: auto"),
        using("event"),
    ):
        pass
    monkeypatch.setenv("SANDBOX_SYNAPSES", "fast")
    with pytest.raises(ValueError, match="unknown SANDBOX_SYNAPSES 'fast'"):
        synapse(spikes(0.1))


def test_without_numba_it_is_dense_or_an_error(synapse, spied, monkeypatch):
    monkeypatch.setattr(choice, "absent", lambda: "numba is not installed: pip install it")
    choice._of_environment.cache_clear()
    with using("auto"):
        synapse(spikes(0.0))
    assert spied == []
    with (
        pytest.raises(RuntimeError, match="'events': numba is not installed: pip install it; or use 'auto' or 'dense'"),
        using("events"),
    ):
        pass
    choice._of_environment.cache_clear()


@pytest.mark.slow
def test_importing_leaves_numba_alone_until_it_is_needed():
    code = (
        "import sys, torch, sandbox; from sandbox.synapses import EventLinear, using; before = 'numba' in sys.modules\n"
        "with using('events'): EventLinear(3, 2)(torch.ones(4, 3))\n"
        "print(before, 'numba' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert out.split() == ["False", "True"]


class TestCrossover:
    def test_it_is_measured_once_and_kept(self, kept, monkeypatch):
        first = calibration.crossover(300, 64, 32, torch.float32)
        assert 0 <= first <= 1
        monkeypatch.setattr(calibration, "measure", lambda *shape: pytest.fail("measured again"))
        assert calibration.crossover(511, 64, 32, torch.float32) == first  # the same power of two
        calibration.forget()
        assert calibration.crossover(300, 64, 32, torch.float32) == first
        assert list(json.loads(kept.read_text())["crossovers"]) == ["256 x 64 x 32, float32, threads 1"]

    @pytest.mark.parametrize(
        "content",
        [
            "",
            "{",
            "[]",
            "7",
            '{"crossovers": 3}',
            '{"machine": "another", "crossovers": {}}',
            b"\xff\xfe\x00",
            '{"machine": "MACHINE", "crossovers": {"256 x 64 x 32, float32, threads 1": "often"}}',
            '{"machine": "MACHINE", "crossovers": {"256 x 64 x 32, float32, threads 1": 7}}',
            '{"machine": "MACHINE", "crossovers": [1]}',
        ],
    )
    def test_a_damaged_file_is_made_again(self, kept, content, monkeypatch):
        if isinstance(content, str):
            content = content.replace("MACHINE", calibration.machine()).encode()
        kept.write_bytes(content)
        monkeypatch.setattr(calibration, "measure", lambda *shape: 0.25)
        assert calibration.crossover(300, 64, 32, torch.float32) == 0.25
        assert list(json.loads(kept.read_text())["crossovers"].values()) == [0.25]

    def test_a_place_that_cannot_be_written_is_done_without(self, kept, monkeypatch):
        kept.parent.joinpath("file").write_text("")
        monkeypatch.setenv("SANDBOX_SYNAPSES_CACHE", str(kept.parent / "file"))  # no folder can be made there
        monkeypatch.setattr(calibration, "measure", lambda *shape: 0.25)
        assert calibration.crossover(300, 64, 32, torch.float32) == 0.25
        assert calibration.crossover(300, 64, 32, torch.float32) == 0.25

    def test_processes_add_to_one_file(self, kept, monkeypatch):
        monkeypatch.setattr(calibration, "measure", lambda *shape: 0.25)
        calibration.crossover(300, 64, 32, torch.float32)
        kept.write_text(kept.read_text().replace("64 x 32", "99 x 32"))  # another process has been here since
        calibration.crossover(300, 64, 8, torch.float32)
        assert len(json.loads(kept.read_text())["crossovers"]) == 3

    def test_measuring_draws_no_random_number(self):
        before = torch.get_rng_state()
        calibration.measure(64, 16, 16, torch.float64)
        assert torch.equal(before, torch.get_rng_state())

    def test_it_is_where_the_two_lines_meet(self, monkeypatch):
        """Times of 1 ms for none, 2 ms for 10 % and 4 ms for the product: 30 %."""
        monkeypatch.setattr(calibration, "in_turn", lambda calls: [1e-3, 2e-3, 4e-3])
        assert calibration.measure(8, 4, 4, torch.float32) == pytest.approx(0.3)
        monkeypatch.setattr(calibration, "in_turn", lambda calls: [1e-3, 2e-3, 5e-4])
        assert calibration.measure(8, 4, 4, torch.float32) == 0.0

    def test_doctor_says_so(self, kept, monkeypatch):
        monkeypatch.setattr(calibration, "measure", lambda *shape: 0.25)
        calibration.crossover(300, 64, 32, torch.float32)
        assert calibration.state().startswith("numba ")
        assert calibration.state().endswith(f", mode 'dense', 1 crossovers in {kept}")


class TestUnusual:
    """Whatever is unusual takes the dense way, without a word, though events are forced."""

    @pytest.fixture(autouse=True)
    def forced(self, monkeypatch):
        monkeypatch.setattr(product, "active", lambda x: pytest.fail("by events"))
        with using("events"):
            yield

    def test_vmap(self, synapse):
        x = spikes(0.1, 6)
        torch.testing.assert_close(torch.vmap(synapse)(x), nn.Linear.forward(synapse, x))

    def test_jvp(self, synapse):
        x = spikes(0.1, 6)
        _, slope = torch.func.jvp(synapse, (x,), (x,))
        torch.testing.assert_close(slope, x @ synapse.weight.t())

    def test_forward_mode(self, synapse):
        x = spikes(0.1, 6)
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, x)
            slope = torch.autograd.forward_ad.unpack_dual(synapse(dual)).tangent
        torch.testing.assert_close(slope, x @ synapse.weight.t())

    def test_functional_call(self, synapse):
        x, halves = spikes(0.1, 6), {"weight": synapse.weight / 2, "bias": synapse.bias / 2}
        y = torch.func.functional_call(synapse, halves, (x,))
        torch.testing.assert_close(y, nn.Linear.forward(synapse, x) / 2)

    def test_compile(self, synapse):
        x = spikes(0.1, 6)
        y = torch.compile(synapse, backend="eager", fullgraph=True)(x)
        assert torch.equal(y, nn.Linear.forward(synapse, x))

    def test_parametrised_weights(self, synapse):
        parametrize.register_parametrization(synapse, "weight", nn.Tanh())
        synapse(spikes(0.1, 6))

    def test_autocast(self, synapse):
        with torch.autocast("cpu", torch.bfloat16):
            assert synapse(spikes(0.1, 6)).dtype == torch.bfloat16

    def test_modes_of_torch(self, synapse):
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            synapse(spikes(0.1, 6))
        assert counter.get_total_flops() == 2 * 6 * synapse.weight.numel()

    def test_other_dtypes(self, synapse):
        synapse.half()(spikes(0.1, 6).half())

    def test_wrong_shapes_get_the_usual_answer(self, synapse):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            synapse(torch.ones(4, 3))


def test_gradients_of_gradients_are_dense(synapse):
    """And right: events forward, matrix products where the gradient is differentiated again or taken for a batch."""
    synapse.double()
    x = spikes(0.1, 5).double().requires_grad_()
    found = []
    for word in ("events", "dense"):
        with using(word):
            slopes = torch.autograd.grad(synapse(x).pow(3).sum(), (x, synapse.weight), create_graph=True)
            found.append(
                [*slopes, *torch.autograd.grad(slopes[0].square().sum() + slopes[1].sum(), (x, synapse.weight))]
            )
            found[-1].append(torch.autograd.functional.jacobian(synapse, x[:2], vectorize=True))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_recomputing_gives_the_same(synapse):
    x, found = spikes(0.1).requires_grad_(), []
    with using("events"):
        for cut in (False, True):
            y = torch.utils.checkpoint.checkpoint(synapse, x, use_reentrant=False) if cut else synapse(x)
            found.append(torch.autograd.grad(y.square().sum(), (x, synapse.weight)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_costs_are_counted_alike():
    net = build((30,), 4, (20, "15r"), LIF(tau_mem=5.0))
    batch = Batch((torch.rand(6, 5, 30) < 0.3).float(), torch.tensor([0, 1, 2, 3, 0]))
    rule, bills = rules.make("bptt"), []
    for word in ("events", "dense"):
        with using(word):
            bills.append(rule.credit.assign(net, rule.objective, batch, (), torch.Generator()).cost)
    assert bills[0] == bills[1]
    assert bills[0].synaptic_operations == 30 * (30 * 20 + 20 * 15 + 15 * 15 + 15 * 4)


def test_it_is_a_linear_to_everyone_who_asks():
    torch.manual_seed(0)
    ours = EventLinear(4, 3)
    torch.manual_seed(0)
    theirs = nn.Linear(4, 3)
    assert isinstance(ours, nn.Linear)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert isinstance(build((4,), 3).layers[0].synapse, EventLinear)


class TestConstantInput:
    """An image shown for T steps is weighed once, and its errors are summed over time before any product."""

    def flops(self, x, word):
        net = build((64,), 10, (32,))
        with using(word), torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            currents = net.layers[0](x)
            currents.sum().backward()
        return counter.get_total_flops(), net.layers[0].synapse.weight.grad

    @pytest.mark.parametrize("word", ["dense", "events"])
    def test_backward_costs_one_step(self, word, rng):
        x = torch.rand(1, 8, 64, generator=rng)
        once, _ = self.flops(x, word)
        assert once == 2 * 2 * 8 * 64 * 32  # forward, and for the weight
        assert self.flops(x.expand(50, 8, 64), word)[0] == once
        assert self.flops(x.expand(50, 8, 64).clone(), word)[0] == 50 * once

    def test_the_gradient_is_that_of_a_copy(self, rng):
        x = 10 * torch.rand(1, 8, 64, generator=rng)
        for word in ("dense", "events"):
            shown, copied = (self.flops(a, word)[1] for a in (x.expand(50, 8, 64), x.expand(50, 8, 64).clone()))
            assert shown.any()
            torch.testing.assert_close(shown, copied, rtol=1e-4, atol=1e-4 * float(copied.abs().max()))

    def test_backward_keeps_one_step(self, rng):
        """Of all that a layer keeps for its weights, the input is there once, not T times."""
        x, kept = torch.rand(1, 8, 64, generator=rng).expand(50, 8, 64), []
        synapse = build((64,), 10, (32,)).layers[0].synapse
        for word in ("dense", "events"):
            kept.clear()
            with (
                using(word),
                torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t),
            ):
                fold(synapse, x)
            assert 8 * 64 in kept
            assert max(kept) <= 64 * 32  # the weight, where it is kept


TINY = Experiment(
    task=Choice("yinyang", {"train": 200, "validation": 50, "test": 50}),
    encoder=Choice("poisson", {"steps": 5}),
    network=NetworkConfig(hidden=[10]),
    epochs=1,
    batch_size=50,
)


class TestExperiments:
    def test_they_are_dense_unless_they_say_otherwise(self, tmp_path, monkeypatch, spied):
        monkeypatch.setenv("SANDBOX_SYNAPSES", "events")
        run(TINY, tmp_path / "dense")
        assert spied == []
        run(replace(TINY, synapses="events"), tmp_path / "events")
        assert spied

    def test_by_events_they_repeat_bit_for_bit(self, tmp_path):
        for name in ("a", "b"):
            run(replace(TINY, synapses="events"), tmp_path / name)
        same_files(tmp_path / "a", tmp_path / "b")

    def test_the_default_leaves_the_names_of_earlier_folders(self):
        assert replace(TINY, synapses="events").identity != TINY.identity
        assert Experiment().identity == "yinyang-bptt-s0-44136fa3"

    def test_timings_may_not_decide(self):
        message = "synapses='auto': give 'dense', 'events', or a density from 0 to 1; 'auto' goes by timings"
        with pytest.raises(ValueError, match=message):
            replace(TINY, synapses="auto")
        with pytest.raises(ValueError, match=r"synapses=1\.5: give 'dense', 'events', or a density"):
            replace(TINY, synapses=1.5)

    def test_by_a_density_they_repeat_and_say_so(self, tmp_path, spied, monkeypatch):
        monkeypatch.setattr(linear, "WORTH_A_LOOK", 0)
        for name in ("a", "b"):
            run(replace(TINY, synapses=0.9), tmp_path / name)
        assert spied
        same_files(tmp_path / "a", tmp_path / "b")
        assert "synapses: 0.9" in (tmp_path / "a" / "config.yaml").read_text()
