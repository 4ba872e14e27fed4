"""One walk over every field of every configuration and every option of every member, with hostile values."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import is_dataclass

import pytest
import yaml

from rules.fields import hints_of
from sandbox.cli.entry import main
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.reading import from_dict, from_words
from sandbox.config.registry import REGISTRIES, Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine.plain_yaml import dump_yaml, parse_yaml
from tests.sandbox.config import hostile
from tests.sandbox.config.hostile import CONFIGS, VALUES, allows
from tests.speed import within


def outcome(build):
    """Return what was built, or the message; anything but ValueError and TypeError goes on."""
    try:
        return build(), ""
    except (ValueError, TypeError) as error:
        return None, str(error)


def test_every_option_declares_a_type_that_can_be_found():
    for kind, name, option in hostile.options():
        if not kind.endswith("_options"):
            assert option in hints_of(REGISTRIES[kind][name]), (kind, name, option)


def test_every_configuration_is_walked():
    found = set().union(*(hostile.inside(kind, set()) for kind in CONFIGS))
    assert {kind for kind in found if kind.__module__.startswith(("sandbox.", "rules."))} == set(CONFIGS)


def test_options_of_every_member_refuse_what_does_not_fit():
    """In words, with the name of the option; what is accepted has a type that allows it."""
    for kind, name, option in hostile.options():
        hint = None if kind.endswith("_options") else hints_of(REGISTRIES[kind][name])[option]
        for value in VALUES:
            made, message = outcome(lambda k=(kind, name, option, value): hostile.make(*k))
            if made is None:
                assert option in message, (kind, name, option, value, message)
            elif hint is not None:
                assert allows(hint, value), (kind, name, option, value)
            else:
                assert value == value, (kind, name, option)


def test_fields_of_every_configuration_refuse_what_does_not_fit():
    """Made in Python and read from YAML."""
    for kind, field in hostile.config_fields():
        hint = hints_of(kind)[field]
        for value in VALUES:
            for build in (
                lambda k=kind, f=field, v=value: k(**{**CONFIGS[k], f: v}),
                lambda k=kind, f=field, v=value: from_dict(k, {**hostile.plain_config(k), f: v}),
            ):
                made, message = outcome(build)
                if made is None:
                    assert field in message, (kind, field, value, message)
                else:
                    assert allows(hint, value) or (value == {} and is_dataclass(made)), (kind, field, value)


@pytest.mark.parametrize("field", list(hints_of(Experiment)))
def test_the_command_line_refuses_what_does_not_fit(field, tmp_path, capsys, monkeypatch):
    """With exit code 2, the field named, and nothing written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sandbox.cli.runs.run", lambda given: given.made.check() or 0)
    for value in VALUES:
        words = f"--{field}={'.nan' if value != value else yaml.safe_dump(value).split(chr(10))[0]}"
        code = main(["run", words])
        said = capsys.readouterr().err
        assert code in (0, 2), (words, said)
        assert "Traceback" not in said
        assert code == 0 or field in said or str(value).lower() in said, (words, said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", ["true", "null", "1.0", "007", "1e3", "12", "no", "2024-01-01", "0x10", "1_000"])
def test_text_stays_text(label):
    """In quotes in YAML, bare on the command line, and through the file of a run."""
    quoted = json.dumps(label)
    assert from_dict(Experiment, parse_yaml(f"rule: {{label: {quoted}}}", "text")).rule.label == label
    assert from_words(Experiment, [f"--rule.label={quoted}"])[0].rule.label == label
    if label != "null":
        assert from_words(Experiment, [f"--rule.label={label}"])[0].rule.label == label
    for loads in (lambda written: parse_yaml(written, "text"), yaml.safe_load):
        assert loads(dump_yaml({"label": label})) == {"label": label}
    with pytest.raises(ValueError, match=f"unknown task '{label}'"):
        from_words(Experiment, [f"--task.name={quoted}"])[0].check()
    with pytest.raises(ValueError, match=r"options.steps='20': give a whole number .*leave out its quotes"):
        from_dict(Experiment, {"encoder": {"options": {"steps": "20"}}}).check()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rule": {"options": {"lr": True}}}, r"rule 'bptt', options.lr=True: give a finite number"),
        ({"seed": 2**64}, "seed=18446744073709551616: give a whole number of at most 63 bits"),
        ({"seed": -1}, "seed=-1: give a whole number of at most 63 bits, at least 0"),
        ({"threads": 10**6}, "threads=1000000: give at most 1024"),
        ({"network": {"dt": -1}}, r"network.dt=-1.0: give a time step in ms, above 0"),
        ({"network": {"neuron": {"name": "lif", "options": {"t_refractory": "2 ms"}}}}, "t_refractory='2 ms': give"),
        ({"network": {"neuron": {"name": "lif", "options": {"v_threshold": float("nan")}}}}, "v_threshold=nan: give"),
        ({"network": {"hidden": [10**9]}}, r"network.hidden\[0\]=1000000000: give at most"),
        ({"encoder": {"name": "constant", "options": {"steps": 2**62}}}, "steps=4611686018427387904"),
        ({"task": "digits"}, r"task='digits': give settings, {name: ...}"),
        ({"rule": {"labell": "a"}}, "unknown key of rule 'labell'; nearest: 'label'"),
        ([], r"a configuration=\[\]: give settings, {task: ...}"),
    ],
)
def test_messages(content, message):
    with pytest.raises(ValueError, match=message):
        from_dict(Experiment, content).check()


