"""Masked reconstruction of two streams that belong together, and their contrast."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rules

STEPS, CHANNELS, WORDS, WIDTH = 8, 12, 16, 24  # words in a sentence, channels, words of the language, width of a code
HIDDEN = WORDS  # the number that stands for a hidden word


class Stream(nn.Module):
    """An encoder of one stream: a code of each step, which has seen its neighbours on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(0.1 * torch.randn(STEPS, 1, WIDTH))
        self.near = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.mixed = nn.Linear(WIDTH, WIDTH)

    def forward(self, entered: Tensor) -> Tensor:
        """Return codes `[T, B, WIDTH]` of what entered, `[T, B, WIDTH]`."""
        code = torch.relu(entered + self.places)
        around = self.near(code.permute(1, 2, 0)).permute(2, 0, 1)
        return code + self.mixed(torch.relu(around))


class TwoStreams(nn.Module):
    """Encoders of a recording and of a sentence, a joint network that restores both, and two sides of a contrast."""

    def __init__(self) -> None:
        super().__init__()
        self.eeg_in, self.words_in = nn.Linear(CHANNELS, WIDTH), nn.Embedding(WORDS + 1, WIDTH)
        self.eeg, self.words = Stream(), Stream()
        self.joint = nn.Sequential(nn.Linear(2 * WIDTH, 2 * WIDTH), nn.ReLU())
        self.restored = nn.Linear(2 * WIDTH, CHANNELS + WORDS)
        self.sides = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)])

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Return `[T, B, CHANNELS + WORDS + 2 WIDTH]`: the recording, logits of words, and a code of each stream."""
        codes = self.eeg(self.eeg_in(x["eeg"])), self.words(self.words_in(x["words"]))
        restored = self.restored(self.joint(torch.cat(codes, -1)))
        sides = [side(code.mean(0, keepdim=True)).expand_as(code) for side, code in zip(self.sides, codes, strict=True)]
        return torch.cat([restored, *sides], -1)


def parts(output: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the recording and the logits of words at each step, and unit codes `[B, WIDTH]` of both streams."""
    eeg, words, a, b = output.split([CHANNELS, WORDS, WIDTH, WIDTH], -1)
    return eeg, words, F.normalize(a[0], dim=-1), F.normalize(b[0], dim=-1)


