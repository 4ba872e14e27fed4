"""What a new machine gets: `rules` with torch and NumPy alone, and the wheel in a clean environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

pytestmark = pytest.mark.slow(minutes=3)

SMALL = [
    "--experiment.task.options={train: 100, validation: 50, test: 50}",
    "--experiment.encoder.options={steps: 5}",
    "--experiment.epochs=1",
    "--experiment.network.hidden=[5]",
    "--rules=[bptt]",
    "--seeds=2",
    "--jobs=2",
]
EVERY_RULE = """
    import importlib, pkgutil, sys
    import rules
    names = [module.name for module in pkgutil.walk_packages(rules.__path__, "rules.")]
    for name in names:
        importlib.import_module(name)
    import torch
    from torch import nn
    x = torch.rand(8, 4, generator=torch.Generator().manual_seed(0))
    for recipe in ("bptt", "hzo", "spsa", "bptt_on_memristor"):
        net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        rules.Trainer(net, recipe).step((x, torch.arange(8) % 2))
    assert rules.check.check_rule(rules.make("bptt")).passed
    others = {name.split(".")[0] for name in sys.modules} & {"scipy", "sklearn", "matplotlib", "yaml", "sandbox", "tqdm"}
    assert not others, others
    print(len(names), "modules")
"""
A_NEURON = """
    import torch, sandbox
    neuron = sandbox.from_brian2("dv/dt = (current - v) / (10*ms) : 1", threshold="v > 1", reset="v = 0", input_unit="1")
    spikes, _ = sandbox.scan(neuron, torch.full((100, 1), 2.0), dt=1.0)
    print(int(spikes.sum()), "spikes")
"""


class Environment:
    """A virtual environment of its own, away from this checkout."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        venv.create(folder / "env", with_pip=True)
        self.folder, self.bin = folder, folder / "env" / "bin"

    def lend(self, *names: str) -> None:
        """Link distributions that the tests run with, and all that these require: pip takes a minute to copy torch."""
        (site,) = (self.folder / "env" / "lib").glob("python*/site-packages")
        wanted, seen = list(names), set()
        while wanted:
            name = wanted.pop()
            if name in seen:
                continue
            seen.add(name)
            found = metadata.distribution(name)
            for top in {file.parts[0] for file in found.files} - {"..", "__pycache__"}:
                if not (site / top).exists():
                    (site / top).symlink_to(Path(found.locate_file(top)).resolve())
            needs = map(Requirement, found.requires or ())
            wanted += [each.name for each in needs if each.marker is None or each.marker.evaluate({"extra": ""})]

    def pip(self, *words: str) -> None:
        done = subprocess.run(
            [self.bin / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PIP_CONSTRAINT": str(ROOT / "constraints.txt")},
        )
        assert done.returncode == 0, done.stderr

    def run(self, *words: str, code: int = 0, **variables: str) -> str:
        given = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), **variables}
        done = subprocess.run(
            [self.bin / words[0], *words[1:]], capture_output=True, text=True, cwd=self.folder, env=given
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def python(self, text: str, **variables: str) -> str:
        return self.run("python", "-W", "ignore", "-c", textwrap.dedent(text), **variables)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    made = Environment(tmp_path_factory.mktemp("clean"))
    made.lend("torch", "numpy")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the files of this checkout alone, so that nothing of an earlier build gets in."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("rules", "sandbox", "data"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    words = ["wheel", "--quiet", "--no-deps", "--wheel-dir", target, source]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    (found,) = target.glob("*.whl")
    return found


def test_rules_needs_torch_and_numpy_alone(environment, tmp_path):
    """In an environment that has nothing else, every module of it imports, and rules of four kinds take a step."""
    shutil.copytree(ROOT / "rules", tmp_path / "rules", ignore=shutil.ignore_patterns("__pycache__"))
    assert "modules" in environment.python(EVERY_RULE, PYTHONPATH=str(tmp_path))


def test_the_wheel_does_the_main_job(environment, wheel):
    """Without any extra: list, compare, report, doctor. With `reference`: a neuron from equations."""
    environment.pip("install", str(wheel))
    assert "bptt" in environment.run("sandbox", "list", "rules")
    told = json.loads(environment.run("sandbox", "doctor", "--json"))
    assert told["brian2_agrees"] is None
    assert told["extras"]["reference"] == "without brian2: pip install 'learning-rule-sandbox[reference]'"
    assert all(said.startswith("without ") for said in told["extras"].values())
    environment.run("sandbox", "compare", *SMALL)
    (folder,) = (environment.folder / "runs").glob("compare-*")
    assert "report.html" in environment.run("sandbox", "report", str(folder))
    assert (folder / "report.html").stat().st_size > 10**6  # plotly is inside
    refused = environment.run("sandbox", "validate", "lif", code=2)
    assert "pip install 'learning-rule-sandbox[reference]'" in refused
    environment.pip("install", f"{wheel}[reference]")
    assert environment.python(A_NEURON) == "14 spikes\n"


def test_another_package_named_rules_is_named(wheel, tmp_path):
    """A distribution called `rules` overwrites ours: import and `doctor` report it, and their advice helps."""
    environment = Environment(tmp_path / "its")
    needs = map(Requirement, metadata.requires("learning-rule-sandbox"))
    environment.lend(*(each.name for each in needs if each.marker is None or each.marker.evaluate({"extra": ""})))
    environment.pip("install", "--no-deps", str(wheel))
    other = tmp_path / "other"
    (other / "rules").mkdir(parents=True)
    (other / "rules" / "__init__.py").write_text("VERSION = (3, 5)\n")
    (other / "pyproject.toml").write_text(
        '[project]\nname = "rules"\nversion = "3.5"\n[tool.setuptools]\npackages = ["rules"]\n'
    )
    environment.pip("install", "--no-deps", str(other))
    said = environment.run("sandbox", "list", code=1)
    assert "it belongs to rules 3.5: run `pip uninstall rules`" in said.splitlines()[-1]
    environment.pip("install", "--force-reinstall", "--no-deps", str(wheel))
    said = environment.run("sandbox", "doctor", code=1)
    assert "another distribution also provides a package `rules`, rules 3.5" in said
    environment.pip("uninstall", "--yes", "rules")
    environment.pip("install", "--force-reinstall", "--no-deps", str(wheel))
    assert "another distribution" not in environment.run("sandbox", "doctor")
