"""Read pickled arrays of bytes without running any code: every global in a pickle maps to a class that only stores.

CIFAR-10's binary edition needs no pickle and is read too. The Python edition is accepted because torchvision downloads
it, so many people have it on their disks already.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Refused(pickle.UnpicklingError):
    """The pickle contains something that an array of bytes does not need."""


class Kind:
    """Stand-in for `numpy.dtype`: accepts unsigned bytes and stores nothing.

    Safe because NumPy's own dtype is never called: with a crafted state it could read memory as objects.
    """

    def __init__(self, code: Any, *flags: Any) -> None:
        if code not in ("u1", b"u1"):
            raise Refused(f"an array of dtype {code!r}; wanted unsigned bytes, 'u1'")

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment, which do not matter for single bytes."""


class Array:
    """Stand-in for `numpy.core.multiarray._reconstruct` and its result: stores shape, order and bytes.

    Safe because it only stores its state, which is not used before `values` has checked it.
    """

    def __init__(self, *ignored: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def values(self) -> NDArray[np.uint8]:
        """Return the array; raise Refused if shape, kind and bytes do not fit together."""
        match getattr(self, "state", None):
            case (_, tuple(shape), Kind(), bool(fortran), bytes(content)):
                if all(type(size) is int and size >= 0 for size in shape) and math.prod(shape) == len(content):
                    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran else "C")
                raise Refused(f"an array that announces {shape} bytes and holds {len(content)}")
        raise Refused("an array whose state is not (version, shape, dtype, order, bytes)")


class ArrayType:
    """Stand-in for `numpy.ndarray`, which appears only as the first argument of `_reconstruct`.

    Safe because it has no content.
    """

    def __setstate__(self, state: Any) -> None:
        raise Refused("a state for numpy.ndarray itself; wanted one for what _reconstruct returns")


class Latin1(bytes):
    """Stand-in for `_codecs.encode`, with which Python 3 writes bytes in the old protocols.

    Safe because it accepts one encoding and looks up no codec, so a pickle cannot cause an import.
    """

    def __new__(cls, text: Any, encoding: Any) -> bytes:  # type: ignore[misc]  # plain bytes, which cannot be altered
        if type(text) is not str or encoding != "latin1":
            raise Refused(f"_codecs.encode with the encoding {encoding!r}; wanted a string and 'latin1'")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None:
        raise Refused("a state for _codecs.encode; wanted a call")


# Every stand-in is a class with a __setstate__: a state that a pickle sets on the class itself, or on an instance, ends
# there and never becomes an attribute.
ADMITTED: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): Array,  # NumPy 1, and Python 2
    ("numpy._core.multiarray", "_reconstruct"): Array,  # NumPy 2
    ("numpy", "ndarray"): ArrayType,
    ("numpy", "dtype"): Kind,
    ("_codecs", "encode"): Latin1,
}


class Reader(pickle.Unpickler):
    """An unpickler that accepts only the globals in ADMITTED, exactly as written, and imports nothing."""

    def find_class(self, module: str, name: str) -> type:
        """Return the stand-in for a global; raise Refused if it has none."""
        if (module, name) not in ADMITTED:
            raise Refused(f"the global {module}.{name}; wanted only {', '.join('.'.join(key) for key in ADMITTED)}")
        return ADMITTED[module, name]


def _require_small_memo(content: bytes) -> None:
    """Raise Refused for a place in the memo that no pickle of this length needs: ten bytes could ask for gigabytes."""
    for code, place, _ in pickletools.genops(content):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(place or 0) > len(content):
            raise Refused(f"the place {place} of a memo; wanted at most {len(content)}, its length")


def read_pickle(content: bytes, name: str) -> dict[Any, Any]:
    """Read the dictionary in a pickle of plain values and arrays of unsigned bytes; Python 2 strings become bytes.

    No code in the pickle is run. Raises ValueError with the name of the file for a pickle that contains anything else,
    is truncated, or does not hold a dictionary.

    >>> read_pickle(pickle.dumps({b"data": np.arange(3, dtype=np.uint8)}, protocol=2), "three bytes")[b"data"]
    array([0, 1, 2], dtype=uint8)
    """
    try:
        _require_small_memo(content)
        found = Reader(io.BytesIO(content), encoding="bytes").load()
        if isinstance(found, dict):
            return {key: value.values() if isinstance(value, Array) else value for key, value in found.items()}
    except Refused as error:
        raise ValueError(
            f"{name} is refused: it contains {error}. None of it was run; fetch it again from its authors"
        ) from error
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(f"{name} is truncated or not a pickle ({error!r}); fetch it again") from error
    raise ValueError(f"{name} holds a {type(found).__name__}; wanted a dictionary: fetch it again from its authors")
