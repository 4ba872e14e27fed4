"""A run writes a complete folder, resumes bit for bit, and rejects folders that it should not touch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pytest
import torch
import yaml

import rules
import sandbox
from rules import Health
from sandbox.comparisons.comparison import Comparison, compare, format_table
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.reading import from_dict
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.runs import folder as folders
from sandbox.runs import index, seal
from sandbox.runs.book import RunFailed
from sandbox.runs.checkpoint import packed
from sandbox.runs.folder import load
from sandbox.runs.judging import look_once
from sandbox.runs.preparing import evaluation, own_process, prepare
from sandbox.runs.run import run
from tests.conftest import ROOT

TINY = Experiment(
    task=Choice("yinyang", {"train": 200, "validation": 50, "test": 50}),
    encoder=Choice("constant", {"steps": 5}),
    network=NetworkConfig(hidden=[10]),
    epochs=3,
    batch_size=50,
    checkpoint_steps=3,
)


def test_a_run_folder_says_everything(tmp_path):
    result = run(TINY, tmp_path / "r")
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    assert [line["step"] for line in lines] == [0, 4, 8, 12]
    assert lines[0]["train_loss"] is None
    assert lines[-1]["train_loss"] < lines[1]["train_loss"]
    assert lines[-1]["synaptic_operations"] == result["cost"]["synaptic_operations"] > 0
    assert files.read_json(tmp_path / "r" / "test.json") == {"evaluations": 1}
    assert result["steps"] == 12
    assert result["parameters"] == result["parameters_trained"] == 4 * 10 + 10 + 10 * 3 + 3
    made = files.read_json(tmp_path / "r" / "provenance.json")
    assert made["versions"]["torch"].startswith("2.")
    assert len(made["data_sha256"]) == 64
    assert load(Experiment, tmp_path / "r") == TINY
    curve = [result["test"][f"accuracy_at_{step}"] for step in range(1, 6)]
    assert curve[-1] == result["test"]["accuracy"]
    assert result["test"]["latency_drop"] == curve[-1] - curve[0]
    assert -1 <= result["test"]["temporal_cosine"] <= 1
    (row,) = index.rows(tmp_path)
    assert (row["status"], row["seed"], row["test_accuracy"]) == ("done", 0, result["test"]["accuracy"])


def test_a_finished_run_is_not_touched_again(tmp_path, monkeypatch):
    first = run(TINY, tmp_path / "r")
    monkeypatch.setattr("sandbox.runs.run._learn", lambda *a: pytest.fail("learned again"))
    assert run(TINY, tmp_path / "r") == first
    assert files.read_json(tmp_path / "r" / "test.json") == {"evaluations": 1}


def test_a_look_at_the_test_set_that_is_cut_short_counts(tmp_path):
    class Cut:
        rule = rules.make("bptt")

        def evaluate(self, loader, steps, measure):
            raise Stop

    with pytest.raises(Stop):
        look_once(Cut(), None, range(1, 3), tmp_path / "test.json", None, 0)
    assert files.read_json(tmp_path / "test.json") == {"evaluations": 1}


class Stop(BaseException):  # as an interruption is
    pass


@pytest.mark.parametrize("stop", [1, 3, 4, 5, 11, 12])
def test_a_stopped_run_continues_bit_for_bit(tmp_path, stop):
    def interrupt(done, total):
        assert total == 12
        if done == stop:
            raise Stop

    whole = run(TINY, tmp_path / "whole")
    with pytest.raises(Stop):
        run(TINY, tmp_path / "cut", progress=interrupt)
    assert not (tmp_path / "cut" / "result.json").exists()
    assert run(TINY, tmp_path / "cut") == whole
    same_files(tmp_path / "whole", tmp_path / "cut")


def same_files(a: Path, b: Path) -> None:
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
    assert (a / "result.json").read_bytes() == (b / "result.json").read_bytes()
    one, two = (torch.load(x / "checkpoint.pt", weights_only=True)["trainer"]["model"] for x in (a, b))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_rules_start_from_the_same_weights_and_see_the_same_batches():
    data = TINY.make_task().load()
    one, loader = prepare(TINY, data)
    two, other = prepare(replace(TINY, rule=RuleConfig("readout_only")), data)
    for p, q in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(p, q)
    for a, b in zip(loader, other, strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)


def test_training_samples_are_seen_through_a_view_and_others_are_not():
    seen = []
    for augment in (None, Choice("vector", {"noise": 0.5})):
        experiment = replace(TINY, augment=augment)
        data = experiment.make_task().load()
        _, train = prepare(experiment, data)
        batch, test = next(iter(train)), next(iter(evaluation(experiment, data.test)))
        assert batch.x.stride(0) == 0  # still constant in time
        seen.append((batch.x, next(iter(train)).x, test.x))
    assert not torch.equal(seen[0][0], seen[1][0])
    assert torch.equal(*seen[1][:2])
    assert torch.equal(seen[0][2], seen[1][2])
    with pytest.raises(ValueError, match="unknown views 'vectors'; nearest: 'vector'"):
        prepare(replace(TINY, augment=Choice("vectors")), data)


def test_what_an_earlier_version_could_not_say_is_no_other_configuration(tmp_path):
    """Not even in one of several comparisons; what is said, is."""
    folders.write_config(tmp_path, "grid", {"comparisons": [{"seeds": 3, "experiment": {"seed": 0}}]})
    folders.write_config(tmp_path, "grid", {"comparisons": [{"seeds": 3, "experiment": {"seed": 0, "new": None}}]})
    with pytest.raises(ValueError, match="holds another configuration"):
        folders.write_config(tmp_path, "grid", {"comparisons": [{"seeds": 3, "experiment": {"seed": 0, "new": 1}}]})


def test_a_setting_of_an_experiment_that_an_earlier_version_lacked_counts_as_its_default(tmp_path):
    """In a run, and in the experiment of a comparison; options of the same name are no settings."""
    given = {"seed": 3, "rule": {"options": {}}}
    for name in ("r", "c"):
        (tmp_path / name).mkdir()
    folders.write_config(tmp_path / "r", "run", given)
    folders.write_config(tmp_path / "r", "run", {**given, "device": "cpu", "accumulate": 1})
    folders.write_config(tmp_path / "c", "comparison", {"experiment": given})
    folders.write_config(tmp_path / "c", "comparison", {"experiment": {**given, "precision": "full", "confirm": True}})
    for other in ({"accumulate": 2}, {"rule": {"options": {"device": "cpu"}}}):
        with pytest.raises(ValueError, match="holds another configuration"):
            folders.write_config(tmp_path / "r", "run", {**given, "device": "cpu", "accumulate": 1, **other})


def test_a_folder_with_another_configuration_is_refused(tmp_path):
    run(TINY, tmp_path / "r")
    with pytest.raises(ValueError, match="holds another configuration .* run in another folder"):
        run(replace(TINY, seed=1), tmp_path / "r")


def test_a_folder_of_a_newer_version_is_refused(tmp_path):
    run(TINY, tmp_path / "r")
    path = tmp_path / "r" / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "format": folders.FORMAT + 1}))
    with pytest.raises(ValueError, match=r"written by a newer version \(format 5, this one reads up to 4\)"):
        run(TINY, tmp_path / "r")


def test_a_folder_in_use_is_refused(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from sandbox.runs.folder import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "r")], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(
            folders.FolderInUse, match="is in use by another process(, number|; wait for it)"
        ) as refused:
            run(TINY, tmp_path / "r")
        if sys.platform.startswith("linux"):
            assert f"kill {holder.pid}" in str(refused.value)
    finally:
        holder.kill()
        holder.wait()
    assert run(TINY, tmp_path / "r")["steps"] == 12  # the lock went with its holder


def test_no_run_folder_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"is not a run folder: it has no config.yaml"):
        load(Experiment, tmp_path)
    run(TINY, tmp_path / "r")
    with pytest.raises(ValueError, match="holds a run, not a comparison"):
        load(Comparison, tmp_path / "r")


def test_an_unreadable_checkpoint_is_named(tmp_path):
    with pytest.raises(Stop):
        run(TINY, tmp_path / "r", progress=_stop)
    path = tmp_path / "r" / "checkpoint.pt"
    earlier = torch.load(path, weights_only=True)
    path.write_bytes(packed({**earlier, "book": {"health": []}}))
    with pytest.raises(RunFailed, match=r"checkpoint.pt cannot be read .* remove it to start this run again"):
        run(TINY, tmp_path / "r")
    path.write_bytes(packed({**earlier, "format": folders.FORMAT + 1}))
    with pytest.raises(RunFailed, match=r"it has format 5, this version reads 4\); remove it to start this run again"):
        run(TINY, tmp_path / "r")
    path.write_bytes(b"half")
    with pytest.raises(RunFailed, match=r"checkpoint.pt cannot be read .* remove it to start this run again"):
        run(TINY, tmp_path / "r")


class Harm:
    """What a pickle does when it is read: it makes a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_checkpoint_that_holds_classes_is_not_loaded(tmp_path, zipped):
    """The folder of a stopped run comes back from somebody else with a checkpoint that would run a command."""
    with pytest.raises(Stop):
        run(TINY, tmp_path / "r", progress=_stop)
    path, harm = tmp_path / "r" / "checkpoint.pt", tmp_path / "harm"
    torch.save({"format": folders.FORMAT, "trainer": Harm(harm)}, path, _use_new_zipfile_serialization=zipped)
    why = r"holds pickled classes \(posix.mkdir\).*Remove it to start this run again" if zipped else "cannot be read"
    with pytest.raises(RunFailed, match=why):
        run(TINY, tmp_path / "r")
    assert not harm.exists()
    torch.load(path, weights_only=False)  # what the same file does where it is trusted
    assert harm.exists()


