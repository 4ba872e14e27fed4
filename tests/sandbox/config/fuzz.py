"""Mutated configurations through reading and check: refused in words or accepted, and nothing is executed."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from sandbox.comparisons.comparison import Comparison, check_names
from sandbox.comparisons.grid import Grid
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from tests.sandbox.config.hostile import examples, mutated
from tests.speed import within

WATCHED = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect", "os.remove", "os.mkdir")
SLOWEST = 5.0  # [s]
heard: list[str] = []
listening = False


def canary(event, _):
    if listening and event in WATCHED:
        heard.append(event)


sys.addaudithook(canary)  # cannot be removed again, and is deaf outside of `watched`


def watched(attempt, about):
    """Return whether an attempt was accepted; fail for one that is refused without words, takes long, or executes something."""
    global listening
    heard.clear()
    listening, began = True, time.process_time()
    words = None
    try:
        attempt()
    except (ValueError, TypeError, FileNotFoundError) as error:
        words = str(error)
    finally:
        listening = False
    assert words is None or len(words) > 10, about
    assert "positional argument" not in (words or ""), (words, about)  # Python's words for a call that is wrong
    assert within(time.process_time() - began, SLOWEST), about
    assert not heard, (heard, about)
    return words is None


def checked(config):
    """Check a configuration of any kind as far as is possible before anything is written."""
    match config:
        case Experiment():
            config.check()
        case Comparison():
            check_names(config)
        case Grid():
            for each in config.comparisons:
                check_names(each)
        case _:
            checked(config.grid)


def configurations(count: int, seed: int, folder: Path) -> int:
    """Read and check so many mutated configurations in an empty folder, the current one; return how many were accepted."""
    assert Path.cwd() == folder
    rng, kinds = random.Random(seed), examples()
    accepted = 0
    for number in range(count):
        kind, content = rng.choice(kinds)
        tried = mutated(content, rng)
        accepted += watched(lambda k=kind, c=tried: checked(from_dict(k, c)), (seed, number))
    assert os.listdir(folder) == []
    return accepted
