"""The command line: run, compare, tune, resume, report, table, validate, check, list, index, doctor."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from rules.contract import MissingNeed
from rules.diagnostics.nonfinite import NonFinite
from sandbox.cli import comparisons, diagnosis, library, runs
from sandbox.comparisons.comparison import Comparison
from sandbox.config.experiment import Experiment
from sandbox.config.reading import built, explain, parser_of
from sandbox.runs.book import RunFailed
from sandbox.runs.folder import FolderInUse
from sandbox.tracking import TRACKERS

OK, SAYS_NO, BAD_INPUT, FAILED, IN_USE, INTERRUPTED = 0, 1, 2, 3, 4, 130

EXIT_CODES = """exit codes:
  0    done
  1    a validation or a check said no
  2    bad input: something misspelt, missing or impossible; the message lists what is valid
  3    a run failed (a NaN, a killed worker, a full disk); its last good checkpoint is kept
  4    the folder is in use by another process
  130  interrupted; `sandbox resume FOLDER` continues"""


def _folder_options(sub: ArgumentParser) -> None:
    sub.add_argument("--out", type=str, default="runs", help="folder of all runs")
    sub.add_argument("--data-dir", type=str | None, default=None, help="where the data sets are (or SANDBOX_DATA)")


def _run_options(sub: ArgumentParser) -> None:
    _folder_options(sub)
    _track_option(sub)


def _track_option(sub: ArgumentParser) -> None:
    who = f"tell {', '.join(TRACKERS)} (the extra `trackers`), package.module:Name or path/to/file.py:Name"
    sub.add_argument("--track", type=list[str] | str, default=[], help=f"{who}; or several: '[tensorboard, mlflow]'")


def _compare_options(sub: ArgumentParser) -> None:
    _folder_options(sub)
    _track_option(sub)
    sub.add_argument("--jobs", type=int, default=2, help="processes, each with its own thread cap")
    sub.add_argument("--preset", type=str | None, default=None, help="paper, demo, or a YAML file with `comparisons`")
    _admission_options(sub)


def _admission_options(sub: ArgumentParser) -> None:
    _fit_option(sub)
    _revision_option(sub)


def _fit_option(sub: ArgumentParser) -> None:
    sub.add_argument("--skip-unfit", action="store_true", help="leave out rules that cannot learn on this model")


def _revision_option(sub: ArgumentParser) -> None:
    sub.add_argument("--mixed-revisions", action="store_true", help="mark runs of different code, and do not refuse")


def _tune_options(sub: ArgumentParser) -> None:
    sub.add_argument("config", type=str, help="YAML file of a comparison or of a grid, or the name of a preset")
    sub.add_argument("--trials", type=int, default=20, help="of every rule on every task")
    sub.add_argument("--seeds", type=int, default=1, help="of a trial, whose mean counts; not those of the comparison")
    sub.add_argument("--jobs", type=int, default=2, help="processes, each tuning one rule")
    _fit_option(sub)
    _folder_options(sub)


def _table_options(sub: ArgumentParser) -> None:
    sub.add_argument("folder", type=str, help="with run folders below it that differ in rule and seed alone")
    sub.add_argument("--data-dir", type=str | None, default=None, help="where the data sets are (or SANDBOX_DATA)")
    _revision_option(sub)


def _index_options(sub: ArgumentParser) -> None:
    sub.add_argument("--rebuild", action="store_true", help="write it anew from the run folders alone")
    sub.add_argument("--out", type=str, default="runs", help="folder of all runs")


def _resume_options(sub: ArgumentParser) -> None:
    sub.add_argument("folder", type=str, help="a run, a comparison, a grid or a tuning")
    sub.add_argument("--data-dir", type=str | None, default=None, help="where the data sets are (or SANDBOX_DATA)")
    sub.add_argument("--jobs", type=int, default=2, help="processes, for a comparison")
    _track_option(sub)
    _admission_options(sub)


def _report_options(sub: ArgumentParser) -> None:
    sub.add_argument("folder", type=str, help="a run, a comparison, a grid or a tuning")


def _validate_options(sub: ArgumentParser) -> None:
    sub.add_argument(
        "neuron", type=str, help="a name of `sandbox list`, all, package.module:Name or path/to/file.py:Name"
    )
    sub.add_argument("--options", type=dict[str, Any], default={}, help="options of the neuron")
    sub.add_argument("--tiers", type=list[str] | None, default=None, help="some of same_scheme, float32, limit; or all")
    sub.add_argument("--dt", type=float, default=0.1, help="time step [ms]")
    sub.add_argument("--duration", type=float, default=1000.0, help="biological time of each stimulus [ms]")
    sub.add_argument("--cells", type=int, default=20, help="cells of each stimulus, each with its own current")
    sub.add_argument("--seed", type=int, default=0, help="of the noise")
    sub.add_argument("--html", type=str | None, default=None, help="write one page for all neurons to this file")
    sub.add_argument("--jobs", type=int, default=2, help="processes, where there are several neurons")


def _check_options(sub: ArgumentParser) -> None:
    sub.add_argument("rule", type=str, help="a name of `sandbox list`, all, or package.module:Name")
    sub.add_argument("--options", type=dict[str, Any], default={}, help="options of the rule")


def _list_options(sub: ArgumentParser) -> None:
    sub.add_argument("kind", type=str, nargs="?", default=None, help="only these: runs, rules, tasks, neurons ...")
    for name, what in (("rule", "name"), ("task", "name"), ("status", "running, done, failed or damaged")):
        sub.add_argument(f"--{name}", type=str | None, default=None, help=f"only runs of this {name}: {what}")
    sub.add_argument("--markdown", action="store_true", help="print a page for each, from its docstring")
    sub.add_argument("--folder", type=str | None, default=None, help="write the pages here instead, a file for each")
    sub.add_argument("--out", type=str, default="runs", help="folder of all runs")


class Command(NamedTuple):
    """One subcommand: what it does, how it is explained, and which options it has."""

    act: Callable[[Any], int]
    summary: str
    example: str
    config: type[Any] | None  # whose fields are its options, if any
    options: Callable[[ArgumentParser], None]


COMMANDS: dict[str, Command] = {
    "run": Command(
        runs.run,
        "learn one task with one rule and one seed",
        "sandbox run --rule.name bptt --epochs 20 --microscope.every 100",
        Experiment,
        _run_options,
    ),
    "compare": Command(
        comparisons.compare,
        "run rules x seeds and print accuracies with intervals; or a preset, all rules on several tasks",
        "sandbox compare --rules '[bptt, {name: bptt, options: {window: 5}}]' --seeds 5 --jobs 2",
        Comparison,
        _compare_options,
    ),
    "tune": Command(
        comparisons.tune,
        "give every rule the same number of trials on validation data; writes tuned.yaml",
        "sandbox tune experiments/yinyang.yaml --trials 20 --jobs 2",
        None,
        _tune_options,
    ),
    "resume": Command(
        runs.resume,
        "continue a stopped run or comparison, bit for bit",
        "sandbox resume runs/FOLDER",
        None,
        _resume_options,
    ),
    "report": Command(
        runs.report,
        "write the HTML report and the figures of a folder",
        "sandbox report runs/FOLDER",
        None,
        _report_options,
    ),
    "table": Command(
        comparisons.table,
        "compare finished runs, wherever they were made",
        "sandbox table runs",
        None,
        _table_options,
    ),
    "validate": Command(
        library.validate,
        "hold a neuron to Brian2 and SciPy",
        "sandbox validate my_neuron.py:MyNeuron --tiers '[same_scheme, float32]' --html conformance.html",
        None,
        _validate_options,
    ),
    "check": Command(
        library.check,
        "hold a learning rule to the contract",
        "sandbox check bptt",
        None,
        _check_options,
    ),
    "list": Command(
        library.list_,
        "list rules, tasks, neurons and runs",
        "sandbox list runs --rule bptt --status done",
        None,
        _list_options,
    ),
    "index": Command(
        runs.index_,
        "count the runs of the index, or rebuild it from their folders",
        "sandbox index --rebuild --out runs",
        None,
        _index_options,
    ),
    "doctor": Command(
        diagnosis.doctor,
        "say what is installed and whether it works",
        "sandbox doctor",
        None,
        lambda sub: None,
    ),
}


def make_parser() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """The whole command line, and the parser of each subcommand."""
    parsers: dict[str, ArgumentParser] = {}
    for name, (_, summary, example, kind, options) in COMMANDS.items():
        about: dict[str, Any] = {"description": f"{summary}\n\nexample:\n  {example}", "formatter_class": _formatter()}
        sub = parser_of(kind, **about) if kind else ArgumentParser(exit_on_error=False, allow_abbrev=False, **about)
        options(sub)
        sub.add_argument("--json", action="store_true", help="print JSON for machines")
        parsers[name] = sub
    whole = ArgumentParser(
        prog="sandbox",
        exit_on_error=False,
        allow_abbrev=False,
        description=f"{__doc__}\n\nexample:\n  sandbox compare --seeds 3",
        epilog=EXIT_CODES,
        formatter_class=_formatter(),
    )
    subcommands = whole.add_subcommands(dest="command")
    for name, sub in parsers.items():
        subcommands.add_subcommand(name, sub, help=COMMANDS[name].summary)
    return whole, parsers


def _formatter() -> Any:
    from jsonargparse import DefaultHelpFormatter

    class Plain(DefaultHelpFormatter):
        """Keeps the line breaks of description and epilogue."""

        def _fill_text(self, text: str, width: int, indent: str) -> str:
            return text

    return Plain


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    >>> main(["check", "bptt"])  # doctest: +ELLIPSIS
    bptt
    ok    plain data...
    0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    whole, parsers = make_parser()
    try:
        parsed = whole.parse_args(words)
        return _call(parsed)
    except ArgumentError as error:
        named = next((word for word in words if word in parsers), None)
        return _complain(explain(parsers[named] if named else whole, error), BAD_INPUT)
    except FolderInUse as error:
        return _complain(str(error), IN_USE)
    except (RunFailed, NonFinite) as error:
        return _complain(str(error), FAILED)
    except (ValueError, TypeError, FileNotFoundError, ImportError, MissingNeed) as error:
        return _complain(str(error), BAD_INPUT)
    except OSError as error:
        return _complain(f"{error}; make room or name another folder with --out, then `sandbox resume FOLDER`", FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted; `sandbox resume FOLDER` continues", INTERRUPTED)


def _call(parsed: Namespace) -> int:
    name = parsed.command
    given = parsed[name]
    command = COMMANDS[name]
    if command.config is not None:
        given["made"] = built(command.config, parser_of(command.config), given)
    return command.act(given)


def _complain(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
