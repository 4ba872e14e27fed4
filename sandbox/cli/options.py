"""Every subcommand and its options as literal data, so that help is printed without importing torch."""

from __future__ import annotations

from typing import Any, NamedTuple


class Option(NamedTuple):
    """One option, or one positional argument if the name has no dashes."""

    name: str
    sentence: str
    default: Any = None
    type: Any = str
    shown: str = ""  # what the help shows after the name: NAME, FOLDER, 5 ...
    flag: bool = False  # takes no value
    positional: str = ""  # nargs of an optional positional argument


class Command(NamedTuple):
    """One subcommand.

    Args:
        act: `package.module:function` that carries it out.
        summary: one line for the help.
        example: a command line for the help.
        first: the options that are used most, with a sentence each; shorthands of `sandbox.cli.words` are allowed.
        options: the options that only the command line has.
        config: `package.module:Name` of the dataclass whose fields are options, too; empty for none.
    """

    act: str
    summary: str
    example: str
    first: tuple[tuple[str, str], ...]
    options: tuple[Option, ...]
    config: str = ""


EXECUTOR = Option(
    "--executor",
    "where jobs run: local, shared (all hosts that see the folder), slurm or ray; or `{name: ..., options: ...}`",
    None,
    str | dict[str, Any] | None,
    "NAME",
)
EXECUTOR_OPTIONS = Option(
    "--executor-options", "options of the executor, such as '{lease: 60}'", {}, dict[str, Any], "OPTIONS"
)
STORAGE = Option(
    "--storage",
    "where trials are kept: sqlite, journal (the default where several hosts tune), or the URL of a database",
    None,
    str | None,
    "STORAGE",
)
OUT = Option("--out", "folder of all runs", "runs", shown="FOLDER")
DATA = Option(
    "--data-dir", "where data sets are; by default SANDBOX_DATA, then the user's cache", None, str | None, "FOLDER"
)
TRACK = Option(
    "--track",
    "also log to tensorboard or mlflow (the extra `trackers`), or to path/to/file.py:Name; one name or a list",
    [],
    list[str] | str,
    "NAME",
)
JOBS = Option("--jobs", "number of processes", 2, int, "2")
SKIP = Option("--skip-unfit", "leave out rules that cannot learn on this model, instead of refusing", flag=True)
MIXED = Option(
    "--mixed-revisions", "mark runs of different code revisions in the table, instead of refusing", flag=True
)
TRUST = Option("--trust", "run the code that a folder from elsewhere names, after you have read that code", flag=True)
ACCEPT = Option(
    "--accept-changes",
    "go on where data, own code, revision or kernels have changed, and mark it in tables, instead of refusing",
    flag=True,
)
FOLDER = Option("folder", "a run, a comparison, a grid, a tuning or a curriculum", shown="FOLDER")
JSON = Option("--json", "print JSON for machines, and no progress bar", flag=True)
HELP = (("--help", "show this help"), ("--help-all", "show every option, with its type and default"))

RULES = ("--rules NAMES", "rules to compare: bptt, or a list such as '[bptt, {name: bptt, options: {window: 5}}]'")
TASK = ("--task NAME", "what to learn: a name of `sandbox list tasks`, or path/to/file.py:Name")
CONFIG = ("--config FILE", "read any of the options from a YAML file, which is code: what it names is imported")

