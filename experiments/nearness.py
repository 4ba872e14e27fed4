"""Measure on Randman how near the credit of online rules is to the gradient of BPTT; store results/nearness/.

python experiments/nearness.py      # half a minute on one core

At the initial weights of nearness/randman.yaml and after five epochs of BPTT, on the first batch: the cosine of each
layer's credit with the gradient, and its norm over that of the gradient, over five seeds of manifolds and weights. OTPE
is nearer than OTTT where Student's 95 % interval of the paired difference is above 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml
from evidence import HERE

from rules import Trainer
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.config.rule import RuleConfig
from sandbox.machine.files import write_json
from sandbox.microscope import Microscope
from sandbox.runs.folder import surroundings
from sandbox.runs.preparing import own_process, prepare
from sandbox.statistics import interval, paired

CONFIG = HERE / "nearness" / "randman.yaml"
LOSS = {"objective": "ce_rate"}
RULES = {
    "otpe": RuleConfig("otpe", LOSS),
    "otpe, approximate": RuleConfig("otpe", {"approximate": True, **LOSS}),
    "ottt": RuleConfig("ottt", LOSS),
    "sltt": RuleConfig("sltt", LOSS),
}
SEEDS = 5
KEPT = HERE / "results" / "nearness"
Seen = dict[tuple[int, str, str], list[tuple[float, float]]]  # (updates, layer, rule): cosine and norm, seed by seed


def main() -> None:
    seen: Seen = {}
    for seed in range(SEEDS):
        for updates, layer, rule, pair in looks(seed):
            seen.setdefault((updates, layer, rule), []).append(pair)
    rows = [row(seen, *key) for key in seen if key[2] == "ottt"]
    KEPT.mkdir(parents=True, exist_ok=True)
    about = {"command": "python experiments/nearness.py", "seeds": SEEDS, **surroundings()}
    write_json(KEPT / "nearness.json", {**about, "layers": rows})
    (KEPT / "nearness.md").write_text(table(rows))
    print(table(rows))


def looks(seed: int) -> Iterator[tuple[int, str, str, tuple[float, float]]]:
    """Yield updates, layer, rule, and its cosine and norm relative to the gradient, before and after learning."""
    experiment: Experiment = from_dict(Experiment, yaml.safe_load(CONFIG.read_text()))
    task = replace(experiment.task, options={**experiment.task.options, "seed": seed})
    experiment = replace(experiment, task=task, seed=seed)
    with own_process(experiment):
        data = experiment.load()
        trainer, train = prepare(experiment, data)
        batch = next(iter(train))
        for epochs in (0, experiment.epochs):
            for _ in trainer.fit(train, epochs):
                pass
            for name, rule in RULES.items():
                other = Trainer(trainer.model, replace(experiment, rule=rule).make_rule(data), seed=seed)
                for one in Microscope().look(other, batch).rows:
                    yield trainer.steps, one.layer, name, (one.cosine, one.norm_ratio)


def row(seen: Seen, updates: int, layer: str, _: str) -> dict[str, Any]:
    """Return what was seen of a layer, with the paired differences of OTPE and OTTT, positive where OTPE is nearer."""
    found = {rule: list(zip(*seen[updates, layer, rule], strict=True)) for rule in RULES}
    off = {rule: [abs(norm - 1) for norm in norms] for rule, (_, norms) in found.items()}
    nearer = {
        "cosine": paired(found["otpe"][0], found["ottt"][0], "two-sided").difference,
        "norm": paired(off["ottt"], off["otpe"], "two-sided").difference,
    }
    return {
        "updates": updates,
        "layer": layer,
        "cosine": {rule: cosines for rule, (cosines, _) in found.items()},
        "norm": {rule: norms for rule, (_, norms) in found.items()},
        "nearer": {name: each._asdict() for name, each in nearer.items()},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table: cosine, and norm over that of the gradient."""
    lines = [
        f"| updates | layer | {' | '.join(RULES)} | otpe over ottt: cosine | nearer to norm 1 |",
        f"| --- | --- |{' --- |' * (len(RULES) + 2)}",
    ]
    for one in rows:
        cells = [f"{mean(one['cosine'][rule])}, {mean(one['norm'][rule])}" for rule in RULES]
        gaps = [f"{each['mean']:.3f} [{each['low']:.3f}, {each['high']:.3f}]" for each in one["nearer"].values()]
        lines.append(f"| {one['updates']} | `{one['layer']}` | {' | '.join(cells + gaps)} |")
    return "\n".join(lines) + "\n"


def mean(values: list[float]) -> str:
    return f"{interval(values).mean:.3f}"


if __name__ == "__main__":
    main()
