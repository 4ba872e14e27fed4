"""`sandbox list` and `sandbox index`: names, pages and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rules.errors import unknown
from sandbox.cli import catalogue
from sandbox.cli.options import OK
from sandbox.cli.printing import percent, say
from sandbox.machine.text import line
from sandbox.measures import NAMES
from sandbox.runs import index

HEADINGS = {"task": "task (time steps to remember, at most)"}


def list_(given: Any) -> int:
    """List all registered names, those of one kind, or the runs; one of a kind, or with `--markdown`, as pages."""
    if given.kind in ("run", "runs"):
        if given.name is not None:
            raise ValueError(f"{given.name!r}: write `sandbox list runs --rule NAME`, or --task or --status")
        return runs(given)
    for name in index.FILTERS:
        if given[name] is not None:
            raise ValueError(f"--{name} chooses among runs: write `sandbox list runs --{name} {given[name]}`")
    known = catalogue.read()
    kinds = list(known) if given.kind is None else [kind_of(given.kind, list(known))]
    if given.name is not None and given.name not in known[kinds[0]]:
        raise unknown(kinds[0], given.name, known[kinds[0]])
    if given.markdown or given.folder or given.name is not None:
        return pages(kinds, given)
    facts: dict[str, Any] = {kind: known[kind] for kind in kinds}
    memory = catalogue.memory() if "task" in kinds else {}
    sizes = catalogue.sizes() if "model" in kinds else {}
    found = index.rows(Path(given.out)) if given.kind is None else []
    shown = {kind: _remembering(members, memory) if kind == "task" else members for kind, members in facts.items()}
    if sizes:
        shown["model"] = _sized(shown["model"], sizes)
    text = "\n\n".join(
        f"{HEADINGS.get(kind, kind)}\n"
        + "\n".join(f"  {name:<{max(map(len, members))}}  {sentence}" for name, sentence in members.items())
        for kind, members in shown.items()
    )
    if found:
        text += f"\n\nruns in {given.out}\n" + format_runs(found)
    more = {"memory": memory, "sizes": sizes}
    say(given, {**facts, **{key: value for key, value in more.items() if value}, "runs": found}, text)
    return OK


def _remembering(tasks: dict[str, str], memory: dict[str, int]) -> dict[str, str]:
    """Return the sentences of tasks behind the number of time steps to remember, at most."""
    width = len(f"{max(memory.values()):,}")
    shown = {name: f"{memory[name]:,}" if name in memory else "-" for name in tasks}
    return {name: f"{shown[name]:>{width}}  {sentence}" for name, sentence in tasks.items()}


def _sized(models: dict[str, str], sizes: dict[str, dict[str, int]]) -> dict[str, str]:
    """Return the sentences of models, and below those with sizes a line with the parameters of each."""
    indent = "\n" + " " * (4 + max(map(len, models)))
    shown = dict(models)
    for name, known in sizes.items():
        counts = "; ".join(f"{size}: {count:,}" for size, count in known.items())
        shown[name] += f"{indent}parameters  {counts}"
    return shown


def kind_of(name: str, kinds: list[str]) -> str:
    """Return the kind that a name stands for, in the singular or the plural."""
    plurals = {"plasticities": "plasticity", **{f"{kind}s": kind for kind in kinds}}
    kind = plurals.get(name, name)
    if kind not in kinds:
        raise unknown("kind", name, [*kinds, "runs"])
    return kind


def pages(kinds: list[str], given: Any) -> int:
    """Print Markdown pages of all members, or of the one that is named, or write a file for each into a folder."""
    from sandbox.cli.pages import page

    known = catalogue.registries()
    wanted = {name: member for kind in kinds for name, member in known[kind].items() if given.name in (None, name)}
    found = {name: page(name, member) for name, member in wanted.items()}
    if given.folder is None:
        say(given, found, "\n".join(found.values()))
        return OK
    folder = Path(given.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in found.items():
        (folder / f"{name}.md").write_text(text)
    say(given, {"folder": str(folder), "pages": sorted(found)}, f"{len(found)} pages in {folder}")
    return OK


def runs(given: Any) -> int:
    """List the runs of the index, or those of one rule, task or status."""
    found = index.rows(Path(given.out), **{name: given[name] for name in index.FILTERS})
    say(given, found, format_runs(found) or f"no such run in {given.out}")
    return OK


def format_runs(found: list[dict[str, Any]]) -> str:
    """Return a line for each run, with its test accuracy, or what its task is judged by in place of that."""
    return "\n".join(f"  {line(r['folder']):<44} {line(r['status']):<8} {_tested(r)}" for r in found)


def _tested(row: dict[str, Any]) -> str:
    if row["measure"] in (None, "accuracy"):
        return percent(row["test_accuracy"])
    return f"{NAMES[row['measure']]} {percent(row['test'])}"


def index_(given: Any) -> int:
    """Count the runs of the index; with `--rebuild`, rebuild it from the folders first."""
    root = Path(given.out)
    counts = index.rebuild(root) if given.rebuild else index.counts(root)
    parts = ", ".join(f"{count} {status}" for status, count in counts.items())
    say(given, counts, f"{sum(counts.values())} runs in {root / index.NAME}: {parts}")
    return OK
