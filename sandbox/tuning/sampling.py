"""How the options of a trial are proposed: at random, or by Optuna's tree of Parzen estimators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rules.spaces import Range, Space

RANDOM = 4  # random trials before the sampler uses earlier results

# Each returns a sampler of Optuna from the module and a seed.
SAMPLERS: dict[str, Callable[[Any, int], Any]] = {
    "random": lambda optuna, seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda optuna, seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM),
}


def suggested(trial: Any, space: Space) -> dict[str, Any]:
    """Let a trial of Optuna choose the options; the ranges of trials of a study may differ, its choices may not."""
    return {name: _suggest(trial, name, found) for name, found in space.items()}


def _suggest(trial: Any, name: str, found: Any) -> Any:
    if isinstance(found, Range):
        return trial.suggest_float(name, found.low, found.high, log=found.log)
    return trial.suggest_categorical(name, list(found.values))


def optuna_() -> Any:
    """Import Optuna, which is an optional extra; raise ImportError with the command to install it."""
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "this needs Optuna, which is not installed: pip install 'learning-rule-sandbox[tune]'"
        ) from error
    return optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log, which repeats the progress bar."""
    optuna = optuna_()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