def test_settings_made_in_python():
    for build, message in (
        (lambda: Experiment(seed=True), "seed=True: give a whole number"),
        (lambda: Experiment(seed=3.0), "seed=3.0: give a whole number of at most 63 bits, 3"),
        (lambda: NetworkConfig(rate=0), "rate=0.0: give a firing probability"),
        (lambda: RuleConfig(epochs=0), "epochs=0: give a whole number, at least 1"),
        (lambda: Choice("lif", []), r"options=\[\]: give names with their values"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
    assert Experiment(network=NetworkConfig((30,))).identity == Experiment().identity


def test_an_alias_does_not_multiply():
    """Seven lines that stand for ten million values."""
    lines = ["a: &a [1,1,1,1,1,1,1,1,1,1]"]
    for before, name in zip("abcdef", "bcdefg", strict=True):
        lines.append(f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]")
    began = time.perf_counter()
    with pytest.raises(ValueError, match="more than 200000 values, those counted for which its aliases stand"):
        parse_yaml("\n".join(lines), "text")
    assert within(time.perf_counter() - began, 5.0)


@pytest.mark.slow
def test_threads_at_the_bound_are_started():
    """The bound itself does no harm; a million threads are a crash of the process."""
    code = (
        "import torch; torch.set_num_threads(1024); print(float(torch.ones(300, 300).mm(torch.ones(300, 300))[0, 0]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.stdout.strip() == "300.0", done.stderr


@pytest.mark.parametrize(
    ("words", "field"), [("--epochs=1:30", "epochs"), ("--seed=1:00", "seed"), ("--epochs=1_0", "epochs")]
)
def test_sexagesimal_and_underscored_numbers_are_refused(words, field):
    with pytest.raises(ValueError, match=rf"{field}=.*give a whole number.*this is text"):
        from_words(Experiment, [words])


def test_digits_of_other_scripts_are_no_widths():
    with pytest.raises(ValueError, match="layer .* cannot be read"):
        Experiment(network=NetworkConfig(hidden=["٣"])).network.make((4,), 2, 0)


@pytest.mark.parametrize(("word", "value"), [("0.2", 0.2), ("1", 1.0), ("events", "events"), ("'dense'", "dense")])
def test_a_number_or_a_word(word, value):
    found = from_words(Experiment, [f"--synapses={word}"])[0].synapses
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("word", ["2", "true", "'0.2'"])
def test_what_is_neither_a_density_nor_a_word(word):
    with pytest.raises(ValueError, match="give 'dense', 'events', or a density from 0 to 1"):
        from_words(Experiment, [f"--synapses={word}"])
