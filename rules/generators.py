"""The global generators of torch, NumPy and Python, owned by one holder while it works."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from rules.seeds import derived

MT19937 = 624 * 4 + 4  # bytes of NumPy's Mersenne twister: its words and the position; reading them by name is slow


class Globals:
    """States of torch's, NumPy's and Python's global generators that belong to one holder.

    Inside `with globals.inside():` the global generators continue from these states. Afterwards they are what they were
    before the block, and the holder's states have moved on. After an exception the holder's states have not changed
    either, so that whatever failed can be repeated. CUDA's generators are included as soon as CUDA is in use.

    Args:
        seed: of all states.

    >>> mine = Globals(0)
    >>> with mine.inside():
    ...     first = float(torch.rand(()))
    >>> with Globals(0).inside():
    ...     first == float(torch.rand(()))
    True
    """

    def __init__(self, seed: int) -> None:
        self.numpy = np.random.MT19937(0)
        self.restart(seed)

    def restart(self, seed: int) -> None:
        """Begin with another seed; several times faster than a new holder, which creates a generator of NumPy's."""
        self.seed = seed
        self.torch = torch.Generator().manual_seed(derived(seed, "torch")).get_state()
        self.cuda: list[torch.Tensor] = []  # empty until CUDA is in use
        high, low = divmod(derived(seed, "numpy"), 2**32)
        np.random.RandomState(self.numpy).seed([high, low])
        self.python = random.Random(derived(seed, "python")).getstate()

    @classmethod
    def now(cls) -> Globals:
        """Return the present states of the global generators, to start from them again."""
        found = cls(0)
        found.torch, found.python, found.cuda = torch.get_rng_state(), random.getstate(), _cuda()
        bits: Any = np.random.get_bit_generator()  # type: ignore[attr-defined]
        found.numpy.state = bits.state
        return found

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Let the global generators continue from these states in this context."""
        outer_torch, outer_python = torch.get_rng_state(), random.getstate()
        outer_numpy = np.random.get_state()  # noqa: NPY002 -- the global state is what this is about
        outer_bits = np.random.get_bit_generator()  # type: ignore[attr-defined]
        outer_cuda = _cuda()
        address = self.numpy.ctypes.state_address
        mine_numpy = ctypes.string_at(address, MT19937)
        torch.set_rng_state(self.torch)
        random.setstate(self.python)
        np.random.set_bit_generator(self.numpy)  # type: ignore[attr-defined]  # faster than exchanging the state
        self._enter_cuda(outer_cuda)
        try:
            yield
            self.torch, self.python, self.cuda = torch.get_rng_state(), random.getstate(), _cuda()
        except BaseException:
            ctypes.memmove(address, mine_numpy, MT19937)
            raise
        finally:
            torch.set_rng_state(outer_torch)
            random.setstate(outer_python)
            np.random.set_bit_generator(outer_bits)  # type: ignore[attr-defined]
            if outer_numpy[3]:  # type: ignore[index]  # a second normal number was waiting, which the exchange drops
                np.random.set_state(outer_numpy)  # noqa: NPY002
            if outer_cuda:
                torch.cuda.set_rng_state_all(outer_cuda)

    def _enter_cuda(self, outer: list[torch.Tensor]) -> None:
        if not outer:
            return
        if len(self.cuda) == len(outer):
            torch.cuda.set_rng_state_all(self.cuda)
        else:
            torch.cuda.manual_seed_all(derived(self.seed, "cuda"))

    def state_dict(self) -> dict[str, Any]:
        """Return the states as plain data."""
        bits: Any = self.numpy.state
        version, words, gauss = self.python
        return {
            "torch": self.torch.clone(),
            "cuda": [state.clone() for state in self.cuda],
            "numpy": (torch.from_numpy(bits["state"]["key"].astype(np.int64)), int(bits["state"]["pos"])),
            "python": (version, torch.tensor(words), gauss),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the states."""
        self.torch, self.cuda = state["torch"].clone(), [each.clone() for each in state["cuda"]]
        key, position = state["numpy"]
        inner: Any = {"key": key.numpy().astype(np.uint32), "pos": position}
        self.numpy.state = {"bit_generator": "MT19937", "state": inner}
        version, words, gauss = state["python"]
        self.python = (version, tuple(words.tolist()), gauss)


def _cuda() -> list[torch.Tensor]:
    """Return the states of CUDA's generators; none as long as CUDA is not in use."""
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
