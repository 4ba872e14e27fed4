"""Pruning while learning, on real data: sparsity against the threshold, accuracy against magnitude, operations."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from rules.diagnostics.work import work
from rules.plasticity.projected import exported
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.runs.preparing import evaluation, prepare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPARSITY = 0.9
EPOCHS = 20
RATE = 1.0  # the best of 0.1, 0.3, 1 and 3 for dense weights, on a seed apart; their mean magnitude is 2.4
SGD = {"name": "sgd", "options": {"momentum": 0.9}}


def learned(name, seed, **options):
    """A spiking perceptron, 64-100-100-10, on digits: its trainer and its test samples."""
    plasticity = Choice(name, {"lr": RATE, "inner": SGD, **options})
    experiment = Experiment(
        task=Choice("digits"),
        encoder=Choice("constant", {"steps": 10}),
        network=NetworkConfig(hidden=[100, 100]),
        rule=RuleConfig("bptt", plasticity=plasticity),
        schedule=Choice("cosine"),
        seed=seed,
        epochs=EPOCHS,
        batch_size=64,
    )
    data = experiment.load(None)
    trainer, loader = prepare(experiment, data)
    for _ in trainer.fit(loader, EPOCHS):
        pass
    return trainer, evaluation(experiment, data.test)


def sparsity(trainer):
    held = list(trainer.optimizer.state)
    return sum(int((p == 0).sum()) for p in held) / sum(p.numel() for p in held)


def accuracy(trainer, test):
    return 100 * trainer.evaluate(test)["accuracy"]


@lru_cache(maxsize=3)
def pruned(seed):
    """Soft thresholds that leave some 90 % of the weights at 0: the end of the threshold is found by bisection."""
    low, high, shares = 2.0, 10.0, {}
    for _ in range(6):
        final = (low + high) / 2
        trainer, test = learned("soft_threshold", seed, final=final)
        shares[final] = sparsity(trainer)
        if abs(shares[final] - SPARSITY) < 0.005:
            return trainer, test, shares
        low, high = (final, high) if shares[final] < SPARSITY else (low, final)
    raise AssertionError(f"no threshold leaves {SPARSITY:.0%} of zeros: {shares}")


def test_sparsity_rises_with_the_threshold():
    for seed in range(3):
        shares = dict(pruned(seed)[2])
        shares[1.0] = sparsity(learned("soft_threshold", seed, final=1.0)[0])
        shares = dict(sorted(shares.items()))
        print({final: round(share, 3) for final, share in shares.items()})
        assert list(shares.values()) == sorted(shares.values())
        assert shares[1.0] < 0.5 < SPARSITY - 0.01 < max(shares.values())


def test_at_nine_tenths_it_is_as_accurate_as_magnitude_pruning():
    """Of three paired seeds, with as many epochs: one shot in the middle, of each layer, at equal sparsity."""
    gains = []
    for seed in range(3):
        trainer, test, _ = pruned(seed)
        share = sparsity(trainer)
        other, _ = learned("magnitude", seed, sparsity=share, begin=trainer.steps // 2)
        assert sparsity(other) == pytest.approx(share, abs=1e-3)
        gains.append(accuracy(trainer, test) - accuracy(other, test))
        dense = accuracy(*learned("magnitude", seed, sparsity=0.0))
        print(
            f"seed {seed}: {accuracy(trainer, test):.2f} by thresholds, by magnitude {accuracy(other, test):.2f}, "
            f"dense {dense:.2f} %; {share:.3f} of zeros"
        )
    assert sum(gains) / 3 >= -0.5


def test_operations_fall_with_the_weights():
    """Of spikes with weights, at the firing rates that there are: at most 20 % above the share that is left."""
    ratios = []
    for seed in range(3):
        trainer, test, _ = pruned(seed)
        batch, model = next(iter(test)), exported(trainer.model, trainer.optimizer)
        inside = work(model, batch.x)[1:]  # the first layer sees no spikes
        matrices = [p for p in model.parameters() if p.ndim == 2][1:]
        share = sum(int((p != 0).sum()) for p in matrices) / sum(p.numel() for p in matrices)
        with torch.no_grad():
            for p in matrices:
                p[p == 0] = 1e-12  # counted, and of no effect
        whole = work(model, batch.x)[1:]
        assert [each.spikes for each in inside] == [each.spikes for each in whole]
        ratio = sum(each.accumulated for each in inside) / sum(each.accumulated for each in whole)
        print(f"seed {seed}: {ratio:.3f} of the operations at {share:.3f} of the weights")
        ratios.append(ratio / share)
    assert max(ratios) <= 1.2
