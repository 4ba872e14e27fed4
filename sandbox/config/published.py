"""Settings with which papers trained their models, by name, as experiments that can be shortened."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from rules.errors import unknown
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.registry import Choice, find
from sandbox.config.rule import RuleConfig
from sandbox.networks.models import MODELS


@dataclass(frozen=True)
class Recipe:
    """What a paper did, as far as it is known.

    Args:
        model: name of the model.
        size: as the paper writes it.
        optimizer: "adam" (with decoupled weight decay, AdamW) or "sgd".
        lr: learning rate, at `batch` samples an update.
        epochs: in all, those behind a cosine at its lowest rate included.
        batch: samples of an update, on all devices together.
        steps: of a sequence.
        weight_decay: of the optimizer.
        momentum: of "sgd".
        warm_up: epochs of a linear rise.
        low: learning rate at the end.
        loss: name of the objective.
        loss_options: of the objective.
        clip: largest norm of the gradient.
        missing: what the paper did beside this and the settings leave out, or what is not known.
        source: where the settings were read.
    """

    model: str
    size: str
    optimizer: str
    lr: float
    epochs: int
    batch: int
    steps: int
    source: str
    weight_decay: float = 0.0
    momentum: float = 0.9
    warm_up: int = 0
    low: float = 0.0
    loss: str = "ce_mean"
    loss_options: dict[str, Any] = field(default_factory=dict)
    clip: float | None = None
    missing: str = ""

    def experiment(
        self,
        task: Any,
        *,
        size: str | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        steps: int | None = None,
        rule: str = "bptt",
        encoder: Choice | None = None,
        seed: int = 0,
        **options: Any,
    ) -> Experiment:
        """Return an experiment with these settings.

        The rise and the fall of the learning rate keep their shares of the run. The rate itself is that of the paper,
        whatever the batch; a smaller batch or a smaller model may want another one.

        Args:
            task: a name, a `Choice` or a task; a task by name gives images where it has the choice.
            size: of the model, that of the paper by default.
            epochs: those of the paper by default.
            batch_size: that of the paper by default.
            steps: those of the paper by default.
            rule: a rule that is told a loss and an optimizer.
            encoder: of samples; by default the same image at every step. Sequences want `Choice("as_recorded")`.
            seed: of the run.
            options: of the model, such as `neuron`.

        Raises:
            ValueError: for names and numbers that an `Experiment` refuses.
        """
        length = self.steps if steps is None else steps
        plasticity: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            plasticity["momentum"] = self.momentum
        schedule = {"low": self.low / self.lr, "warm_up": self.warm_up / self.epochs}
        return Experiment(
            task=_of_images(task) if isinstance(task, str) else task,
            encoder=Choice("constant", {"steps": length}) if encoder is None else encoder,
            network=NetworkConfig(
                hidden=NetworkConfig().hidden,
                model=Choice(self.model, {**self._sized(size or self.size, length), **options}),
                rate=None,
            ),
            rule=RuleConfig(
                rule,
                objective=Choice(self.loss, dict(self.loss_options)),
                plasticity=Choice(self.optimizer, plasticity),
            ),
            schedule=Choice("cosine", schedule),
            epochs=self.epochs if epochs is None else epochs,
            batch_size=self.batch if batch_size is None else batch_size,
            clip=self.clip,
            seed=seed,
        )

    def _sized(self, size: str, steps: int) -> dict[str, Any]:
        """Return the options that say the size of the model, and its steps if it has weights for each of them."""
        taken = inspect.signature(MODELS[self.model]).parameters
        given: dict[str, Any] = {"depth" if "depth" in taken else "size": size}
        return {**given, "steps": steps} if "steps" in taken else given


def _of_images(task: str) -> Choice:
    """Return a task by name, with images for samples if that is an option."""
    return Choice(task, {"image": True} if "image" in inspect.signature(find("task", task)).parameters else {})


MIXED = {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}
_SPIKFORMER: dict[str, Any] = {
    "optimizer": "adam", "lr": 5e-4, "low": 1e-5, "weight_decay": 0.05, "epochs": 310, "warm_up": 20, "steps": 4,
    "loss": "mixed", "loss_options": MIXED,
}  # fmt: skip
_CIFAR: dict[str, Any] = {
    "weight_decay": 0.06, "warm_up": 20, "low": 1e-5, "loss": "mixed",
    "loss_options": {"mixup": 0.5, "cutmix": 0.0, "label_smoothing": 0.1},
    "missing": "random augmentation; mixing ended after 200 of 410 epochs, and goes on here; the last 10 epochs were "
    "at the lowest rate, which the cosine reaches at their end here",
}  # fmt: skip
AUGMENTED = "random augmentation of images; the batch of one device is given here, and their number is not known"
RECIPES: dict[str, Recipe] = {
    "spikformer_imagenet": Recipe(
        "spikformer", "8-512", batch=24, missing=AUGMENTED, source="the authors' settings file", **_SPIKFORMER
    ),
    "spikingformer_imagenet": Recipe(
        "spikingformer", "8-768", batch=36, source="the authors' settings file, imagenet.yml", missing=AUGMENTED,
        **_SPIKFORMER,
    ),
    "spikingformer_cifar10": Recipe(
        "spikingformer", "4-384", "adam", 5e-4, 410, 64, 4, "the authors' settings file, cifar10.yml", **_CIFAR,
    ),
    "qkformer_imagenet": Recipe(
        "qkformer", "hst-10-768", "adam", 1.35e-3, 200, 576, 4, "the authors' settings file and log", low=1e-6,
        weight_decay=0.05, warm_up=5, loss_options={"label_smoothing": 0.1},
        missing="random augmentation of magnitude 9; no mixing",
    ),
    "qkformer_cifar10": Recipe(
        "qkformer", "4-384", "adam", 1e-3, 410, 64, 4, "the authors' settings file, cifar10.yml, and log", **_CIFAR,
    ),
    "svformer_ucf101": Recipe(
        "svformer", "ucf101", "adam", 6e-3, 600, 64, 16, "the authors' settings file and log", low=1e-6,
        weight_decay=0.05, warm_up=30, loss="mixed", loss_options=MIXED, clip=20.0,
        missing="random augmentation (m5, n2), frames taken at every fourth, five clips of three crops in the test",
    ),
    "sew_resnet_imagenet": Recipe(
        "sew_resnet", "18", "sgd", 0.1, 320, 256, 4, "the authors' code and log", missing="half precision",
    ),
    "orrc_resnet_cifar10": Recipe(
        "orrc_resnet", "cifar10", "adam", 1e-3, 250, 128, 16, "the authors' code", loss="mse_membrane",
        missing="the squared error was that of the mean output; here it is that of every step",
    ),
    "sma_resnet_imagenet": Recipe(
        "sma_resnet", "104", "sgd", 0.1, 200, 256, 6, "the authors' script", weight_decay=1e-4,
        loss_options={"label_smoothing": 0.1}, missing="the batch is not known to us: 256 is ours",
    ),
}  # fmt: skip


def recipe(name: str) -> Recipe:
    """Return the settings with which a paper trained its model.

    Args:
        name: such as "spikingformer_cifar10"; `sandbox.config.published.RECIPES` has all.

    Raises:
        ValueError: for an unknown name.

    >>> found = recipe("spikingformer_cifar10").experiment("digits", size="tiny", epochs=2, batch_size=50)
    >>> found.network.model.options, found.rule.plasticity.options
    ({'size': 'tiny'}, {'lr': 0.0005, 'weight_decay': 0.06})
    """
    if not isinstance(name, str) or name not in RECIPES:
        raise unknown("recipe", str(name), RECIPES)
    return RECIPES[name]
