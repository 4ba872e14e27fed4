"""Chooses the learning rate of every rule on validation data, with the same budget for each and seeds of its own.

    python experiments/tune.py [NAME ...]      # all, or some of: digits mnist mnist1d yinyang

Writes results/NAME/tuning.json; the rates in NAME.yaml are the best ones found here. The test set is not looked at.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
import yaml

from sandbox.compare import Comparison
from sandbox.config import RuleConfig
from sandbox.experiment import evaluation, prepare
from sandbox.folder import revision, write_json
from sandbox.parse import from_dict

HERE = Path(__file__).parent
RATES = (0.005, 0.01, 0.02, 0.04, 0.08)
SEEDS = (100, 101)  # not among those of the comparisons


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    for config in sorted(HERE.glob("*.yaml")):
        if names and config.stem not in names:
            continue
        plan = from_dict(Comparison, yaml.safe_load(config.read_text()))
        data = plan.experiment.make_task().load()
        found: dict[str, dict[str, float]] = {}
        for rule in ("bptt", "readout_only"):
            found[rule] = {}
            for rate in RATES:
                total = 0.0
                for seed in SEEDS:
                    experiment = replace(plan.experiment, rule=RuleConfig(rule, {"lr": rate}), seed=seed)
                    trainer, train = prepare(experiment, data)
                    for _ in trainer.fit(train, experiment.epochs):
                        pass
                    total += 100 * trainer.evaluate(evaluation(experiment, data.validation))["accuracy"]
                found[rule][str(rate)] = total / len(SEEDS)
            best = max(found[rule], key=lambda rate: found[rule][rate])
            print(f"{config.stem} {rule}: {found[rule]}, best {best}", flush=True)
        kept = HERE / "results" / config.stem
        kept.mkdir(parents=True, exist_ok=True)
        command = f"python experiments/tune.py {config.stem}"
        write_json(
            kept / "tuning.json", {"command": command, "revision": revision(), "seeds": SEEDS, "validation": found}
        )


if __name__ == "__main__":
    main(sys.argv[1:])