def test_an_unfinished_run_of_an_earlier_format_is_named(tmp_path):
    with pytest.raises(Stop):
        run(TINY, tmp_path / "r", progress=_stop)
    _call_earlier(tmp_path / "r")
    with pytest.raises(ValueError, match=r"format 1, this one writes 4.*Finish the run with revision .*or remove"):
        run(TINY, tmp_path / "r")


def test_a_finished_run_of_an_earlier_format_is_read(tmp_path):
    first = run(TINY, tmp_path / "r")
    _call_earlier(tmp_path / "r")
    assert run(TINY, tmp_path / "r") == first


def _call_earlier(folder):
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace(f"format: {folders.FORMAT}", "format: 1"))
    (folder / seal.NAME).unlink(missing_ok=True)


def test_a_checkpoint_is_plain_data(tmp_path):
    """Nothing but containers, tensors, numbers and strings, whatever the rule and its device."""
    noisy = replace(TINY, rule=RuleConfig("binary_stochastic", {"dead_zone": 0.5}), epochs=1)
    run(noisy, tmp_path / "r")
    path = tmp_path / "r" / "checkpoint.pt"
    assert not torch.serialization.get_unsafe_globals_in_checkpoint(path)
    state = torch.load(path, weights_only=True)
    assert (state["format"], state["trainer"]["position"]) == (
        folders.FORMAT,
        (4, 0, 4),
    )  # the epoch ends after its line
    assert state["book"]["bill"]["cost"]["forwards"] == 4


