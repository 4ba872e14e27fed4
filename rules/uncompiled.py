"""Keeping torch.compile out of a function, without importing it where nobody has.

torch does so by a decorator that imports `torch._dynamo` at the first call, which takes as long as importing torch. It
is in every optimizer and every mode of dispatch, and makes up a third of the time to the first step of a short run.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any

from torch._compile import _disable_dynamo


def uncompiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that torch.compile does not look into, as if by `torch.compiler.disable`.

    Where `torch._dynamo` is not imported nothing is being compiled, and the function is called as it is.

    Args:
        function: one of one's own, or one that torch has decorated already.

    >>> uncompiled(lambda x: x + 1)(2)
    3
    """
    plain = inspect.unwrap(function)
    guarded = _disable_dynamo(plain)

    @functools.wraps(plain)
    def called(*args: Any, **keywords: Any) -> Any:
        return (guarded if "torch._dynamo" in sys.modules else plain)(*args, **keywords)

    return called