@dataclass(frozen=True)
class MaskedPairs(rules.Objective):
    """Error of hidden steps of the recording + cross-entropy of hidden words + contrast of the two streams.

        L = mean_{hidden t,b} |e - e'|^2 / CHANNELS + mean_{hidden t,b} -log p(w)
            + [CE(S, 1..B) + CE(S^T, 1..B)] / 2,    S_ab = <recording a, sentence b> / tau

    Args:
        hidden: share of steps that are hidden, drawn anew in each batch and stream.
        temperature: tau.
    """

    hidden: float = 0.4
    temperature: float = 0.1

    def views(self, batch: rules.Batch, rng: torch.Generator) -> rules.Batch:
        """Hide steps of both streams; what was there, and where, goes to `targets`, which only the objective sees."""
        eeg, words = batch.x["eeg"], batch.x["words"]
        gone = (torch.rand(2, *words.shape, generator=rng) < self.hidden).to(words.device)
        shown = {"eeg": eeg.masked_fill(gone[0][..., None], 0.0), "words": words.masked_fill(gone[1], HIDDEN)}
        told = torch.cat([eeg, words[..., None], gone[0][..., None], gone[1][..., None]], -1)
        return batch._replace(x=shown, targets=told)

    def terms(self, run: rules.Run, batch: rules.Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three terms of the loss."""
        eeg, logits, a, b = parts(run.output)
        wanted, words, gone_eeg, gone_words = batch.targets.split([CHANNELS, 1, 1, 1], -1)
        restored = ((eeg - wanted).square().mean(-1, keepdim=True) * gone_eeg).sum() / gone_eeg.sum().clamp(min=1)
        said = F.cross_entropy(logits.flatten(0, 1), words.flatten().long(), reduction="none") @ gone_words.flatten()
        said = said / gone_words.sum().clamp(min=1)  # a sample alone may have no hidden word
        similar, pairs = a @ b.T / self.temperature, torch.arange(len(a), device=a.device)
        contrast = (F.cross_entropy(similar, pairs) + F.cross_entropy(similar.T, pairs)) / 2
        return restored, said, contrast

    def __call__(self, run: rules.Run, batch: rules.Batch) -> Tensor:
        return sum(self.terms(run, batch))

    def answers(self, run: rules.Run, batch: rules.Batch) -> tuple[Tensor, Tensor]:
        """Return similarities `[B, B]` and the pairs: the accuracy is the share of recordings that find theirs."""
        _, _, a, b = parts(run.output)
        return a @ b.T, torch.arange(len(a), device=a.device)


def sentences(count: int, rng: torch.Generator, noise: float = 0.7) -> dict[str, Tensor]:
    """Return recordings `[T, count, CHANNELS]` and words `[T, count]` that follow one hidden path of thought."""
    known = torch.Generator().manual_seed(1)  # the language and the electrodes are always the same
    meanings, electrodes = torch.randn(WORDS, 4, generator=known), torch.randn(4, CHANNELS, generator=known)
    path = [torch.randn(count, 4, generator=rng)]
    for _ in range(STEPS - 1):
        path.append(0.8 * path[-1] + 0.6 * torch.randn(count, 4, generator=rng))
    thought = torch.stack(path)  # [T, count, 4], of variance 1
    recording = thought @ electrodes / 2 + noise * torch.randn(STEPS, count, CHANNELS, generator=rng)
    return {"eeg": recording, "words": (thought @ F.normalize(meanings).T).argmax(-1)}


def loader(batches: int, seed: int) -> list[rules.Batch]:
    """Return batches of 32 pairs, without labels."""
    rng = torch.Generator().manual_seed(seed)
    return [rules.Batch(sentences(32, rng)) for _ in range(batches)]


def learned(rule: rules.LearningRule, epochs: int) -> rules.Trainer:
    """Return a trainer whose model has learned from 960 pairs by a rule."""
    torch.manual_seed(0)
    trainer = rules.Trainer(TwoStreams(), replace(rule, objective=MaskedPairs()), seed=0)
    for _ in trainer.fit(loader(30, seed=2), epochs):
        pass
    return trainer


def measured(trainer: rules.Trainer) -> dict[str, float]:
    """Return what a model finds in 256 new pairs, of which it sees batches of 32.

    `found`: share of recordings whose sentence is the most similar one; `words`: share of hidden words that are
    restored; `recording`: error of hidden steps of the recording as a share of its variance.
    """
    right, error, hidden = 0.0, [], 0.0
    for number, batch in enumerate(loader(8, seed=3)):
        seen = trainer.rule.objective.views(batch, torch.Generator().manual_seed(number))
        with torch.no_grad():
            run = rules.run_model(trainer.model, seen)
        gone = seen.targets[..., -1] > 0
        right += float((parts(run.output)[1].argmax(-1) == batch.x["words"])[gone].sum())
        hidden += float(gone.sum())
        error.append(float(trainer.rule.objective.terms(run, seen)[0]))
    variance = float(torch.cat([batch.x["eeg"] for batch in loader(8, seed=3)], 1).var())
    found = trainer.evaluate(loader(8, seed=3))["accuracy"]
    return {"found": found, "words": right / hidden, "recording": sum(error) / len(error) / variance}


def frequent() -> float:
    """Return the share of words that always saying the most frequent one of the training data would restore."""
    counts = torch.bincount(torch.cat([batch.x["words"] for batch in loader(30, seed=2)]).flatten())
    return float((torch.cat([batch.x["words"] for batch in loader(8, seed=3)]) == counts.argmax()).float().mean())


RULES = {
    "bptt": (rules.make("bptt", lr=5e-3), 5),  # backpropagation
    "fa": (rules.make("fa", lr=5e-3), 5),  # errors go back through random weights
    "spsa": (rules.make("spsa", lr=0.01, optimizer="adam", draws=4), 4),  # forward passes alone
}

if __name__ == "__main__":
    print(f"by chance: found {1 / 32:.3f}, words {frequent():.3f}, recording 1.000")
    for name, (rule, epochs) in RULES.items():
        print(name, {key: round(value, 3) for key, value in measured(learned(rule, epochs)).items()})
