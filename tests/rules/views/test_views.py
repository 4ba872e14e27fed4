"""Views keep the shape, draw from the given generator only, once for each sample, and do what their name promises."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from rules.views import (
    VIEWS,
    AdditiveNoise,
    ChannelJitter,
    ColourJitter,
    Compose,
    Cutout,
    EventDrop,
    FeatureDrop,
    Identity,
    OneOf,
    RandomCrop,
    RandomFlip,
    Roll,
    Rotation,
    StepDrop,
    TimeShift,
)

STRONG = ColourJitter(0.8, 0.8, 0.8, 0.4)
IMAGES = [RandomCrop(3), RandomFlip(), Cutout(4), STRONG, Rotation(90.0)]
VECTORS = [AdditiveNoise(0.3), FeatureDrop(0.5)]
TIMES = [StepDrop(0.5)]
SPIKES = [Roll(3), TimeShift(2), EventDrop(0.3), ChannelJitter(2, 0.5)]
CHOICES = [OneOf((Identity(), Roll(3), EventDrop(0.3)))]
STILL = [*IMAGES, *VECTORS, Roll(3), ChannelJitter(2, 0.5)]  # one draw for all steps of an image


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_input(view, steps: int = 5, samples: int = 24, seed: int = 0) -> torch.Tensor:
    """Images for image views, event images for spikes, vectors for vectors."""
    if view in IMAGES:
        return torch.rand(steps, samples, 3, 8, 9, generator=dice(seed))
    if view in [*SPIKES, *CHOICES]:
        return (torch.rand(steps, samples, 2, 8, 9, generator=dice(seed)) < 0.3).float()
    return torch.rand(steps, samples, 12, generator=dice(seed))


def every(views):
    return pytest.mark.parametrize("view", views, ids=lambda view: type(view).__name__)


@every([*IMAGES, *VECTORS, *SPIKES, *TIMES, *CHOICES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_stay_and_the_input_is_not_changed(view, dtype):
    x = random_input(view).to(dtype)
    before = x.clone()
    seen = view(x, dice())
    assert (seen.shape, seen.dtype) == (x.shape, x.dtype)
    assert x.equal(before)
    assert not seen.equal(x)


@every([*IMAGES, *VECTORS, *SPIKES, *TIMES, *CHOICES])
def test_the_dice_alone_decide(view):
    x = random_input(view)
    state = torch.get_rng_state()
    first = view(x, dice(1))
    assert torch.get_rng_state().equal(state)
    torch.rand(3)
    assert view(x, dice(1)).equal(first)
    assert not view(x, dice(2)).equal(first)


@every([*IMAGES, *VECTORS, *SPIKES, *TIMES, *CHOICES])
def test_every_sample_has_its_own_draw(view):
    x = random_input(view, samples=1).repeat(1, 24, *[1] * (random_input(view).ndim - 2))
    seen = view(x, dice())
    assert not seen.equal(seen[:, :1].expand_as(seen))


@every(STILL)
def test_a_draw_holds_for_all_steps_of_a_sample(view):
    x = random_input(view)[:1].repeat(5, *[1] * (random_input(view).ndim - 1))  # stored five times over
    seen = view(x, dice())
    assert seen.equal(seen[:1].expand_as(seen))


@every(STILL)
def test_what_is_constant_in_time_stays_expanded_and_shows_the_same(view):
    x = random_input(view)[:1].expand(5, *random_input(view).shape[1:])
    seen = view(x, dice())
    assert seen.stride(0) == 0
    torch.testing.assert_close(seen, view(x.contiguous(), dice()), rtol=0, atol=0)


@every([EventDrop(0.5), ChannelJitter(2)])
def test_spikes_of_different_steps_have_draws_of_their_own(view):
    seen = view(torch.eye(20)[:1].expand(30, 4, 20), dice())
    assert not seen.equal(seen[:1].expand_as(seen))


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 4)] * 2, st.sampled_from([1, 3]), *[st.integers(2, 7)] * 2), st.integers(0, 99))
def test_views_of_images_take_any_shape(shape, seed):
    x = torch.rand(shape, generator=dice(seed))
    view = Compose((RandomCrop(1), RandomFlip(), Cutout(1), STRONG))
    seen = view(x, dice(seed))
    assert seen.shape == x.shape
    assert 0 <= float(seen.min()) <= float(seen.max()) <= 1


@settings(max_examples=20, deadline=None)
@given(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)), st.integers(0, 5), st.integers(0, 99))
def test_views_of_spikes_take_any_shape_and_give_spikes(shape, reach, seed):
    x = (torch.rand(shape, generator=dice(seed)) < 0.4).float()
    view = Compose((Roll(reach), TimeShift(shape[0] - 1), EventDrop(0.2), ChannelJitter(reach)))
    seen = view(x, dice(seed))
    assert seen.shape == x.shape
    assert set(seen.unique().tolist()) <= {0.0, 1.0}
    assert seen.sum() <= x.sum()


def test_a_crop_is_a_window_of_the_padded_image_and_every_window_comes():
    padding, (height, width) = 2, (5, 6)
    x = torch.rand(3, 300, 2, height, width, generator=dice()) + 0.1
    seen = RandomCrop(padding)(x, dice(1)).numpy()
    border = np.pad(x.numpy(), [(0, 0)] * 3 + [(padding, padding)] * 2)
    found = []
    for sample in range(x.shape[1]):
        fits = [
            (down, right)
            for down in range(2 * padding + 1)
            for right in range(2 * padding + 1)
            if (border[:, sample, :, down : down + height, right : right + width] == seen[:, sample]).all()
        ]
        assert len(fits) == 1
        found += fits
    assert len(set(found)) == 25


def test_a_flip_is_left_and_right_swapped():
    x = random_input(RandomFlip(), samples=400)
    assert RandomFlip(1.0)(x, dice()).equal(x.flip(-1))
    assert RandomFlip(0.0)(x, dice()).equal(x)
    seen = RandomFlip(0.3)(x, dice())
    flipped = sum(bool(seen[:, i].equal(x[:, i].flip(-1))) for i in range(400))
    assert all(seen[:, i].equal(x[:, i].flip(-1)) or seen[:, i].equal(x[:, i]) for i in range(400))
    assert abs(flipped - 120) < 5 * np.sqrt(400 * 0.3 * 0.7)  # five standard deviations of a binomial


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_cutout_zeroes_one_clipped_square_and_every_centre_comes(size):
    height, width = 5, 6
    x = torch.rand(2, 600, 3, height, width, generator=dice()) + 0.1
    holes = (Cutout(size)(x, dice(1)) == 0).numpy()
    assert Cutout(size)(x, dice(1))[~torch.from_numpy(holes)].equal(x[~torch.from_numpy(holes)])
    squares = set()
    for row in range(height):
        for column in range(width):
            hole = np.zeros((height, width), bool)
            top, left = row - size // 2, column - size // 2
            hole[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = True
            squares.add(hole.tobytes())
    found = {holes[0, sample, 0].tobytes() for sample in range(600)}
    assert found == squares
    assert (holes == holes[:1, :, :1]).all()


def recovered(seen: np.ndarray, x: np.ndarray, grey: np.ndarray | float) -> float:
    """The factor of a blend, from its pixels that were not clamped."""
    free = (seen > 0) & (seen < 1) & (np.abs(x - grey) > 0.05)
    return float(np.median(((seen - grey) / (x - grey))[free]))


@pytest.mark.parametrize("name", ["Brightness", "Contrast", "Color"])
def test_colour_jitter_agrees_with_pillow(name):
    """Pillow rounds grey, its mean, the result and so the factor found to steps of 1/255: three steps at most."""
    field = {"Brightness": "brightness", "Contrast": "contrast", "Color": "saturation"}[name]
    view = replace(ColourJitter(0, 0, 0, 0), **{field: 0.8})
    pixels = torch.randint(0, 256, (1, 12, 3, 16, 16), generator=dice())
    x = pixels / 255
    seen = view(x, dice(1))
    factors = []
    for sample in range(12):
        ours = seen[0, sample].permute(1, 2, 0).numpy()
        image = Image.fromarray(pixels[0, sample].permute(1, 2, 0).byte().numpy())
        grey = np.asarray(image.convert("L"))[..., None] / 255
        ground = {"Brightness": 0.0, "Contrast": grey.mean(), "Color": grey}[name]
        factors.append(recovered(ours, np.asarray(image) / 255, ground))
        wanted = np.asarray(getattr(ImageEnhance, name)(image).enhance(factors[-1])) / 255
        np.testing.assert_allclose(ours, wanted, rtol=0, atol=3 / 255)
    assert 0.2 <= min(factors) < 0.7
    assert 1.3 < max(factors) <= 1.8


def test_hue_agrees_with_the_standard_library():
    x = torch.rand(1, 30, 3, 4, 4, generator=dice(), dtype=torch.float64)
    seen = ColourJitter(0, 0, 0, 0.25)(x, dice(1))
    turns = []
    for sample in range(30):
        pairs = [
            (colorsys.rgb_to_hsv(*before), colorsys.rgb_to_hsv(*after))
            for before, after in zip(*(y[0, sample].flatten(1).T.tolist() for y in (x, seen)))
        ]
        by = np.array([(after[0] - before[0] + 0.5) % 1 - 0.5 for before, after in pairs])
        np.testing.assert_allclose(by, by[0], atol=1e-9)  # float64; chroma divides, and is over 1e-3 here
        np.testing.assert_allclose([a[1:] for _, a in pairs], [b[1:] for b, _ in pairs], atol=1e-9)
        turns.append(by[0])
    assert -0.25 <= min(turns) < -0.2
    assert 0.2 < max(turns) <= 0.25


def test_grey_images_have_no_colour_to_jitter():
    x = torch.rand(1, 4, 1, 6, 6, generator=dice())
    assert ColourJitter(0, 0, 0.8, 0.4)(x, dice()).equal(x)
    grey = x.expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(ColourJitter(0, 0, 0.8, 0.4)(grey, dice()), grey, rtol=0, atol=1e-6)  # luma sums to 1
    assert not ColourJitter(0.5, 0, 0, 0)(x, dice()).equal(x)


@pytest.mark.parametrize("features", [(11,), (2, 5, 6)])
def test_a_roll_is_numpys_and_every_shift_comes(features):
    x = (torch.rand(4, 200, *features, generator=dice()) < 0.5).float()
    seen = Roll(2)(x, dice(1))
    axes = (-1,) if len(features) == 1 else (-2, -1)
    every_shift = (
        [(a,) for a in range(-2, 3)] if len(axes) == 1 else [(a, b) for a in range(-2, 3) for b in range(-2, 3)]
    )
    found = []
    for sample in range(200):
        fits = [by for by in every_shift if (np.roll(x[:, sample], by, axes) == seen[:, sample].numpy()).all()]
        assert len(fits) == 1
        found += fits
    assert set(found) == set(every_shift)
    assert seen.flatten(2).sum(2).equal(x.flatten(2).sum(2))


def test_a_time_shift_is_a_loop_and_every_shift_comes():
    x = torch.rand(5, 60, 7, generator=dice()) + 0.1
    seen = TimeShift(2)(x, dice(1))
    found = []
    for sample in range(60):
        for by in range(-2, 3):
            wanted = torch.zeros(5, 7)
            for step in range(5):
                if 0 <= step - by < 5:
                    wanted[step] = x[step - by, sample]
            found += [by] if wanted.equal(seen[:, sample]) else []
    assert len(found) == 60
    assert set(found) == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize("view", [EventDrop(0.2), FeatureDrop(0.2)])
def test_a_drop_has_its_rate_and_keeps_the_rest(view):
    x = torch.rand(1, 100, 200, generator=dice()) + 0.1
    seen = view(x, dice(1))
    lost = seen == 0
    assert seen[~lost].equal(x[~lost])
    assert abs(int(lost.sum()) - 4000) < 5 * np.sqrt(20000 * 0.2 * 0.8)  # five standard deviations of a binomial
    assert view(torch.zeros_like(x), dice(1)).sum() == 0


def test_an_event_moves_within_its_reach_and_stops_at_the_border():
    x = torch.eye(9)[:, None].repeat(1, 200, 1)  # at step t one event, on channel t
    seen = ChannelJitter(reach=2)(x, dice())
    assert seen.sum(2).equal(torch.ones(9, 200))
    landed = seen.argmax(2)
    for channel in range(9):
        wanted = {min(max(channel + by, 0), 8) for by in range(-2, 3)}
        assert set(landed[channel].tolist()) == wanted
    assert abs(float((landed[4] == 4).float().mean()) - 0.2) < 0.15  # five standard deviations: 5 sqrt(0.16 / 200)


def test_polarities_swap_by_the_sample():
    x = random_input(ChannelJitter(2, 0.5), samples=400)
    assert ChannelJitter(swap=1.0)(x, dice()).equal(x.flip(2))
    seen = ChannelJitter(swap=0.3)(x, dice())
    swapped = [bool(seen[:, i].equal(x[:, i].flip(1))) for i in range(400)]
    assert all(swap or seen[:, i].equal(x[:, i]) for i, swap in enumerate(swapped))
    assert abs(sum(swapped) - 120) < 5 * np.sqrt(400 * 0.3 * 0.7)


def test_noise_has_its_size():
    x = torch.rand(3, 100, 100, generator=dice())
    noise = AdditiveNoise(0.25)(x, dice(1)) - x
    assert abs(float(noise.std()) - 0.25) < 5 * 0.25 / np.sqrt(2 * 10_000)  # error of a standard deviation
    assert abs(float(noise.mean())) < 5 * 0.25 / np.sqrt(10_000)


def test_composition_is_one_after_the_other():
    x, rng = random_input(RandomFlip()), dice()
    by_hand = Cutout(3)(RandomCrop(2)(x, rng), rng)
    assert Compose((RandomCrop(2), Cutout(3)))(x, dice()).equal(by_hand)
    assert Compose(())(x, dice()) is x


SHOWN = {  # pair -> an input for it, and the options that suit it
    "image": (torch.rand(1, 6, 1, 8, 8, generator=dice()).expand(4, -1, -1, -1, -1), {"padding": 1, "cutout": 4}),
    "spikes": ((torch.rand(4, 6, 20, generator=dice()) < 0.4).float(), {}),
    "events": ((torch.rand(4, 9, 2, 12, 12, generator=dice()) < 0.3).float(), {}),
    "vector": (torch.rand(1, 6, 10, generator=dice()).expand(4, -1, -1), {}),
    "time": (torch.rand(4, 6, 10, generator=dice()) + 0.1, {"drop": 0.5}),
    "same": (torch.rand(4, 6, 10, generator=dice()), {}),
}


@pytest.mark.parametrize("name", list(VIEWS))
def test_a_named_pair_shows_its_input_in_two_ways(name):
    x, options = SHOWN[name]
    first, second = VIEWS[name](**options)
    rng = dice()
    one, other = first(x, rng), second(x, rng)
    assert one.shape == other.shape == x.shape
    assert one.equal(other) == (name == "same")
    if x.stride(0) == 0:
        assert one.stride(0) == other.stride(0) == 0


def test_pairs_are_what_they_say():
    crop = (RandomCrop(4), RandomFlip())
    strong = Compose((*crop, ColourJitter(0.4, 0.4, 0.4, 0.1), Cutout(16)))
    assert VIEWS["image"]() == (Compose(crop), strong)
    assert VIEWS["image"](padding=0, flip=False, jitter=0.0, cutout=0) == (Compose(()), Compose(()))
    assert VIEWS["same"]() == (Identity(), Identity())
    changes = (Identity(), Roll(5), Rotation(15.0), Cutout(8), EventDrop(0.1))
    assert VIEWS["events"]() == (Compose((RandomFlip(), OneOf(changes))),) * 2
    assert VIEWS["events"](swap=0.5)[0].views[1] == ChannelJitter(swap=0.5)
    assert VIEWS["events"](flip=False, shift=0, degrees=0.0, cutout=0, drop=0.0)[0] == OneOf((Identity(),))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomCrop(-1), r"RandomCrop\(padding=-1\): padding is a whole number of pixels, at least 0"),
        (lambda: RandomCrop(1.5), "padding=1.5: give a whole number"),
        (lambda: RandomFlip(1.2), r"RandomFlip\(probability=1.2\): give a probability between 0 and 1"),
        (lambda: RandomFlip(float("nan")), "probability=nan: give a finite number"),
        (lambda: Cutout(-2), r"Cutout\(size=-2\): size is a whole number of pixels, at least 0"),
        (lambda: ColourJitter(-0.1), r"ColourJitter\(brightness=-0.1, .*give strengths of at least 0"),
        (lambda: ColourJitter(contrast=-0.1), "give strengths of at least 0"),
        (lambda: ColourJitter(saturation=float("nan")), "saturation=nan: give a finite number"),
        (lambda: ColourJitter(hue=0.6), "hue is a share of the colour wheel between 0 and 0.5"),
        (lambda: Roll(-1), r"Roll\(shift=-1\): shift is a whole number of units or pixels, at least 0"),
        (lambda: TimeShift(-1), r"TimeShift\(steps=-1\): steps is a whole number of time steps, at least 0"),
        (lambda: EventDrop(-0.1), r"EventDrop\(probability=-0.1\): give a probability between 0 and 1"),
        (lambda: ChannelJitter(-1), "reach is a whole number of units, at least 0"),
        (lambda: ChannelJitter(swap=2.0), "swap is a probability between 0 and 1"),
        (lambda: AdditiveNoise(-0.1), r"AdditiveNoise\(std=-0.1\): std is a finite number, at least 0"),
        (lambda: AdditiveNoise(float("inf")), "std=inf: give a finite number"),
        (lambda: FeatureDrop(1.1), r"FeatureDrop\(probability=1.1\): give a probability between 0 and 1"),
        (lambda: Compose([Identity()]), r"give a tuple of views, such as \(RandomCrop\(4\), RandomFlip\(\)\)"),
        (lambda: Compose((3,)), "give a tuple of views"),
        (lambda: Rotation(181.0), r"Rotation\(degrees=181.0\): give degrees between 0 and 180"),
        (lambda: Rotation(-1.0), "give degrees between 0 and 180"),
        (
            lambda: OneOf(()),
            r"OneOf\(views=\(\)\): give a tuple of views, such as \(Roll\(5\), Rotation\(15.0\), Cutout",
        ),
        (lambda: OneOf([Identity()]), "give a tuple of views"),
    ],
)
def test_bad_settings_are_refused_with_the_remedy(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("view", "x", "message"),
    [
        *[
            (view, torch.rand(4, 2, 64), r"needs images \[T, B, C, H, W\]; this input is \(4, 2, 64\).*pair 'vector'")
            for view in IMAGES
        ],
        (RandomFlip(), torch.ones(4, 2, 1, 3, 3, dtype=torch.uint8), "these are torch.uint8: divide them by"),
        (
            RandomCrop(8),
            torch.rand(4, 2, 1, 8, 9),
            "can push images of 8 x 9 out of sight; give a padding under 8, such as 1",
        ),
        (Cutout(16), torch.rand(4, 2, 1, 8, 8), "can blank images of 8 x 8; give a size under 8, such as 4"),
        (STRONG, torch.rand(4, 2, 2, 8, 8), "1 or 3 channels; these have 2: leave the jitter out"),
        (STRONG, torch.rand(4, 2, 3, 8, 8) - 2, "needs images between 0 and 1; these run from"),
        (STRONG, torch.full((4, 2, 3, 8, 8), float("nan")), "these run from nan to nan: rescale"),
        *[
            (view, torch.rand(4, 2, 8, 8), r"spike trains \[T, B, N\] or \[T, B, C, H, W\]; .*flatten")
            for view in SPIKES
        ],
        (TimeShift(4), torch.ones(4, 2, 3), "can empty trains of 4 steps; give fewer steps"),
        (ChannelJitter(), torch.rand(4, 2, 3), "needs spikes of 0 and 1; .*encode it first"),
        (
            ChannelJitter(),
            torch.ones(4, 2, 3, 8, 8),
            r"two polarities \[T, B, 2, H, W\]; .*leave the channel jitter out",
        ),
        *[
            (view, torch.rand(4, 2), r"features \[T, B, N\]; this input is \(4, 2\): put time first")
            for view in VECTORS
        ],
        (AdditiveNoise(), torch.ones(4, 2, 3, dtype=torch.int64), r"these are torch.int64: use x.float\(\)"),
    ],
)
def test_bad_inputs_are_refused_with_the_remedy(view, x, message):
    with pytest.raises(ValueError, match=message):
        view(x, dice())


def test_dropped_steps_are_silent_and_one_is_kept():
    """The rest stays to the bit; 4,000 draws of 0.3 at steps that are not the kept one know the share to 1.5 %."""
    x = torch.rand(6, 800, 3, generator=dice()) + 0.1
    seen = StepDrop(0.3)(x, dice(1))
    silent = (seen == 0).all(2)
    assert torch.equal(seen[~silent], x[~silent])
    assert float(silent.double().mean()) == pytest.approx(0.3 * 5 / 6, abs=0.02)
    assert not silent.all(0).any()
    assert not (StepDrop(1.0)(x, dice()) == 0).all(2).all(0).any()
    assert torch.equal(StepDrop(1.0)(x[:1], dice()), x[:1])


def test_steps_of_tokens_are_not_dropped():
    with pytest.raises(ValueError, match=r"StepDrop.* needs features \[T, B, N\]"):
        StepDrop()(torch.ones(4, 3, dtype=torch.int64), dice())
    with pytest.raises(ValueError, match="probability=1.5.*give a probability between 0 and 1"):
        StepDrop(1.5)