def collecting(**options):
    """A rule whose optimizer keeps a set from its first step on."""

    class Collecting(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            self.param_groups[0]["seen"] = {1}

    return replace(rules.make("bptt"), plasticity=lambda parameters: Collecting(parameters, lr=0.1))


def test_state_that_appears_later_is_refused_at_the_first_step(tmp_path):
    """And the run is noted as failed, so that nobody waits for it."""
    odd = replace(TINY, rule=RuleConfig("tests.sandbox.runs.test_run:collecting"))
    with pytest.raises(TypeError, match=r"the optimizer's state.*\['seen'\] is of class builtins.set"):
        run(odd, tmp_path / "r")
    assert index.rows(tmp_path)[0]["status"] == "failed"
    assert "builtins.set" in (tmp_path / "r" / "error.txt").read_text()


def _stop(done, total):
    raise Stop


def test_a_nan_stops_the_run_with_its_last_good_checkpoint(tmp_path):
    """A learning rate that overflows: the weights of the checkpoint are still finite."""
    wild = replace(TINY, rule=RuleConfig("bptt", {"lr": 3e37}), epochs=20)
    with pytest.raises(RunFailed, match=r"step \d+: .* The last good checkpoint, after step \d+, is .*checkpoint.pt"):
        run(wild, tmp_path / "r")
    state = torch.load(tmp_path / "r" / "checkpoint.pt", weights_only=True)
    assert state["trainer"]["position"][0] >= 0
    assert index.rows(tmp_path)[0]["status"] == "failed"


def test_a_silent_layer_is_said_at_once_and_kept(tmp_path, capsys):
    deaf = replace(TINY, encoder=Choice("constant", {"steps": 5, "gain": 1e-9}), epochs=1)
    result = run(replace(deaf, network=NetworkConfig(hidden=[10], rate=0.001)), tmp_path / "r")
    assert "health at step 1 of r: layers.0.cells is silent" in capsys.readouterr().err
    assert any("layers.0.cells is silent" in line for line in result["health"])


def test_an_illness_that_a_run_is_to_stop_for_stops_it(tmp_path):
    """Nothing fires 90 % of the time here: the first check reports it, and the message names the remedy."""
    wary = replace(TINY, health=Health(silent=0.9, stop=("silent",)))
    assert wary.identity != TINY.identity
    with pytest.raises(RunFailed, match=r"is silent .*; scale its weights .* after step 0, is .*checkpoint.pt"):
        run(wary, tmp_path / "r")
    assert index.rows(tmp_path)[0]["status"] == "failed"
    assert load(Experiment, tmp_path / "r") == wary


def test_health_that_is_not_spoken_of_leaves_a_run_its_name():
    assert replace(TINY, health=None).identity == TINY.identity


def test_a_run_writes_its_bill(tmp_path):
    result = run(TINY, tmp_path / "r")
    spent = result["cost"]
    assert 0 < spent["effective_multiplications"] + spent["effective_accumulations"] <= spent["synaptic_operations"]
    assert spent["state_bytes"] > 0 < spent["energy_nanojoules"]
    assert json.loads((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()[-1]).items() >= spent.items()
    assert files.read_json(tmp_path / "r" / "timing.json")["peak_bytes"] >= spent["state_bytes"]


def test_configurations_survive_yaml():
    experiment = replace(TINY, rule=RuleConfig("bptt", {"lr": 0.1}, objective=Choice("tet", {"lam": 0.1})))
    assert from_dict(Experiment, yaml.safe_load(yaml.safe_dump(asdict(experiment)))) == experiment
    assert experiment.rule.make().objective.lam == 0.1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"sed": 1}, "nearest: 'seed'"),
        ({"network": {"hiden": [3]}}, "nearest: 'network.hidden'|nearest: 'hidden'"),
        ({"seed": "one"}, "seed"),
        ({"epochs": 0}, "epochs=0: give a whole number, at least 1"),
    ],
)
def test_misspelt_configurations_are_answered(content, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Experiment, content)


