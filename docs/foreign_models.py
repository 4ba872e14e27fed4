"""Writes docs/foreign_models.md: which rules train which models that were written elsewhere, as measured."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import rules
from rules.models.admission import ModelWarning

ROOT = Path(__file__).resolve().parent.parent
RULES = {
    "bptt": "bptt",
    "tcl": "tcl",
    "hzo": "hzo",
    "spsa": "spsa",
    "node_perturbation": "NP",
    "forward_gradient": "FG",
    "binary_stochastic": "BS",
    "bptt_on_memristor": "MEM",
    "readout_only": "RO",
}
STEPS = {"bptt": 30, "tcl": 15, "hzo": 4, "node_perturbation": 30, "spsa": 30}
HEAD = """# Models of other libraries

What each rule does with models that were written elsewhere, as they come and after `rules.adapt(model)`, on small
tasks of three classes. **T** trains (the loss falls by more than 3 % in a few steps), **f** flat (it ran, and the loss
did not fall that far: few steps, or a slow rule), **R** refused, with a message that says what to do, **w** runs after
a `ModelWarning`, which says what is wrong with the model and what to do: it keeps state, or mixes samples or takes them
for time, and the rule's credit is right for what the model computes. X would be an error of another kind, and W a model
without warning whose output changes from call to call, or in one sample when another sample changes. A cell is *as it
comes / adapted*.

NP `node_perturbation`, FG `forward_gradient` (adapted with `surrogate="triangle"` where spikes have one), BS
`binary_stochastic` (the same, with inputs from 0 to 1), MEM `bptt_on_memristor`, RO `readout_only`. Written by
`python docs/foreign_models.py`.

"""


def letter(build: Callable[[], nn.Module], data: tuple[Any, Any], rule: str) -> str:
    """Return what becomes of a model under a rule."""
    torch.manual_seed(0)
    given = (data[0] / data[0].max(), data[1]) if rule == "binary_stochastic" else data  # probabilities of its bits
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model = build()
            trainer = rules.Trainer(model, rule, seed=0)
            losses = [trainer.step(given).loss for _ in range(STEPS.get(rule, 8))]
        if any(issubclass(each.category, ModelWarning) for each in said):
            return "w"
        if not (steady(model, given[0]) and blind(model, given[0], len(given[1]))):
            return "W"
    except Exception as error:
        return "R" if refused(error) else "X"
    return "T" if min(losses[len(losses) // 2 :]) < 0.97 * losses[0] else "f"


def shown(model: nn.Module, x: Any) -> Tensor:
    """Return what a trained model gives in evaluation mode."""
    model.eval()
    with torch.no_grad():
        output: Tensor = rules.run_model(model, rules.Batch(x)).output
    return output


def steady(model: nn.Module, x: Any) -> bool:
    """Return whether a trained model gives the same output twice."""
    return torch.equal(shown(model, x), shown(model, x))


def blind(model: nn.Module, x: Tensor, samples: int) -> bool:
    """Return whether the outputs of samples stay the same when another one changes, to the rounding of sums."""
    output = shown(model, x)
    other = x.clone()
    first = other[0] if len(x) == samples and output.shape[0] == 1 else other[:, 0]  # without time, or behind it
    first.copy_(first.flip(-1))
    return torch.allclose(output[:, 1:], shown(model, other)[:, 1:], rtol=0, atol=1e-5 * float(output.abs().max()))


def refused(error: Exception) -> bool:
    """Return whether an error is a refusal: raised on purpose, by a `raise` in this package."""
    ours = (ROOT / "rules").as_posix()
    last = traceback.extract_tb(error.__traceback__)[-1]
    on_purpose = (last.line or "").startswith("raise ")
    return isinstance(error, (ValueError, TypeError)) and on_purpose and Path(last.filename).as_posix().startswith(ours)


def adapted(entry: Any, rule: str) -> Callable[[], nn.Module]:
    """Return a function that builds a model and adapts it, with our surrogate where the rule needs one."""

    def build() -> nn.Module:
        model = entry.build()
        if rule in ("forward_gradient", "binary_stochastic"):
            try:
                return rules.adapt(model, **entry.adapt, surrogate="triangle")
            except ValueError:  # there are no spikes, or they cannot be replaced
                pass
        return rules.adapt(model, **entry.adapt)

    return build


def table(entries: Any, report: Callable[[str], None]) -> str:
    """Return the table in Markdown."""
    rows = [f"| model | {' | '.join(RULES.values())} |", "|---" * (len(RULES) + 1) + "|"]
    for entry in entries:
        data = entry.data()
        cells = [f"{letter(entry.build, data, rule)} / {letter(adapted(entry, rule), data, rule)}" for rule in RULES]
        rows.append(f"| {entry.name} | {' | '.join(cells)} |")
        report(rows[-1])
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # the models are those of the tests
    from tests.peers.zoo import HERE

    torch.set_num_threads(1)
    (ROOT / "docs" / "foreign_models.md").write_text(HEAD + table(HERE, print))
