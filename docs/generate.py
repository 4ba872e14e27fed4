"""Write the generated part of the documentation: rules, command line, Python reference, notebooks and copies.

PYTHONPATH=. python docs/generate.py [FOLDER]    # by default into docs/, where git ignores what is written
"""

from __future__ import annotations

import inspect
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import rules
import sandbox
from rules.recipes import RULES
from sandbox.cli import manual
from sandbox.cli.options import COMMANDS, EXIT_CODES
from sandbox.neurons import IN_BRIAN2, NEURONS
from sandbox.tasks import TASKS

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS))

from docstrings import markdown  # noqa: E402 -- stands beside this file, which is no package

COPIES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "speed.md",
    "benchmarks/figures/speed.png": "figures/speed.png",
    "benchmarks/figures/speed.json": "figures/speed.json",
    "experiments/results/yinyang/curves.png": "images/yinyang.png",
    "experiments/results/paper/ranking.png": "images/ranking.png",
}


def generate(folder: Path) -> list[Path]:
    """Write every generated page into a folder and return the paths."""
    pages = {f"rules/{name}.md": rule_page(name, recipe) for name, recipe in RULES.items()}
    pages["rules/index.md"] = rules_page()
    pages["neurons.md"] = neurons_page()
    pages["tasks.md"] = tasks_page()
    pages["cli.md"] = cli_page()
    pages["api/rules.md"] = api_page("rules", rules._HOMES)
    pages["api/sandbox.md"] = api_page("sandbox", sandbox._HOMES)
    notebooks = {f"notebooks/{path.name}": f"gallery/{path.name}" for path in ROOT.glob("notebooks/*.ipynb")}
    for name, text in pages.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for source, target in (COPIES | notebooks).items():
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, folder / target)
    return [folder / name for name in (*pages, *COPIES.values(), *notebooks.values())]


def rule_page(name: str, recipe: Callable[..., rules.LearningRule]) -> str:
    """Return the page of a named rule: how to make it, its three parts, what it needs and what it claims."""
    rule = recipe()
    needs = "\n".join(f"- `{need}`: {rules.NEEDS[need]}" for need in sorted(rule.needs))
    parts = [
        f"# {name}",
        markdown(inspect.getdoc(recipe) or ""),
        f"```python\nrules.make(\n    {name!r},\n{options(recipe)})\n```",
        f"Try it: `sandbox check {name}`, or `sandbox compare --rules {name} --seeds 6`.",
        f"## Needs\n\n{needs}",
        f"## Claim\n\n`{rule.credit.claim}`: {CLAIMS[rule.credit.claim]}. `rules.check_rule({name!r})` measures it.",
    ]
    for title, part in (
        ("Loss (objective)", rule.objective),
        ("Gradient estimator (credit)", rule.credit),
        ("Optimiser (plasticity)", rule.plasticity),
    ):
        kind = type(part)
        parts.append(f"## {title}: {kind.__name__}\n\n`{kind.__module__}.{kind.__name__}`")
        parts.append(markdown(inspect.getdoc(kind) or ""))
        held = getattr(part, "credit", None)
        if held is not None:
            parts.append(f"It holds `{type(held).__module__}.{type(held).__name__}`:")
            parts.append(markdown(inspect.getdoc(type(held)) or ""))
    return "\n\n".join(parts) + "\n"


CLAIMS = {
    "exact": "equal to autograd, or to central differences, on a smooth model",
    "unbiased": "its mean over many draws is the gradient, in direction and in scale",
    "descent": "a small step along it lowers the loss of the batch",
    "sign_unbiased": "its mean is that of backpropagation with signed errors, in direction and in scale",
    "none": "nothing is claimed",
}


def options(recipe: Callable[..., Any]) -> str:
    """Return the options of a recipe with their defaults, one a line."""
    found = inspect.signature(recipe).parameters.values()
    return "".join(f"    {p.name}={p.default!r},  # {p.annotation}\n" for p in found)


def first_sentence(text: str | None) -> str:
    """Return the first line of a docstring."""
    return (text or "").strip().split("\n")[0]


def rules_page() -> str:
    """Return the overview of all rules."""
    rows = []
    for name, recipe in RULES.items():
        rule = recipe()
        needs = ", ".join(sorted(rule.needs))
        rows.append(f"| [`{name}`]({name}.md) | {first_sentence(recipe.__doc__)} | {needs} | {rule.credit.claim} |")
    return "\n".join(
        [
            "# Rules",
            "",
            f"The {len(RULES)} named rules (`sandbox list rules`). [Choose a rule](../choose.md) compares them by what",
            "they need; [Concepts](../concepts.md) explains needs and claims.",
            "",
            "| rule | what it is | needs | claim |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def neurons_page() -> str:
    """Return the overview of all neurons."""
    rows = [f"| [`{name}`](neurons/{name}.md) | {first_sentence(kind.__doc__)} |" for name, kind in NEURONS.items()]
    return "\n".join(
        [
            "# Neurons",
            "",
            f"The {len(NEURONS)} neurons (`sandbox list neurons`). {len(IN_BRIAN2)} have equations, and are checked",
            "against Brian2, step by step, and in the limit of small steps against SciPy's solution: `sandbox validate",
            "lif`. The others see a whole sequence, count spikes or are published as steps; each names what it is",
            "checked against.",
            "",
            "| neuron | what it is |",
            "| --- | --- |",
            *rows,
            "",
        ]
    )


def tasks_page() -> str:
    """Return the overview of all tasks, with the time steps that each wants remembered."""
    rows = []
    for name, kind in TASKS.items():
        steps = kind().memory
        rows.append(f"| `{name}` | {'' if steps is None else f'{steps:,}'} | {first_sentence(kind.__doc__)} |")
    return "\n".join(
        [
            "# Tasks",
            "",
            f"The {len(TASKS)} tasks (`sandbox list tasks`). Memory is the number of time steps from the first input",
            "that has to do with the answer, both counted, with default options. More is never needed. Less may do",
            "where what tells the answer is spread over a sequence: `randman`, `sequential_mnist`, `fsdd`,",
            "`spoken_espeak` and `nmnist_small` say what a linear model makes of their last steps, and both tasks of",
            "moving digits what it makes of sums over time. Whether a rule has credit through time",
            "to earn is another question, and [measured](results.md#credit-through-time).",
            "",
            "| task | memory | what it is |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )


def cli_page() -> str:
    """Return the help of every subcommand, as the command line prints it."""
    parts = ["# Command line", f"```text\n{manual.overview()}\n```"]
    parts += [f"## sandbox {name}\n\n```text\n{manual.page(name)}\n```" for name in COMMANDS]
    codes = [line.split(maxsplit=1) for line in EXIT_CODES.splitlines()[1:]]
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in codes)
    parts.append(f"## Exit codes\n\n| code | meaning |\n| --- | --- |\n{rows}")
    return "\n\n".join(parts) + "\n"


def api_page(package: str, names: Iterable[str]) -> str:
    """Return a page that has mkdocstrings document every public name of a package."""
    doc = inspect.getdoc(sys.modules[package]) or ""
    entries = [f"::: {package}.{name}\n" for name in sorted(names, key=str.lower)]
    head = f"# Package `{package}`\n\n{first_sentence(doc)}\n\nEvery name below is imported from `{package}` itself:\n"
    example = f"`from {package} import {min(names, key=str.lower)}`. Other modules are internal and may move.\n"
    return "\n".join([head + example, "## Public names\n", *entries])


if __name__ == "__main__":
    written = generate(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
    print(f"{len(written)} files written")
