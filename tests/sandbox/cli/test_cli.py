"""The command line does what its help describes, suggests corrections, and returns the documented exit codes."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from rules import RULES
from rules.check.rule import CHECKS
from sandbox.cli import catalogue, main
from sandbox.cli.options import BAD_INPUT, COMMANDS, EXECUTOR, FAILED, FOUND_WRONG, IN_USE, INTERRUPTED, OK
from sandbox.cli.parser import parser_for
from sandbox.cli.words import understood
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.sweep import swept
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict, from_words, valid_options
from sandbox.config.rule import RuleConfig
from sandbox.executors import EXECUTORS
from tests.conftest import ROOT

TINY = [
    "--task.options={train: 100, validation: 50, test: 50}",
    "--encoder.options={steps: 4}",
    "--network.hidden=[8]",
    "--epochs=2",
    "--batch_size=50",
]
TINY_COMPARE = [f"--experiment.{option[2:]}" for option in TINY]


def call(capsys, *words):
    code = main([str(word) for word in words])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_run_resume_and_report(tmp_path, capsys):
    code, out, _ = call(capsys, "run", *TINY, "--out", tmp_path)
    assert code == OK
    assert "test accuracy" in out
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    code, out, _ = call(capsys, "resume", folder, "--json")
    assert code == OK
    assert json.loads(out)["steps"] == 4
    code, out, _ = call(capsys, "report", folder, "--json")
    assert code == OK
    assert json.loads(out)["html"].endswith("report.html")
    code, out, _ = call(capsys, "list", "--out", tmp_path, "--json")
    assert json.loads(out)["runs"][0]["status"] == "done"


@pytest.mark.slow
def test_compare_prints_a_table_and_a_report(tmp_path, capsys):
    code, out, _ = call(capsys, "compare", *TINY_COMPARE, "--seeds", 1, "--out", tmp_path)
    assert code == OK
    assert "linear classifier" in out
    assert "readout_only" in out
    report = out.strip().splitlines()[-1].removeprefix("report: ")
    assert report.endswith("report.html")
    assert "<table" in Path(report).read_text()


def test_a_yaml_file_with_overrides(tmp_path, capsys):
    config = tmp_path / "e.yaml"
    config.write_text(yaml.safe_dump({"epochs": 1, "rule": {"name": "readout_only"}}))
    code, out, _ = call(capsys, "run", "--config", config, *TINY, "--seed", 4, "--out", tmp_path, "--json")
    assert code == OK
    assert "yinyang-readout_only-s4" in json.loads(out)["folder"]


def test_a_misspelt_key_in_yaml(tmp_path, capsys):
    config = tmp_path / "e.yaml"
    config.write_text("epoch: 1\n")
    code, _, err = call(capsys, "run", "--config", config)
    assert code == BAD_INPUT
    assert "epoch" in err
    assert "nearest: 'epochs'" in err


@pytest.mark.slow
def test_validate_says_yes_and_no(capsys):
    code, out, _ = call(capsys, "validate", "lif", "--duration", 50, "--cells", 3)
    assert (code, "agrees with Brian2" in out) == (OK, True)
    code, out, _ = call(capsys, "validate", "tests.sandbox.reference.broken_neurons:Sloppy", "--duration", 50, "--json")
    assert code == FOUND_WRONG
    assert json.loads(out)[0]["passed"] is False


def test_check_all_walks_the_registry_and_says_yes(capsys, monkeypatch):
    """With one check, that costs nothing; that every rule passes every check is tested in tests/rules/check/test_rule.py."""
    monkeypatch.setattr("rules.check.rule.CHECKS", {"plain data": CHECKS["plain data"]})
    code, out, _ = call(capsys, "check", "all", "--json")
    assert code == OK
    assert set(json.loads(out)) == set(RULES)
    assert all(results[0]["check"] == "plain data" for results in json.loads(out).values())


def test_check_says_no_to_a_broken_rule(capsys):
    code, out, _ = call(capsys, "check", "tests.sandbox.cli.test_cli:broken")
    assert (code, "FAIL  claim holds" in out) == (FOUND_WRONG, True)


def broken():
    """A rule whose credit is twice too long."""
    from dataclasses import replace

    import rules
    from tests.rules.check.broken import TwiceAsLong

    return replace(rules.make("bptt"), credit=TwiceAsLong())


def test_doctor_and_list(capsys):
    code, out, _ = call(capsys, "doctor", "--json")
    assert code == OK
    found = json.loads(out)
    assert found["brian2_agrees"] is True
    assert found["kernels"].startswith("numba ")
    assert found["synapses"].startswith("numba ")
    code, out, _ = call(capsys, "list")
    assert all(name in out for name in ("bptt", "yinyang", "lif", "latency", "tet", "reram_array_hfo2", "positional"))


def test_tasks_are_listed_with_the_steps_that_they_want_remembered(capsys):
    code, out, _ = call(capsys, "list", "tasks")
    lines = {words[0]: words[1] for line in out.splitlines()[1:] if (words := line.split())}
    assert code == OK
    assert (lines["yinyang"], lines["sequential_mnist"], lines["cue_accumulation"]) == ("1", "28", "2,051")
    _, out, _ = call(capsys, "list", "tasks", "--json")
    assert json.loads(out)["memory"]["delayed_xor"] == 141


def test_models_are_listed_with_the_parameters_of_their_sizes(capsys):
    code, out, _ = call(capsys, "list", "models")
    lines = out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.split()[:1] == ["qkformer"])
    assert code == OK
    assert lines[place + 1].split("; ")[1:3] == ["hst-10-384: 16,473,688", "hst-10-512: 29,079,336"]
    assert "parameters" not in lines[1]  # `convolutional` has no sizes
    _, out, _ = call(capsys, "list", "models", "--json")
    assert json.loads(out)["sizes"]["spikformer"]["8-512"] == 29_689_384


def test_one_of_a_kind_is_shown_with_its_page(capsys):
    code, out, _ = call(capsys, "list", "rules", "eprop")
    assert code == OK
    assert out.startswith("# eprop (`eprop`)\n\ne-prop: traces of")
    assert "| `signal` | `'symmetric'` |" in out
    assert "| `every` | `None` |" in out
    assert out.count("\n# ") == 0
    code, out, _ = call(capsys, "list", "neuron", "lif", "--json")
    assert (code, [*json.loads(out)]) == (OK, ["lif"])
    assert call(capsys, "list", "tasks", "yinyang")[1].count("\n# ") == 0


def test_devices_are_listed_with_what_sets_them_apart(capsys):
    code, out, _ = call(capsys, "list", "devices")
    assert code == OK
    assert "noisy_soft_bounds  SoftBounds(dw_min=0.01, dw_min_dtod=0.3, dw_min_std=3.0)" in out
    _, pages, _ = call(capsys, "list", "devices", "--markdown")
    assert "# DifferentialPair (`pcm`)" in pages
    assert "| `dw_min` | `0.4622` |" in pages
    _, stores, _ = call(capsys, "list", "stores", "--markdown")
    assert "# AccumulateAndCarry (`direct`)" in stores


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--rule.name", "bpt"], "unknown rule 'bpt'; nearest: 'bptt'; valid: bptt, tet, tcl"),
        (["run", "--task.name", "yingyang"], "unknown task 'yingyang'; nearest: 'yinyang'"),
        (["run", "--network.neuron.name", "lift"], "unknown neuron 'lift'; nearest: 'lif'"),
        (["run", "--rule.options", "{learn: 1}"], "unknown option of rule 'bptt' 'learn'"),
        (["run", "--epoch", "3"], "nearest: --epochs; --help-all lists all options"),
        (["run", "--epochs", "0"], "epochs=0: give a whole number"),
        (["compare", "--seed", "3"], "nearest: --seeds"),
        (["validate", "izhikevic"], "unknown neuron 'izhikevic'"),
        (["check", "hzoo"], "unknown rule 'hzoo'; nearest: 'hzo'"),
        (["list", "rules", "epropp"], "unknown rule 'epropp'; nearest: 'eprop'"),
        (["list", "runs", "eprop"], "'eprop': write `sandbox list runs --rule NAME`, or --task or --status"),
        (["report", "nowhere"], "nowhere is not a run folder"),
        (["resume", "nowhere"], "nowhere is not a run folder"),
        (["runn"], "unknown command 'runn'; nearest: 'run'"),
        (["validate", "LIF"], "unknown neuron 'LIF'; nearest: 'lif'"),
        (
            ["compare", "--rules", "[bptt, {name: bptt, option: {}}]"],
            "unknown key of rules[1] 'option'; nearest: 'options'",
        ),
        (["compare", "--sweep", "rule.options.lr=0.1"], "write a setting and a list, as in --sweep rule.options.lr="),
        (["compare", "--rule", "bptt"], "nearest: --rules; --help-all lists all options"),
        (["tune", "--config", "x.yaml"], "give FILE without a name: sandbox tune FILE"),
        (["tune", "--rules", "bptt"], "valid: --data-dir, --executor, --executor-options, --help-all, --jobs, --json,"),
        (["run", "--executor", "ray"], "valid: --accept-changes, "),
        (["resume", "x", "--accept_change"], "nearest: --accept-changes"),
        (["run", "--checkpoint-step", "5"], "nearest: --checkpoint_steps"),
        (["table", "a", "b"], "unrecognized arguments: b\ngive one FOLDER: sandbox table FOLDER"),
        (["run", "bptt"], "unrecognized arguments: bptt\nnames of options begin with two dashes"),
        (["compare", "--jobs", '"2"'], "--jobs='2': give a whole number of at most 63 bits; this is text, leave out"),
        (["tune", "demo", "--trials", "2.5"], "--trials=2.5: give a whole number of at most 63 bits"),
        (["validate", "lif", "--dt", "fast"], "--dt='fast': give a finite number"),
        (["check", "bptt", "--options", '{lr: "0.1"}'], "lr='0.1': give a finite number; this is text"),
        (["check", "bptt", "--options", "3"], "--options=3: give names with their values"),
        (["validate", "lif", "--options", "{"], "--options is not valid YAML"),
        (["run", "--seed", "9" * 20], "give a whole number of at most 63 bits"),
        (["validate", "lif", "--dt", "0"], "dt=0.0: give a number above 0"),
        (["check", "rules.check.toy:smooth"], "is a Static; name a function that returns a rules.LearningRule"),
        (["compare", "--sweep", "rule.options.lr=[1]", "--sweep", "rule.options.lr=[2]"], "is given twice"),
        (["compare", "--sweep", "rule.epochs=[1.5]"], "give whole numbers of epochs"),
        (["compare", "--sweep", "rule.credit=[1]"], "give names; parts with options belong in a file"),
        (["compare", "--sweep", "rule.label=[a, b]"], "unknown setting of a rule 'label'"),
        (["compare", "--rules", "readout_only", "--sweep", "rule.epochs=[1]"], "there is no other; name one"),
        (["compare", "--sweep", "rule.optoins.lr=[1]"], "unknown setting of a rule 'optoins'; nearest: 'options'"),
        (["compare", "--sweep", "task.name=[digits]"], "a sweep varies settings of a rule"),
        (["run", "--rule", "{name: bptt, label: a/b}"], "label='a/b' is part of the name of a folder"),
        (["run", "--device", "gpu"], "device='gpu': give 'cpu', 'cuda', or one of several as 'cuda:1'"),
        (["run", "--device", "cuda:99"], "has no such device here; it has 'cpu'"),
        (["compare", "--device", "cuda:99"], "has no such device here; it has 'cpu'"),
        (["run", "--schedule", "cosin"], "unknown schedule 'cosin'; nearest: 'cosine'; valid: warm_up, cosine, step"),
        (["compare", "--schedule", "step", "--schedule.options.gama=1"], "unknown option of schedule 'step' 'gama'"),
        (["run", "--precision", "float16"], "unknown precision 'float16'; nearest: 'bf16'; valid: full, bf16"),
        (["run", "--clip", "-1"], "clip=-1.0: give the largest norm of the gradients"),
        (["compare", "--accumulate", "0"], "accumulate=0: give the number of steps that make an update"),
    ],
)
def test_bad_input_is_answered(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, *words)
    assert code == BAD_INPUT
    assert "error: " in err
    assert message in err
    assert "print_shtab" not in err
    assert not err.startswith("folder: ")  # nothing has begun
    assert "Traceback" not in err


def test_a_failed_run_has_its_own_code(tmp_path, capsys):
    code, _, err = call(capsys, "run", *TINY, "--rule.options={lr: 3.0e+37}", "--epochs=50", "--out", tmp_path)
    assert code == FAILED
    assert "last good checkpoint" in err


def test_a_folder_in_use_has_its_own_code(tmp_path, capsys, monkeypatch):
    from sandbox.cli import runs
    from sandbox.runs.folder import FolderInUse

    def busy(*args, **keywords):
        raise FolderInUse("runs/x is in use by another process")

    monkeypatch.setattr(runs, "run_experiment", busy)
    assert call(capsys, "run", *TINY, "--out", tmp_path)[0] == IN_USE


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_has_help_with_an_example(name, capsys):
    code, shown, _ = call(capsys, name, "--help")
    assert code == OK
    assert f"example:\n  sandbox {name}" in shown
    assert "--json" in shown
    assert max(map(len, shown.splitlines())) <= 120


@pytest.mark.parametrize("name", [n for n, command in COMMANDS.items() if EXECUTOR in command.options])
def test_help_names_every_executor(name, capsys):
    shown = call(capsys, name, "--help")[1].split("--executor NAME")[1]
    assert set(EXECUTORS) <= set(re.findall(r"\w+", shown.partition("--executor-options")[0]))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_is_understood(name):
    words = shlex.split(COMMANDS[name].example)
    assert words[:2] == ["sandbox", name]
    parser_for(COMMANDS[name]).parse_args(understood(words[2:], name))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_option_of_its_own(name, capsys):
    """And the parser takes every option that the help puts first, in the words of the help."""
    _, shown, _ = call(capsys, name, "--help")
    assert all(option.name in shown or option.shown in shown for option in COMMANDS[name].options)
    valid = valid_options(parser_for(COMMANDS[name]))
    for flag, _ in COMMANDS[name].first:
        spelled = understood([flag.split(" ")[0], "x"], name)[0]
        word = spelled.partition("=")[0].removeprefix("--")
        assert word in valid or word.rpartition(".")[0] in valid  # a part of what may be absent, such as a parent


@pytest.mark.parametrize("name", ["run", "compare"])
def test_all_options_have_a_sentence(name, capsys):
    """Those of the dataclasses come from their docstrings."""
    code, shown, _ = call(capsys, name, "--help-all")
    assert code == OK
    assert "firing probability per step that initial weights are scaled to" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("command", "typed", "spelled"),
    [
        ("run", ["--rule", "bptt"], ["--rule.name=bptt"]),
        ("run", ["--rule={name: bptt}"], ["--rule={name: bptt}"]),
        ("run", ["--task=yinyang", "--json"], ["--task.name=yinyang", "--json"]),
        ("run", ["--network.hidden", "30r"], ["--network.hidden=[30r]"]),
        ("compare", ["--rules", "bptt,hzo"], ["--rules=[bptt,hzo]"]),
        ("compare", ["--task", "digits", "--epochs", "3"], ["--experiment.task.name=digits", "--experiment.epochs=3"]),
        ("compare", ["--sweep", "rule.options.lr=[1, 2]"], ['--sweep=["rule.options.lr=[1, 2]"]']),
        ("validate", ["--json", "lif", "--tiers", "limit"], ["--json", "lif", "--tiers=[limit]"]),
        ("list", ["rules", "--out", "x"], ["rules", "--out", "x"]),
        ("run", ["--checkpoint-steps", "5", "--data_dir=a-b"], ["--checkpoint_steps=5", "--data-dir=a-b"]),
        ("compare", ["--checkpoint-steps=5", "--help_all"], ["--experiment.checkpoint_steps=5", "--help-all"]),
        ("resume", ["a_b", "--accept_changes", "--data_dir", "c_d"], ["a_b", "--accept-changes", "--data-dir", "c_d"]),
    ],
)
def test_shorthands(command, typed, spelled):
    assert understood(typed, command) == spelled


@pytest.mark.slow
def test_a_sweep_runs_every_rule_with_every_value(tmp_path, capsys):
    words = ["--rules", "bptt", "--sweep", "rule.options.lr=[0.01, 0.1]", "--seeds", 1, "--jobs", 1]
    code, out, err = call(capsys, "compare", *TINY_COMPARE, "--epochs", 1, *words, "--out", tmp_path, "--json")
    assert code == OK, err
    assert [row["rule"] for row in json.loads(out)["rows"]] == ["bptt lr=0.01", "bptt lr=0.1", "readout_only"]
    (folder,) = tmp_path.glob("compare-*")
    names = sorted(path.name.rsplit("-", 2)[0] for path in folder.iterdir() if path.is_dir())
    assert names == ["yinyang-bptt_lr=0.01", "yinyang-bptt_lr=0.1", "yinyang-readout_only"]
    config = yaml.safe_load(next(folder.glob("yinyang-bptt_lr=0.1-*/config.yaml")).read_text())
    assert config["rule"]["label"] == "bptt lr=0.1"


def test_help_and_lists_import_no_torch():
    """They answer in a fraction of the second that importing torch takes."""
    code = (
        "import sys; from sandbox.cli import main\n"
        "for words in (['--help'], ['run', '--help'], ['list'], ['list', 'runs']): main(words)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_the_list_is_that_of_the_registries():
    """`make docs` writes the copy anew."""
    assert catalogue.read() == catalogue.made()
    assert catalogue.memory() == catalogue.remembered()
    assert catalogue.sizes() == catalogue.counted()


def test_an_interruption_names_the_folder(tmp_path, capsys, monkeypatch):
    from sandbox.cli import runs

    def stop(experiment, folder, **keywords):
        if folder.parent.name == "begun":
            folder.mkdir(parents=True)
            (folder / "config.yaml").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run_experiment", stop)
    code, _, err = call(capsys, "run", *TINY, "--out", tmp_path)
    assert (code, err.splitlines()[-1]) == (INTERRUPTED, "error: interrupted; give the same command again")
    code, _, err = call(capsys, "run", *TINY, "--out", tmp_path / "begun")
    folder = err.splitlines()[0].removeprefix("folder: ")
    assert code == INTERRUPTED
    assert err.splitlines()[-1] == f"error: interrupted; continue: sandbox resume {folder}"


def test_a_misspelt_task_leaves_no_folder(tmp_path, capsys):
    for words in (["run", "--task", "yingyang"], ["compare", "--task", "yingyang"]):
        assert call(capsys, *words, "--out", tmp_path / "runs")[0] == BAD_INPUT
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", ["sandbox", "sandbox.cli.entry"])
def test_the_exit_codes_are_documented(module):
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert not done.stderr
    assert all(f"\n  {code}  " in done.stdout for code in (0, 1, 2, 3, 4, 130))
    assert all(name in done.stdout for name in COMMANDS)


def test_another_name_does_not_inherit_the_options_of_the_default(capsys, tmp_path, monkeypatch):
    """`still` has no option, the default encoder has `steps`; options that are given are kept, the default's own too."""
    monkeypatch.chdir(tmp_path)
    cases = {
        "still": {"name": "still", "options": {}},
        "poisson, {steps: 20}": {"name": "poisson", "options": {"steps": 20}},
        "constant": {"name": "constant", "options": {"steps": 20}},
        "constant, {}": {"name": "constant", "options": {}},
    }
    for given, wanted in cases.items():
        name, _, options = given.partition(", ")
        written = f"encoder: {{name: {name}{f', options: {options}' if options else ''}}}"
        (tmp_path / "c.yaml").write_text(f"experiment: {{{written}}}\nout: elsewhere\n")
        words = [f"--encoder={name}", *([f"--experiment.encoder.options={options}"] if options else [])]
        for asked in (words, ["--config=c.yaml"]):
            made, _ = from_words(Comparison, understood(asked, "compare"), ["out"])
            assert asdict(made.experiment.encoder) == wanted, asked
        assert asdict(from_dict(Experiment, yaml.safe_load(written)).encoder) == wanted