@pytest.mark.parametrize(
    ("choice", "kind", "message"),
    [
        (Choice("lift"), "neuron", "unknown neuron 'lift'; nearest: 'lif'; valid: lif, cuba_lif"),
        (Choice("lif", {"tau": 1}), "neuron", "unknown option of neuron 'lif' 'tau'.*valid: tau_mem"),
        (Choice("mnst"), "task", "unknown task 'mnst'; nearest: 'mnist'"),
        (Choice("nowhere:Thing"), "rule", "rule 'nowhere:Thing' cannot be loaded .* write package.module:Name"),
        (Choice("sandbox.neurons:Nothing"), "neuron", "neuron 'sandbox.neurons:Nothing' cannot be loaded"),
    ],
)
def test_unknown_members_are_answered(choice, kind, message):
    with pytest.raises(ValueError, match=message):
        choice.make(kind)


def test_a_stranger_s_class_is_found_by_its_path():
    assert Choice("sandbox.neurons.lif:LIF", {"tau_mem": 3.0}).make("neuron").tau_mem == 3.0


def test_a_comparison_pairs_seeds_and_always_has_the_baselines(tmp_path):
    table = compare(Comparison(replace(TINY, epochs=1), ["bptt"], seeds=2), tmp_path / "c", jobs=2)
    assert [row["rule"] for row in table["rows"]] == ["bptt", "readout_only"]
    assert table["linear"] > 33
    bptt, baseline = table["rows"]
    low, high = sorted(a - b for a, b in zip(bptt["accuracies"], baseline["accuracies"], strict=True))
    assert low <= bptt["over_baseline"][0] <= high
    assert baseline["over_baseline"] is None
    text = format_table(table)
    assert "linear classifier" in text
    assert text.splitlines()[0] == "settings given, none searched: tuning error not in the interval"
    assert text.splitlines()[6:] == [
        "no intervals: 2 seeds cannot show a spread; give at least 3",
        "no verdicts: too few seeds: with 2 no difference can reach p < 0.05; at least 6 are needed",
        "no rule is above chance, 33.33 % (by means, since there are too few seeds for a test): differences are those of "
        "guesses",
    ]
    assert {row["folder"].split("/")[0] for row in index.rows(tmp_path)} == {"c"}
    assert [row["status"] for row in index.rows(tmp_path)] == ["done"] * 4
    again = (tmp_path / "c" / "table.json").read_bytes()
    compare(Comparison(replace(TINY, epochs=1), ["bptt"], seeds=2), tmp_path / "c", jobs=1)
    assert (tmp_path / "c" / "table.json").read_bytes() == again


