"""Dehazing: the model of haze and its inverse, the loss of order, the measure, and what networks learn."""

from __future__ import annotations

from math import exp, log, log10

import pytest
import torch

import rules
from rules.credit.zero_order.flat.alone import losses_alone
from tests.illustrations.scripts import rng, script


@pytest.fixture(scope="module")
def some():
    """Three pieces in haze, and random answers of a network, in float64."""
    dehazing = script("dehazing")
    (batch,) = dehazing.loader(1, seed=0)
    batch = rules.Batch(batch.x[:3].double(), batch.y[:3].double())
    return rules.Run(torch.rand(1, 3, dehazing.PIXELS, generator=rng()).double()), batch


def test_haze_mixes_the_light_of_a_place_with_that_of_the_air():
    dehazing = script("dehazing")
    clear, depth = torch.rand(2, 3, 2, 2, generator=rng()), 3 * torch.rand(2, 1, 2, 2, generator=rng(1))
    found = dehazing.hazy(clear.double(), depth.double(), beta=0.7)
    for b, c, h, w in torch.cartesian_prod(*map(torch.arange, clear.shape)).tolist():
        t = exp(-0.7 * float(depth[b, 0, h, w]))
        assert float(found[b, c, h, w]) == pytest.approx(float(clear[b, c, h, w]) * t + 0.9 * (1 - t), rel=1e-12)


def test_the_right_thickness_gives_the_clear_picture_back():
    """As far as a tenth of the light arrives; beyond, the inverse is bounded."""
    dehazing = script("dehazing")
    clear = torch.rand(2, 3, 4, 4, generator=rng()).double()
    depth = torch.linspace(0, 2.3, 32).view(2, 1, 4, 4).double()  # exp(-2.3) is above 0.1
    torch.testing.assert_close(dehazing.dehazed(dehazing.hazy(clear, depth), depth), clear, rtol=1e-12, atol=1e-12)
    far = torch.full_like(depth, 50.0)
    assert float((dehazing.dehazed(clear, far) - (0.9 + 10 * (clear - 0.9))).abs().max()) < 1e-12  # float64


def test_the_loss_counts_every_pair_whose_depth_differs(some):
    dehazing, (run, batch) = script("dehazing"), some
    found = dehazing.Dehazing(weight=0.3).each(run, batch)
    side = range(dehazing.EVERY // 2, dehazing.SIZE, dehazing.EVERY)
    at = [row * dehazing.SIZE + column for row in side for column in side]
    for b in range(3):
        said, depth = [float(run.output[0, b, p]) for p in at], batch.y[b, 3 * dehazing.PIXELS :].tolist()
        pairs = [(p, q) for p in range(16) for q in range(16) if depth[p] > depth[q]]
        order = sum(log(1 + exp(-(said[p] - said[q]))) for p, q in pairs) / len(pairs)
        seen, clear, error = batch.x[b].flatten(), batch.y[b], 0.0
        for i in range(3 * dehazing.PIXELS):
            t = max(exp(-float(run.output[0, b, i % dehazing.PIXELS])), 0.1)
            error += abs((float(seen[i]) - 0.9 * (1 - t)) / t - float(clear[i]))
        wanted = error / (3 * dehazing.PIXELS) + 0.3 * order
        assert float(found[b]) == pytest.approx(wanted, rel=1e-12)  # float64


def test_the_order_alone_does_not_see_the_picture(some):
    run, batch = some
    loss, other = script("dehazing").Dehazing(clear=False), batch._replace(x=batch.x.flip(0))
    assert torch.equal(loss(run, batch), loss(run, other))


def test_the_loss_of_each_picture_is_that_of_a_batch_of_it(some):
    """Also where a rule shows two passes of one batch, one behind the other."""
    dehazing, (run, batch) = script("dehazing"), some
    loss, second = dehazing.Dehazing(), rules.Run(run.output.flip(1))
    both = rules.Run(torch.cat([run.output, second.output], 1))
    found = losses_alone(loss, both, batch, copies=2)
    for copy, each in enumerate((run, second)):
        for b in range(3):
            alone = loss(rules.Run(each.output[:, b : b + 1]), rules.Batch(batch.x[b : b + 1], batch.y[b : b + 1]))
            assert float(found[copy, b]) == pytest.approx(float(alone), rel=1e-12)  # float64


def test_quality_is_added_up_over_batches():
    """PSNR of all pixels together, and pairs in order, of which ties count one half."""
    dehazing = script("dehazing")
    picture = torch.rand(2, 3 * dehazing.PIXELS, generator=rng())
    wrong = (picture + torch.tensor([[0.1], [-0.2]])).clamp(0, 1)
    depth, said = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 2.0]]), torch.tensor([[1.0, 3.0, 2.0], [0.0, 5.0, 5.0]])
    quality = dehazing.Quality()
    for b in (0, 1):
        quality.add(*(torch.cat(each, 1)[b : b + 1] for each in ((wrong, said), (picture, depth))))
    found = quality.report()
    squares = sum((float(a) - float(b)) ** 2 for a, b in zip(wrong.flatten(), picture.flatten()))
    assert found["psnr"] == pytest.approx(-10 * log10(squares / picture.numel()), rel=1e-5)  # float32
    assert found["order"] == (2 + 1.5) / 5  # pairs: 12 right, 13 right, 23 wrong; 13 right, 23 a tie


def test_networks_learn_and_are_tested_on_other_parts_of_the_photographs():
    """No column of a test picture is one of a picture that was learned from."""
    dehazing = script("dehazing")
    photographs = torch.arange(160.0).expand(2, 3, 106, 160)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dehazing, "photographs", lambda: photographs)
        columns = [
            {
                column
                for batch in dehazing.loader(20, seed=0, test=test)
                for column in batch.y[:, : dehazing.PIXELS].flatten().tolist()
            }
            for test in (False, True)
        ]
    assert max(columns[0]) < 100 <= min(columns[1])


def test_a_network_orders_places_by_depth_without_clear_pictures():
    """Chance is one half; a third of the training."""
    dehazing = script("dehazing")
    rule, _ = dehazing.RULES["bptt"]
    assert dehazing.learned(rule, 2, dehazing.LOSSES["order alone"])["order"] > 0.7


SAID = {  # the table of the page: PSNR and order, from the least to the most of five seeds
    ("bptt", "both"): ((19.3, 19.9), (0.81, 0.82)),
    ("bptt", "pictures alone"): ((19.4, 19.9), (0.79, 0.82)),
    ("bptt", "order alone"): ((12.1, 12.1), (0.80, 0.81)),
    ("sequential_local", "both"): ((14.9, 18.4), (0.78, 0.80)),
    ("sequential_local", "pictures alone"): ((16.7, 19.8), (0.77, 0.80)),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:layers .* have a gain")
@pytest.mark.parametrize(("rule", "terms"), SAID)
def test_what_the_page_says_of_five_seeds(rule, terms):
    """To 1 dB and 0.03: other processors round otherwise, and training amplifies it."""
    dehazing = script("dehazing")
    found = [dehazing.learned(*dehazing.RULES[rule], dehazing.LOSSES[terms], seed) for seed in range(5)]
    for name, (low, high), apart in zip(("psnr", "order"), SAID[rule, terms], (1.0, 0.03)):
        numbers = [each[name] for each in found]
        print(rule, terms, name, [round(each, 3) for each in numbers])
        assert min(numbers) == pytest.approx(low, abs=apart)
        assert max(numbers) == pytest.approx(high, abs=apart)