def test_what_print_config_prints_can_be_read(capsys, tmp_path, monkeypatch):
    """The options of the command itself are among it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        call(capsys, "run", "--epochs", "0", "--print_config")
    (tmp_path / "a.yaml").write_text(capsys.readouterr().out)
    code, _, err = call(capsys, "run", "--config", "a.yaml")
    assert (code, "epochs=0: give a whole number" in err) == (BAD_INPUT, True)


def test_sweeps_read_numbers_as_other_options_do():
    rules_ = swept(Comparison(rules=["bptt"]), ["rule.options.lr=[1e-3, 2e-2]", "rule.credit=[bptt]"]).rules
    assert [rule.options["lr"] for rule in rules_] == [0.001, 0.02]
    assert [rule.label for rule in rules_] == ["bptt lr=0.001 credit=bptt", "bptt lr=0.02 credit=bptt"]
    long = swept(Comparison(rules=["a/b.py:mine"]), [f"rule.options.{'x' * 70}=[[8, 8]]"]).rules[0]
    assert len(long.label) == 60


def test_labels_that_share_a_folder_are_refused():
    pair = [RuleConfig("bptt", label="a b"), RuleConfig("bptt", label="a_b", regularisers=[])]
    with pytest.raises(ValueError, match="labels 'a b' and 'a_b' would share the folder"):
        Comparison(rules=pair).experiments()


def test_check_takes_a_credit_a_rule_or_a_recipe_and_says_which_it_saw(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "import rules\n"
        "from rules.credit.bptt import BPTT\n"
        "class Mine(BPTT):\n    pass\n"
        "whole = rules.make('bptt')\n"
        "def recipe(lr=0.1):\n    return rules.make('bptt', lr=lr)\n"
    )
    for name, kind in (("Mine", "a credit, with cross-entropy and SGD"), ("whole", "a rule"), ("recipe", "a recipe")):
        assert main(["check", f"{tmp_path}/mine.py:{name}"]) == OK
        assert f"mine.py:{name} ({kind})\nok    plain data" in capsys.readouterr().out
