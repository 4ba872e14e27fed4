"""Federated averaging against plain training, against averages by hand, and its refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
from rules import Trainer, make
from rules.federated import Federation, divide
from sandbox import build
from sandbox.synapses import using

T, N = 6, 20
X = torch.rand(T, N, 4, generator=torch.Generator().manual_seed(0)) * 4
Y = torch.arange(N) % 3


def batches(own, size=4):
    return [(X[:, part], Y[part]) for part in own.split(size)]


def spiking():
    return build((4,), 3, (8,), seed=1)


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("rule", ["bptt", "spsa", "eprop", "dfa"])
@pytest.mark.parametrize("local", [1, 3])
def test_one_worker_is_plain_training_to_the_bit(rule, local):
    federation = Federation(spiking(), rule, [batches(torch.arange(N))], local=local, epochs=2, seed=7)
    found = [info.loss for each in federation.rounds() for info in each.infos[0]]
    plain = Trainer(spiking(), rule, seed=7)
    assert found == [info.loss for info in plain.fit(batches(torch.arange(N)), 2)]
    assert same(federation.model, plain.model)


def test_five_workers_with_the_same_samples_are_one():
    """What each of them learns is the same, so that averages change nothing: a mean in float64 rounds back."""
    same_to_all = batches(torch.arange(N))
    federation = Federation(spiking(), make("bptt"), [same_to_all] * 5, local=2, epochs=1)
    assert max(each.apart for each in federation.rounds()) == 0.0
    plain = Trainer(spiking(), make("bptt"))
    list(plain.fit(same_to_all))
    assert same(federation.model, plain.model)


def test_a_round_is_the_mean_of_separate_trainers_weighted_by_samples():
    """Three workers of 8, 8 and 4 samples and two local steps, with plain SGD, by trainers that know of no other."""
    shares = [torch.arange(8), torch.arange(8, 16), torch.arange(16, 20)]
    rule = make("bptt", optimizer="sgd", lr=0.1)
    federation = Federation(spiking(), rule, [batches(own) for own in shares], local=2)
    (told,) = federation.rounds()
    assert [len(infos) for infos in told.infos] == [2, 2, 1]
    assert told.apart > 0
    wanted = dict.fromkeys(spiking().state_dict(), 0.0)
    for own in shares:
        alone = Trainer(spiking(), rule)
        list(alone.fit(batches(own)))
        for name, value in alone.model.state_dict().items():
            wanted[name] = wanted[name] + value.double() * len(own) / N
    for name, value in federation.model.state_dict().items():
        assert torch.allclose(value.double(), wanted[name], rtol=1e-6, atol=1e-7)  # float32 rounds the mean


def test_all_workers_have_the_average_and_the_feedback_of_the_first():
    federation = Federation(spiking(), "dfa", [batches(own) for own in divide(N, 4)], local=1)
    for _ in federation.rounds():
        assert all(same(trainer.model, federation.model) for trainer in federation.trainers)
    kept = [trainer.state.matrices for trainer in federation.trainers]
    assert all(torch.equal(each[name], kept[0][name]) for each in kept for name in kept[0])


def test_a_worker_without_samples_left_waits():
    long, short = batches(torch.arange(16)), batches(torch.arange(16, 20))
    federation = Federation(spiking(), "bptt", [long, short])
    rounds = list(federation.rounds())
    assert [[len(infos) for infos in each.infos] for each in rounds] == [[1, 1], [1, 0], [1, 0], [1, 0]]
    assert rounds[-1].apart == 0.0
    assert same(federation.trainers[1].model, federation.model)


def test_the_model_that_was_given_is_not_changed():
    model = spiking()
    list(Federation(model, "bptt", [batches(own) for own in divide(N)]).rounds())
    assert same(model, spiking())


def test_averages_of_buffers():
    """Running means are averaged, the count of batches is that of the first worker."""
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    loaders = [[(X[0, own], Y[own])] for own in divide(N, 2)]
    federation = Federation(model, "bptt", loaders, confirm=False)
    list(federation.rounds())
    alone = [Trainer(federation_model(model), "bptt", confirm=False) for _ in loaders]
    for trainer, loader in zip(alone, loaders, strict=True):
        list(trainer.fit(loader))
    mean = sum(trainer.model[1].running_mean for trainer in alone) / 2
    assert torch.allclose(federation.model[1].running_mean, mean, atol=1e-7)
    assert int(federation.model[1].num_batches_tracked) == 1


def federation_model(model):
    fresh = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    fresh.load_state_dict(model.state_dict())
    return fresh


def test_shares_are_disjoint_and_complete():
    shares = divide(23, 5, seed=3)
    assert sorted(torch.cat(shares).tolist()) == list(range(23))
    assert [len(own) for own in shares] == [5, 5, 5, 4, 4]
    assert divide(23, 5, seed=3)[0].tolist() == shares[0].tolist() != divide(23, 5, seed=4)[0].tolist()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: divide(4, 5), "5 workers cannot share 4 samples: give at most 4 workers"),
        (lambda: divide(4, 0), "workers=0: give at least 1"),
        (lambda: Federation(spiking(), "bptt", []), "needs a loader for each worker"),
        (lambda: Federation(spiking(), "bptt", [[], []], local=0), "local=0: give at least one step"),
        (lambda: Federation(spiking(), "bptt", [[], iter([])]), "worker 1 is an iterator, which can be read only once"),
        (
            lambda: next(Federation(spiking(), "bptt_on_memristor", [batches(own) for own in divide(N, 2)]).rounds()),
            "holds weights of its own, which an average cannot set",
        ),
    ],
)
def test_refusals(ask, message):
    with using("dense"), pytest.raises(ValueError, match=message):
        ask()


def test_an_optimizer_that_holds_weights_of_its_own_is_refused_whatever_it_inherits():
    class Latent(torch.optim.SGD):
        def held(self, p):
            return p.detach()

    rule = rules.LearningRule(rules.OBJECTIVES["ce_mean"](), rules.BPTT(), lambda ps: Latent(ps, lr=0.1))
    with pytest.raises(ValueError, match="weights"):
        list(Federation(nn.Linear(4, 3), rule, [[(torch.rand(1, 5, 4), torch.arange(5) % 3)]] * 2).rounds())