COMMANDS: dict[str, Command] = {
    "run": Command(
        "sandbox.cli.runs:run",
        "learn one task with one rule and one seed",
        "sandbox run --task yinyang --rule bptt --epochs 3",
        (
            TASK,
            ("--rule NAME", "the learning rule: a name of `sandbox list rules`, or path/to/file.py:recipe"),
            ("--epochs N", "passes over the training samples, 30 by default"),
            ("--seed N", "seed of everything that is random, 0 by default"),
            ("--network.hidden WIDTHS", "units of each hidden layer, such as 30 or '[100, 50r]' (r: recurrent)"),
            ("--network.model NAME", "in its place a name of `sandbox list models`, or path/to/file.py:Name"),
            ("--parent FOLDER", "a finished run: its weights, its model as teacher, or both, --parent.how"),
            CONFIG,
        ),
        (OUT, DATA, TRACK, ACCEPT),
        "sandbox.config.experiment:Experiment",
    ),
    "compare": Command(
        "sandbox.cli.comparisons:compare",
        "run rules x seeds and print accuracies with intervals and verdicts",
        "sandbox compare --rules '[bptt, hzo]' --epochs 3 --seeds 8",
        (
            RULES,
            TASK,
            ("--seeds N", "paired seeds; fewer than 6 cannot distinguish a single rule from the baseline"),
            ("--epochs N", "passes over the training samples, 30 by default"),
            ("--sweep PATH=VALUES", "try several values, such as --sweep rule.options.lr='[0.01, 0.1]'; also several"),
            CONFIG,
        ),
        (
            Option(
                "--preset",
                "a grid of comparisons: demo, paper, or a YAML file with `comparisons`",
                None,
                str | None,
                "NAME",
            ),
            Option(
                "--sweep",
                "values of a setting of every rule but the baseline, PATH='[a, b]'",
                [],
                list[str],
                "PATH=VALUES",
            ),
            Option(
                "--join",
                "work on the comparison, grid or tuning in this folder, which another host shares, until all is done",
                None,
                str | None,
                "FOLDER",
            ),
            JOBS,
            EXECUTOR,
            EXECUTOR_OPTIONS,
            STORAGE._replace(sentence="of a tuning that is joined: the URL of its database"),
            OUT,
            DATA,
            TRACK,
            SKIP,
            MIXED,
            ACCEPT,
            TRUST._replace(sentence="of --join: run the code that the folder names, after you have read that code"),
        ),
        "sandbox.comparisons.comparison:Comparison",
    ),
    "tune": Command(
        "sandbox.cli.comparisons:tune",
        "give every rule the same number of trials on validation data; writes tuned.yaml",
        "sandbox tune experiments/yinyang.yaml --trials 20 --searches 3 --jobs 2",
        (),
        (
            Option("config", "YAML file of a comparison or of a grid, or the name of a preset", shown="FILE"),
            Option("--trials", "trials of every search", 20, int, "20"),
            Option("--seeds", "seeds of a trial, whose mean counts; not those of the comparison", 1, int, "1"),
            Option(
                "--searches",
                "searches of every rule on every task, each with seeds and validation samples of its own; with 2 or "
                "more, intervals of the comparison include the error of tuning",
                3,
                int,
                "3",
            ),
            Option("--sampler", "how trials are proposed: tpe, random, or stratified", "tpe", str, "tpe"),
            Option("--jobs", "number of processes, each with one search at a time", 2, int, "2"),
            EXECUTOR,
            EXECUTOR_OPTIONS,
            STORAGE,
            OUT,
            DATA,
            SKIP,
        ),
    ),
    "curriculum": Command(
        "sandbox.cli.curriculum:curriculum",
        "let a network of many time steps teach one of fewer, stage by stage",
        "sandbox curriculum experiments/curricula/fsdd.yaml --seed 1",
        (
            ("--stages BINS", "steps that are summed to one in each stage, such as '[1, 2, 4]'; they never fall"),
            TASK,
            ("--epochs N", "passes over the training samples in each stage"),
            ("--seed N", "seed of everything that is random, 0 by default"),
            ("--keep WHOSE", "weights that a stage hands on: best, those that were best on validation data, or last"),
        ),
        (
            Option("file", "YAML file of a curriculum, which is code: what it names is imported", shown="CONFIG"),
            OUT,
            DATA,
            TRACK,
            ACCEPT,
        ),
        "sandbox.config.curriculum:Curriculum",
    ),
    "resume": Command(
        "sandbox.cli.runs:resume",
        "continue a stopped run, comparison, grid, tuning or curriculum, bit for bit",
        "sandbox resume runs/FOLDER",
        (),
        (FOLDER, JOBS, EXECUTOR, EXECUTOR_OPTIONS, STORAGE, DATA, TRACK, SKIP, MIXED, ACCEPT, TRUST),
    ),
    "report": Command(
        "sandbox.cli.runs:report",
        "write the HTML report and the figures of a folder",
        "sandbox report runs/FOLDER",
        (),
        (FOLDER,),
    ),
    "table": Command(
        "sandbox.cli.tables:table",
        "build a table from finished runs, however they were produced",
        "sandbox table runs/FOLDER",
        (),
        (Option("folder", "holds run folders that differ only in rule and seed", shown="FOLDER"), DATA, MIXED, ACCEPT),
    ),
    "verify": Command(
        "sandbox.cli.verifying:verify",
        "say what of a folder still holds: seals, code, data, tables; reads only, and runs nothing in it",
        "sandbox verify runs/FOLDER",
        (),
        (Option("folder", "a run, a comparison, a grid, a tuning, or a folder of those", shown="FOLDER"), DATA),
    ),
    "ledger": Command(
        "sandbox.cli.ledger:ledger",
        "estimate what one update of a run would take on hardware for training",
        "sandbox ledger runs/FOLDER --hardware neuromc,sata",
        (),
        (
            Option("folder", "a run, finished or not", shown="RUN"),
            Option(
                "--hardware",
                "sets of constants, joined by commas: neuromc, neuromc_sparse, sata, horowitz_45nm",
                "neuromc",
                str,
                "NAMES",
            ),
            Option("--rule", "the work of another rule on the same network", None, str | None, "NAME"),
            Option(
                "--optimizer",
                "sgd, momentum or adam, or none to leave it out; by default that of the run",
                None,
                str | None,
                "NAME",
            ),
            Option("--buffer", "bytes of SRAM that a tensor has to fit into", None, int | None, "BYTES"),
            Option("--dram", "whether to count DRAM; by default as the constants say", None, bool | None, "true"),
            Option(
                "--bits", "of all weights; by default those of the run's plasticity, and 16", None, int | None, "16"
            ),
            DATA,
            TRUST,
        ),
    ),
    "inspect": Command(
        "sandbox.cli.inspecting:inspect_",
        "show signals, operations, rates and energy at every weight of a model, or of the model of a run",
        "sandbox inspect spikingformer --size tiny --steps 4",
        (),
        (
            Option("target", "a run, or a name of `sandbox list models`, or path/to/file.py:function", shown="MODEL"),
            Option("--size", "of a model: one of `sandbox list models`, tiny by default", None, str | None, "NAME"),
            Option(
                "--shape",
                "of one input, such as '[3, 32, 32]'; by default that of the size",
                None,
                list[int] | None,
                "SHAPE",
            ),
            Option("--classes", "outputs of a model", None, int | None, "10"),
            Option("--steps", "steps of a sequence; by default as many as suit the model", None, int | None, "N"),
            Option("--options", "options of a model, such as '{neuron: ilif}'", {}, dict[str, Any], "OPTIONS"),
            Option("--samples", "of noise for a model, of the validation set for a run", 8, int, "8"),
            Option("--figure", "draw rates and energies into this .png, .svg or .pdf", None, str | None, "FILE"),
            DATA,
            TRUST,
        ),
    ),
    "prune": Command(
        "sandbox.cli.pruning:prune",
        "remove shortcuts that have fallen silent from the model of a run; outputs stay the same bit for bit",
        "sandbox prune runs/FOLDER",
        (),
        (
            Option("folder", "a run with a model that has gates, such as orrc_resnet", shown="RUN"),
            Option(
                "--rate",
                "spikes per neuron and step below which a shortcut is silent; 0 for those that never fired",
                1e-6,
                float,
                "1e-6",
            ),
            DATA,
            TRUST,
        ),
    ),
    "sample": Command(
        "sandbox.cli.sampling:sample",
        "let the model of a run on text go on with a prompt; prints the text alone",
        "sandbox sample runs/FOLDER --prompt 'ROMEO:' --length 200 --temperature 0.8",
        (),
        (
            Option("folder", "a run of a task of text, such as tiny_shakespeare, finished or not", shown="RUN"),
            Option("--prompt", "what the text begins with; the end of a line by default", "\n", str, "TEXT"),
            Option("--length", "characters or bytes to write", 200, int, "200"),
            Option("--temperature", "above 0; below 1 likely characters become likelier", 0.8, float, "0.8"),
            Option("--top-k", "draw among so many likeliest characters alone", None, int | None, "K"),
            Option("--seed", "of all draws", 0, int, "0"),
            DATA,
            TRUST,
        ),
    ),
    "validate": Command(
        "sandbox.cli.checks:validate",
        "check a neuron against Brian2 and SciPy, or against its formula",
        "sandbox validate lif --duration 200 --tiers same_scheme",
        (),
        (
            Option(
                "neuron",
                "a name of `sandbox list neurons`, `all`, path/to/file.py:Name, or a class of snnTorch, SpikingJelly, "
                "Norse or Sinabs, such as snntorch:Leaky; the module or file is imported, which runs its code",
                shown="NEURON",
            ),
            Option("--tiers", "some of same_scheme, float32, limit; all by default", None, list[str] | None, "NAMES"),
            Option("--options", "parameters of the neuron, such as '{tau_mem: 10.0}'", {}, dict[str, Any], "OPTIONS"),
            Option(
                "--as",
                "the equation that NEURON is said to be, a name of `sandbox list neurons`; NEURON is then any function "
                "step(current, state) that returns (spikes, state) or (spikes, v, state), or a class or function that "
                "is called with --options and returns one",
                None,
                str | None,
                "NAME",
            ),
            Option(
                "--as-options", "parameters of that equation, such as '{tau_mem: 10.0}'", {}, dict[str, Any], "OPTIONS"
            ),
            Option("--dt", "time step [ms]", 0.1, float, "0.1"),
            Option(
                "--duration",
                "biological time of each stimulus [ms]; of cells without equations 200 steps by default",
                None,
                float | None,
                "1000",
            ),
            Option("--cells", "cells of each stimulus, each with its own current", 20, int, "20"),
            Option("--seed", "seed of the noise in the currents", 0, int, "0"),
            Option("--html", "write one page for all neurons to this file", None, str | None, "FILE"),
            Option("--jobs", "number of processes, where there are several neurons", 2, int, "2"),
            EXECUTOR,
            EXECUTOR_OPTIONS,
        ),
    ),
    "check": Command(
        "sandbox.cli.checks:check",
        "check a learning rule against the contract and its own claim",
        "sandbox check bptt",
        (),
        (
            Option("rule", "a name of `sandbox list rules`, `all`, or path/to/file.py:recipe", shown="RULE"),
            Option("--options", "options of the rule, such as '{lr: 0.01}'", {}, dict[str, Any], "OPTIONS"),
        ),
    ),
    "list": Command(
        "sandbox.cli.listing:list_",
        "list rules, tasks, neurons, devices and runs",
        "sandbox list rules",
        (),
        (
            Option("kind", "only these: runs, rules, tasks, neurons ...", None, str, "[KIND]", positional="?"),
            Option("name", "the page of one: sandbox list rules eprop", None, str, "[NAME]", positional="?"),
            Option("--rule", "only runs of this rule", None, str | None, "NAME"),
            Option("--task", "only runs of this task", None, str | None, "NAME"),
            Option(
                "--status",
                "only runs that are running, stopped, done, failed, refused or damaged",
                None,
                str | None,
                "STATUS",
            ),
            Option("--markdown", "print a page for each member, from its docstring", flag=True),
            Option("--folder", "write the pages into this folder, a file for each", None, str | None, "FOLDER"),
            OUT,
        ),
    ),
    "index": Command(
        "sandbox.cli.listing:index_",
        "count the runs of the index, or rebuild it from their folders",
        "sandbox index --rebuild",
        (),
        (Option("--rebuild", "rebuild the index from the run folders", flag=True), OUT),
    ),
    "doctor": Command(
        "sandbox.cli.diagnosis:doctor",
        "report what is installed and whether it works",
        "sandbox doctor",
        (),
        (),
    ),
}

OK, FOUND_WRONG, BAD_INPUT, FAILED, IN_USE, INTERRUPTED = 0, 1, 2, 3, 4, 130
EXIT_CODES = """exit codes:
  0    done
  1    a validation or a check failed
  2    bad input: something misspelt, missing or impossible; the message lists what is valid
  3    a run failed (a NaN, a killed worker), or storage did (a full or read-only disk, no memory, no file locks, an
       output that cannot be written); the last good checkpoint is kept
  4    the folder is in use by another process
  130  interrupted; the message names the command that continues"""
