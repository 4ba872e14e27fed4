"""A function that torch.compile does not look into, and that does not import it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from rules.uncompiled import uncompiled
from tests.conftest import ROOT

QUIET = """
import sys, torch
from rules import Trainer
from rules.check import toy
for rule in {rules}:
    trainer = Trainer(toy.leaky(spiking=True), rule)
    trainer.step(toy.batch())
    trainer.load_state_dict(trainer.state_dict())
    trainer.evaluate([toy.batch()])
print('torch._dynamo' in sys.modules)
"""


def test_no_step_imports_the_compiler():
    """AdamW, SGD with probes, a memristor: constructed, stepped, saved, restored, looked at and metered."""
    code = QUIET.format(rules=["bptt", "tcl", "spsa", "bptt_on_memristor"])
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["False"], done.stderr


def test_the_compiler_looks_into_no_such_function():
    """Once it is imported: a function that it traces would be asked by it, and this one runs as it stands."""
    pytest.importorskip("torch._dynamo")
    seen = []

    @uncompiled
    def hidden(x):
        seen.append(torch.compiler.is_compiling())
        return x + 1

    def whole(x):
        return hidden(x) * 2

    compiled = torch.compile(whole, backend="eager")
    assert torch.equal(compiled(torch.ones(3)), torch.full((3,), 4.0))
    assert seen == [False]


def test_name_and_text_stay():
    def add(x, y=2):
        """Add."""
        return x + y

    found = uncompiled(add)
    assert (found.__name__, found.__doc__, found(1, y=3)) == ("add", "Add.", 4)