def test_a_failing_run_does_not_hide_the_others(tmp_path):
    plan = Comparison(replace(TINY, epochs=20), [RuleConfig("bptt", {"lr": 3e37})], seeds=1)
    with pytest.raises(RunFailed, match=r"1 of 2 runs failed; the others are kept in .*\n  yinyang-bptt-s0-"):
        compare(plan, tmp_path / "c", jobs=2)
    assert len(list((tmp_path / "c").glob("*/result.json"))) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Comparison(seeds=0), "seeds=0: give at least 1"),
        (lambda: compare(Comparison(TINY), Path("x"), jobs=0), "jobs=0: give the number of processes"),
        (lambda: compare(Comparison(TINY, ["bptt", "bptt"]), Path("x")), "rule 'bptt' is listed twice"),
        (lambda: compare(Comparison(TINY, ["bpt"]), Path("x")), "unknown rule 'bpt'; nearest: 'bptt'"),
    ],
)
def test_impossible_comparisons_are_refused_before_the_first_run(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    assert not Path("x").exists()


def test_the_default_is_the_comparison_of_the_readme():
    written = yaml.safe_load((ROOT / "experiments" / "yinyang.yaml").read_text())
    assert from_dict(Comparison, written) == Comparison()


def test_two_variants_of_one_rule_are_told_apart():
    plan = Comparison(TINY, ["bptt", RuleConfig("bptt", {"window": 1})], seeds=1).experiments()
    assert list(plan) == ["bptt", "bptt#2", "readout_only"]


@pytest.mark.slow
def test_a_model_that_can_be_asked_in_several_ways_is_asked_in_all(tmp_path):
    units = Choice("stochastic_binary")
    tiny = replace(TINY, network=replace(TINY.network, neuron=units, readout=units), epochs=1)
    table = compare(Comparison(tiny, ["binary_stochastic"], seeds=1), tmp_path, jobs=1)
    one, baseline = table["rows"]
    assert list(one["asked"]) == ["sample1", "sample16"]
    assert baseline["asked"] == {}
    assert all(0 <= numbers[0] <= 100 for numbers in one["asked"].values())


def unlabelled(experiment):
    return replace(experiment, rule=replace(experiment.rule, label=None))


def test_a_rule_is_called_by_its_label_and_learns_as_if_it_had_none():
    """The label is in the configuration and in the name of the folder, and not in the hash."""
    rules = [RuleConfig("bptt", label="whole"), RuleConfig("bptt", {"window": 1}, label="cut"), RuleConfig("bptt")]
    plan = Comparison(TINY, [*rules, RuleConfig("readout_only", label="baseline")], seeds=1).experiments()
    assert list(plan) == ["whole", "cut", "bptt", "readout_only"]
    whole, plain = plan["whole"][0], plan["bptt"][0]
    assert (whole.rule.label, plain.rule.label) == ("whole", None)
    assert unlabelled(whole) == plain
    assert whole.identity == plain.identity.replace("-bptt-", "-whole-")


def test_a_rule_may_learn_for_fewer_epochs_in_a_comparison():
    plan = Comparison(TINY, ["bptt", RuleConfig("bptt", epochs=1)], seeds=2).experiments()
    assert [run.epochs for run in plan["bptt"]] == [3, 3]
    assert [run.epochs for run in plan["bptt#2"]] == [1, 1]
    assert unlabelled(plan["bptt#2"][0]).rule == plan["bptt"][0].rule
    assert len({run.identity for runs in plan.values() for run in runs}) == 6
    with pytest.raises(
        ValueError, match="rule.epochs=1: rules bring epochs of their own to a comparison only; set epochs"
    ):
        replace(TINY, rule=RuleConfig("bptt", epochs=1))
    with pytest.raises(ValueError, match="epochs=0: give a whole number"):
        Comparison(TINY, [RuleConfig("bptt", epochs=0)]).experiments()


def test_a_field_of_a_later_version_changes_no_folder_s_name():
    @dataclass(frozen=True)
    class Later(Experiment):
        invented: int = 0

    later = Later(**{f.name: getattr(TINY, f.name) for f in fields(TINY)})
    assert later.identity == TINY.identity
    assert replace(later, invented=1).identity != TINY.identity
    assert replace(TINY, network=NetworkConfig(hidden=[11])).identity != TINY.identity
    assert Experiment(epochs=TINY.epochs).identity != TINY.identity


def test_load_gives_a_row_an_epoch(tmp_path):
    """Of every run below a folder, by the label of its rule; the last row of a finished run has its end."""
    named = replace(TINY, rule=RuleConfig("bptt", label="slow"), epochs=1)
    results = [run(named, tmp_path / "a"), run(replace(TINY, seed=1, epochs=2), tmp_path / "b" / "c")]
    rows = sandbox.load(tmp_path)
    assert [(row["rule"], row["seed"], row["epoch"]) for row in rows] == [
        ("slow", 0, 0),
        ("slow", 0, 1),
        ("bptt", 1, 0),
        ("bptt", 1, 1),
        ("bptt", 1, 2),
    ]
    assert [row["test_accuracy"] for row in rows if "test_accuracy" in row] == [r["test"]["accuracy"] for r in results]
    assert rows[1]["validation_accuracy"] == results[0]["validation"]["accuracy"]
    with pytest.raises(ValueError, match="holds no run that has begun"):
        sandbox.load(tmp_path / "none")


def test_the_global_generator_follows_the_seed_and_is_left_alone(tmp_path):
    """A model of one's own may draw from it; so the same run is the same whatever was drawn before."""
    thin = replace(TINY, network=NetworkConfig(model=Choice("tests.sandbox.runs.test_run:thinned")), epochs=1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = run(thin, tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert run(thin, tmp_path / "b") == first


def thinned(shape, classes, *, seed):
    return torch.nn.Sequential(
        torch.nn.Linear(shape[0], 20), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(20, classes)
    )


def test_the_training_loss_is_a_mean_over_samples(tmp_path):
    """101 samples in batches of 50: the last batch has one, which must not weigh a third of the epoch."""
    odd = replace(TINY, task=Choice("yinyang", {"train": 101, "validation": 50, "test": 50}), epochs=1)
    run(odd, tmp_path / "r")
    trainer, train = prepare(odd, odd.load())
    with own_process(odd):
        infos = list(trainer.fit(train, 1))
    wanted = sum(info.loss * size for info, size in zip(infos, (50, 50, 1), strict=True)) / 101
    lines = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert lines[1]["train_loss"] == pytest.approx(wanted, rel=1e-12)
    assert [info.samples for info in infos] == [50, 50, 1]


@pytest.mark.parametrize(("every", "heard", "keep"), [(100, 1, "last"), (100, 1, "best"), (0, 0, "last")])
def test_a_run_at_chance_says_so_where_health_is_checked(tmp_path, capsys, every, heard, keep):
    """100 steps at a learning rate of 0, of three cells whose read-out is by assignment: 400 answers are enough."""
    told = replace(
        TINY,
        task=Choice("yinyang", {"train": 250, "validation": 50, "test": 400}),
        rule=RuleConfig("stdp", {"lr": 0.0, "objective": "assignment"}),
        network=NetworkConfig(hidden=[3]),
        epochs=20,
        health=Health(every=every),
        keep=keep,
    )
    result = run(told, tmp_path / "r")
    assert result["test"]["accuracy"] < 0.4
    said = [each for each in result["health"] if each.startswith("the network is at chance")]
    assert len(said) == heard
    assert ("health at step 100 of r: the network is at chance" in capsys.readouterr().err) == bool(heard)
    assert all("--network.model diehl_cook" in each for each in said)
