"""Choose the learning rate of every rule on validation data, with the same budget for each and separate seeds.

    python experiments/tune.py [NAME ...] [--rates 0.005 0.01 ...] [--pulses 0.005 0.01 ...] [--seeds 100 101]

For rules whose configuration has a `pulse` and no `lr` the pulse is tuned, with as many values as there are rates.
Writes results/NAME/tuning.json; the rates in NAME.yaml are the best ones found here. The test set is not used. This is
one search over given values; `sandbox tune` searches several times, in ranges that grow.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
import yaml

from rules import NonFinite
from sandbox.comparisons.comparison import Comparison
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.config.rule import RuleConfig
from sandbox.machine.files import write_json
from sandbox.machine.memory import keep_freed_memory
from sandbox.runs.folder import revision
from sandbox.runs.preparing import evaluation, prepare

HERE = Path(__file__).parent
RATES = (0.005, 0.01, 0.02, 0.04, 0.08)
PULSES = (0.005, 0.01, 0.02, 0.04, 0.08)
SEEDS = (100, 101)  # none of them is used in a comparison


def main(given: argparse.Namespace) -> None:
    for config in sorted(HERE.glob("*.yaml")):
        if given.names and config.stem not in given.names:
            continue
        plan = from_dict(Comparison, yaml.safe_load(config.read_text()))
        found = tune(plan, {"lr": given.rates, "pulse": given.pulses}, given.seeds)
        for rule, accuracies in found.items():
            best = max(accuracies, key=lambda rate: accuracies[rate])
            values = list(accuracies)
            cut = "; at an end, give more values" if best in (values[0], values[-1]) else ""
            print(f"{config.stem} {rule}: {accuracies}, best {best}{cut}", flush=True)
        kept = HERE / "results" / config.stem
        kept.mkdir(parents=True, exist_ok=True)
        facts = {"command": shlex.join(["python", "experiments/tune.py", *sys.argv[1:]]), "revision": revision()}
        write_json(kept / "tuning.json", {**facts, "seeds": given.seeds, "validation": found})


def tune(plan: Comparison, values: dict[str, Sequence[float]], seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """Return the validation accuracy [%], as mean over seeds, of each rule at each of its values, in parallel."""
    trials = {}
    for label, (first, *_) in plan.experiments().items():
        option = "pulse" if "pulse" in first.rule.options and "lr" not in first.rule.options else "lr"
        for value in values[option]:
            rule = having(first.rule, option, value)
            trials |= {(label, value, seed): replace(first, rule=rule, seed=seed) for seed in seeds}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        accuracies = dict(zip(trials, pool.map(validated, trials.values()), strict=True))
    found: dict[str, dict[str, float]] = {}
    for label, value, _ in trials:
        found.setdefault(label, {})[str(value)] = sum(accuracies[label, value, s] for s in seeds) / len(seeds)
    return found


def having(rule: RuleConfig, option: str, value: float) -> RuleConfig:
    """Return the rule with another value, in its options or in those of the plasticity that replaces its own."""
    if rule.plasticity is None:
        return replace(rule, options={**rule.options, option: value})
    return replace(rule, plasticity=replace(rule.plasticity, options={**rule.plasticity.options, option: value}))


def validated(experiment: Experiment) -> float:
    """Learn, and return the validation accuracy [%]; 0 where learning diverges."""
    torch.set_num_threads(1)
    keep_freed_memory()
    data = experiment.load()
    trainer, train = prepare(experiment, data)
    try:
        for _ in trainer.fit(train, experiment.epochs):
            pass
    except (NonFinite, ValueError):
        if trainer.steps == 0:
            raise
        return 0.0  # the weights diverge at this rate
    return 100 * trainer.evaluate(evaluation(experiment, data.validation, "validation"))["accuracy"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--pulses", type=float, nargs="+", default=PULSES)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    main(parser.parse_args())
