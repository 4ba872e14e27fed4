"""Processes that learn one model together: what they tell each other, and how an error of one ends all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from rules.diagnostics.monitor import Unhealthy
from rules.diagnostics.nonfinite import NonFinite
from rules.processes import Traffic, within

KINDS: tuple[type[Exception], ...] = (NonFinite, Unhealthy, ValueError, TypeError, OSError)  # raised as what they were


class PeerFailed(RuntimeError):
    """Raised in a process whose team has lost a process, or in which another one has failed."""


class Team:
    """The processes of `torch.distributed` that learn one model together.

    Every exchange begins with a word from each process that it has not failed. So an exception in one of them, reported
    by `fail`, raises in all of them, with the same message, and nobody waits for ever.

    Args:
        group: of `torch.distributed`; None for all processes.

    Raises:
        ValueError: if no process group was initialised.

    >>> Team()
    Traceback (most recent call last):
    ...
    ValueError: a team needs processes: start them with torchrun, and write
    torch.distributed.init_process_group("gloo") before rules.Team()
    """

    def __init__(self, group: Any = None) -> None:
        if not (dist.is_available() and dist.is_initialized()):
            raise ValueError(
                "a team needs processes: start them with torchrun, and write\n"
                'torch.distributed.init_process_group("gloo") before rules.Team()'
            )
        self.group, self.size, self.rank = group, dist.get_world_size(group), dist.get_rank(group)
        self.place = torch.device("cuda" if dist.get_backend(group) == "nccl" else "cpu")  # of what is exchanged
        self.lost = False  # whether another process has ended
        self._told: Exception | None = None  # the last error that the others know

    def __repr__(self) -> str:
        return f"process {self.rank} of {self.size}"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def alone(self) -> AbstractContextManager[None]:
        """Return a context in which nothing is exchanged, whatever is called in it."""
        return within(None) if self.size > 1 else nullcontext()

    def check(self) -> None:
        """Wait for the others; raise the error of one that has failed."""
        self._agree(None)

    def fail(self, error: Exception) -> None:
        """Tell the others of an error, once; they raise it at their next exchange."""
        if self.size == 1 or self.knows(error):
            return
        with suppress(Exception):  # the others may be gone
            self._agree(error)

    def knows(self, error: BaseException | None) -> bool:
        """Return whether the others know of an error, or of the one that it was raised from, or are gone."""
        while error is not None:
            if self.lost or error is self._told:
                return True
            error = error.__cause__
        return False

    @contextmanager
    def together(self) -> Iterator[None]:
        """Leave this context when all processes have; an exception in one of them is raised in all."""
        with self.reporting():
            yield
        self.check()

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Tell the others of an exception in this context."""
        try:
            yield
        except Exception as error:
            self.fail(error)
            raise

    def gather(self, numbers: Sequence[float]) -> Tensor:
        """Return the numbers of all processes, `[processes, numbers]` in float64; each gives as many."""
        row = torch.tensor(numbers, dtype=torch.float64, device=self.place)
        self.check()
        return self._rows(row).cpu()

    def add(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the sum over processes of each tensor; those of one dtype and device are sent as one."""
        self.check()
        found: list[Tensor] = list(tensors)
        for kind in dict.fromkeys((each.dtype, each.device) for each in tensors):
            places = [n for n, each in enumerate(tensors) if (each.dtype, each.device) == kind]
            joined = torch.cat([tensors[n].reshape(-1) for n in places])
            with self._contact():
                dist.all_reduce(Traffic.count(joined), group=self.group)
            parts = joined.split([tensors[n].numel() for n in places])
            for n, part in zip(places, parts, strict=True):
                found[n] = part.view(tensors[n].shape)
        return found

    def hear(self, said: bytes) -> bytes:
        """Return what the first process says; what the others say does not count."""
        if self.size == 1:
            return said
        length = int(self.gather([len(said)])[0, 0])
        return self._spread(said, 0, length)

    def require_same(self, facts: dict[str, str]) -> None:
        """Raise ValueError, in all processes, if one has another value of a fact than the first.

        Args:
            facts: what must be equal, by what it is called in the message.
        """
        if self.size == 1:
            return
        first = json.loads(self.hear(json.dumps(facts).encode()))
        with self.together():
            for name, value in facts.items():
                if value != first[name]:
                    raise ValueError(
                        f"another {name} than in the first process ({_parting(value, first[name])}): start the same "
                        "command, of the same version of the code, on the same data, in every process"
                    )

    def _agree(self, error: Exception | None) -> None:
        """Exchange who has failed, and why."""
        if self.size == 1:
            return
        failed = self._rows(torch.tensor([0.0 if error is None else 1.0], dtype=torch.float64, device=self.place))[
            :, 0
        ].nonzero()
        if not len(failed):
            return
        self._told = error
        source = int(failed[0])
        words = b"" if error is None else json.dumps([_kind(error), str(error)]).encode()
        length = self._rows(torch.tensor([float(len(words))], dtype=torch.float64, device=self.place))[source, 0]
        message = self._spread(words, source, int(length))
        if error is None:
            kind, text = json.loads(message)
            names = {each.__name__: each for each in KINDS}
            said = text if kind in names else f"{kind}: {text}"
            self._told = names.get(kind, PeerFailed)(f"process {source} of {self.size}: {said}")
            raise self._told

    def _spread(self, said: bytes, source: int, length: int) -> bytes:
        """Return the words of one process, whose length all know."""
        message = torch.zeros(length, dtype=torch.uint8)
        if length and self.rank == source:
            message = torch.frombuffer(bytearray(said), dtype=torch.uint8)
        message = message.to(self.place)
        with self._contact():
            dist.broadcast(message, self._global(source), group=self.group)
        return message.cpu().numpy().tobytes()

    def _rows(self, row: Tensor) -> Tensor:
        rows = [torch.zeros_like(row) for _ in range(self.size)]
        with self._contact():
            dist.all_gather(rows, Traffic.count(row), group=self.group)
        return torch.stack(rows)

    def _global(self, rank: int) -> int:
        return rank if self.group is None else dist.get_global_rank(self.group, rank)

    @contextmanager
    def _contact(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.lost = True
            raise PeerFailed(
                f"{self} has lost contact with another one, which has ended; its own message says why, or it was "
                "killed. Start all processes again to go on from the last checkpoint"
            ) from error


class Alone(Team):
    """A single process: nothing is exchanged, and everything is as if there were no team."""

    def __init__(self) -> None:
        self.group, self.size, self.rank = None, 1, 0
        self.lost, self._told = False, None


ALONE = Alone()


def _parting(mine: str, theirs: str) -> str:
    """Return the first line in which two texts differ."""
    lines = zip_longest(mine.splitlines(), theirs.splitlines(), fillvalue="nothing")
    one, other = next((pair for pair in lines if pair[0] != pair[1]), (mine, theirs))
    return f"{one.strip()[:100]}, not {other.strip()[:100]}"


def digest(tree: Any) -> int:
    """Return a number of 48 bits for plain data; equal bits have equal numbers.

    >>> digest({"w": torch.ones(2)}) == digest({"w": torch.ones(2)}) != digest({"w": torch.zeros(2)})
    True
    """
    found = hashlib.sha256()
    _feed(found, tree)
    return int.from_bytes(found.digest()[:6], "big")  # which float64 holds exactly


def _feed(found: Any, tree: Any) -> None:
    if isinstance(tree, Tensor):
        found.update(repr((tree.dtype, tuple(tree.shape))).encode())
        found.update(tree.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    elif isinstance(tree, dict):
        for key, value in tree.items():
            found.update(repr(key).encode())
            _feed(found, value)
    elif isinstance(tree, (list, tuple)):
        for part in tree:
            _feed(found, part)
    else:
        found.update(repr(tree).encode())


def _kind(error: Exception) -> str:
    """Return the name of the class in KINDS that an error is of, or its own."""
    return next((kind.__name__ for kind in KINDS if isinstance(error, kind)), type(error).__name__)
