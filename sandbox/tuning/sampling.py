"""How the options of a trial are proposed: at random, stratified, or by Optuna's tree of Parzen estimators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from rules.spaces import Range, Space

RANDOM = 4  # random trials before the sampler uses earlier results

# Each returns a sampler of Optuna from the module and a seed.
DRAWN: dict[str, Callable[[Any, int], Any]] = {
    "random": lambda optuna, seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda optuna, seed: optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM),
}


STRATIFIED = "stratified"
SAMPLERS = tuple(sorted((*DRAWN, STRATIFIED)))


def given(optuna: Any, options: Mapping[str, Any]) -> Any:
    """Return a sampler of Optuna that proposes these options."""

    class Given(optuna.samplers.BaseSampler):  # type: ignore[misc]
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return options[param_name]

    return Given()


def stratum(space: Space, trial: int, trials: int, seed: int) -> dict[str, Any]:
    """Return the options of a trial of a Latin hypercube: each of so many equal parts of a range has one trial.

    The parts of a logarithmic range are equal in decades, and each choice has as many trials as any other, up to one.
    So a search of few trials misses no part of a range, as independent draws do: four of them leave the highest of
    four decades out in a third of all searches.

    Args:
        space: the options.
        trial: which of the trials, from 0.
        trials: of the search.
        seed: of the order of the parts, and of the places in them.

    >>> from rules.spaces import Range
    >>> sorted(round(stratum({"lr": Range(0.0, 4.0)}, n, 4, seed=0)["lr"] // 1) for n in range(4))
    [0, 1, 2, 3]

    Reference: McKay, Beckman and Conover 1979 (Technometrics 21, 239), recalled.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for name, each in space.items():
        part, place = int(rng.permutation(trials)[trial]), rng.random(trials)[trial]
        if isinstance(each, Range):
            found[name] = each.at((part + place) / trials)
        else:
            found[name] = each.values[part * len(each.values) // trials]
    return found


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
