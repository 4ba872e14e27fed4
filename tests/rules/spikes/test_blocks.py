"""Blocks of several threads that overlap: each thread has its own setting, and none stays behind."""

from __future__ import annotations

import threading
from contextvars import ContextVar

import pytest
import torch

from rules.spikes import surrogate as module
from rules.spikes.blocks import SEVERAL, Blocks, told
from rules.spikes.surrogate import Surrogate, differentiating


def in_order_of_their_start(first, second):
    """Enter a block in one thread, another in a second; end the first before the second."""
    begun, ended, done = threading.Event(), threading.Event(), []

    def one():
        with first():
            begun.set()
            entered.wait()
        ended.set()

    entered = threading.Event()

    def two():
        begun.wait()
        with second():
            entered.set()
            ended.wait()
            done.append(True)

    threads = [threading.Thread(target=each) for each in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done


def test_a_block_of_a_thread_does_not_outlive_it():
    in_order_of_their_start(lambda: differentiating(surrogate=Surrogate("triangle")), differentiating)
    assert module._GUARDED == [None]
    with differentiating() as context:
        assert [context] == module._GUARDED
    assert module._GUARDED == [None]


def test_nested_blocks_of_one_thread_are_a_stack():
    blocks = Blocks()
    entries = [blocks.enter(name) for name in "abc"]
    assert blocks.top == ["c"]
    blocks.leave(entries[1])
    assert blocks.top == ["c"]
    blocks.leave(entries[2])
    assert blocks.top == ["a"]
    blocks.leave(entries[0])
    assert blocks.top == [None]


def test_where_threads_overlap_each_is_told_its_own():
    blocks, own = Blocks(), ContextVar("own", default=None)
    blocks.enter("mine")
    thread = threading.Thread(target=lambda: blocks.enter("other"))
    thread.start()
    thread.join()
    assert blocks.top == [SEVERAL]
    own.set("mine")
    assert told(blocks.top, own) == "mine"


@pytest.mark.slow
def test_compiled_code_of_two_threads_has_the_surrogate_of_each():
    """Also while both blocks are open, and afterwards."""

    def slope(f):
        u = torch.tensor([0.25], requires_grad=True)
        f(u).backward()
        return float(u.grad)

    compiled = torch.compile(lambda u: Surrogate("atan").spike(u).sum(), backend="eager")
    own, other = (
        slope(lambda u: Surrogate("atan").spike(u).sum()),
        slope(lambda u: Surrogate("triangle").spike(u).sum()),
    )
    assert own != other
    found = {}

    def work(name, chosen, first, second):
        with differentiating(surrogate=chosen):
            first.set()
            second.wait()
            found[name] = slope(compiled)

    events = threading.Event(), threading.Event()
    threads = [
        threading.Thread(target=work, args=("own", None, *events)),
        threading.Thread(target=work, args=("other", Surrogate("triangle"), *events[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == pytest.approx({"own": own, "other": other})
    assert slope(compiled) == pytest.approx(own)
