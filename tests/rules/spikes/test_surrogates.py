"""Every surrogate against its primitive, its integral, its neighbours in the literature, and plain autograd."""

from __future__ import annotations

import copy
import math
import pickle
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from rules.errors import unknown
from rules.spikes.surrogate import SURROGATES, Differentiation, Surrogate, differentiating, reset_signal
from rules.spikes.table import Shape

DETERMINISTIC = [name for name, shape in SURROGATES.items() if not shape.stochastic]
STOCHASTIC = [name for name, shape in SURROGATES.items() if shape.stochastic]
PRIMITIVE = [name for name, shape in SURROGATES.items() if shape.primitive]
INTEGRABLE = [name for name in DETERMINISTIC if math.isfinite(Surrogate(name).area or math.inf)]
GRID = torch.linspace(-2.987, 2.993, 601, dtype=torch.float64)  # meets no kink: those are at 0, 1/4, 1/2, 1 and so on

OTHER_SETTINGS = {  # away from every default
    "fast_sigmoid": {"k": 3.0},
    "superspike_sj": {"alpha": 0.7},
    "triangle": {"gamma": 0.4},
    "triangle_bellec": {"gamma": 1.3},
    "gaussian": {"sigma": 0.9},
    "multi_gaussian": {"h": 0.4, "k": 2.0, "sigma": 0.3, "gain": 1.5},
    "piecewise_leaky_relu": {"w": 0.3, "c": 0.2},
    "q_pseudo_spike": {"q": 3.5},
    "leaky_k_relu": {"leak": 0.1, "k": 0.6},
    "log_tailed_relu": {"alpha": 0.2},
    "s2nn": {"alpha": 2.0, "beta": 0.3},
    "ste": {},
    "ste_clipped": {},
    "squarewave_fourier": {"n": 4.0, "period": 3.0},
    "sparse_fast_sigmoid": {"k": 4.0, "width": 0.5},
    "sso": {"mean": -0.1, "variance": 3.0},
    "local_zo": {"delta": 0.3},
}

PUBLISHED = {  # area, peak and half-width at the defaults, as measured for the specification
    "fast_sigmoid": (0.080, 1, 0.0165),
    "superspike_sj": (2.0, 1, 0.414),
    "atan": (1, 1, 0.318),
    "sigmoid": (1, 1, 0.441),
    "triangle": (1, 1, 0.5),
    "triangle_bellec": (0.3, 0.3, 0.5),
    "piecewise_quadratic": (1, 1, 0.5),
    "piecewise_exp": (1, 0.5, 0.693),
    "gaussian": (1, 0.798, 0.589),
    "erf": (1, 1.128, 0.416),
    "multi_gaussian": (0.425, 0.439, 0.571),
    "rect": (1, 1, 0.5),
    "soft_sign": (1, 1, 0.207),
    "q_pseudo_spike": (1, 1, 0.207),
    "ste_clipped": (2, 1, 1),
    "heavi_circ": (2, 1, None),
}


def both(name):
    """A surrogate with its defaults and one with other settings."""
    return Surrogate(name), Surrogate(name, **OTHER_SETTINGS.get(name, {"alpha": 1.7}))


def held_to_its_primitive(shape, **parameters):
    """P1.1: g is the derivative of P; 1e-10 is a million roundings of float64 at values of order one."""
    u = GRID.clone().requires_grad_()
    (slope,) = torch.autograd.grad(shape.primitive(u, **parameters).sum(), u)
    torch.testing.assert_close(shape.grad(GRID, **parameters), slope, rtol=1e-10, atol=1e-10)


def integral(surrogate):
    """The integral of g over the whole line, piece by piece so that no kink lies inside a piece."""
    v = dict(surrogate.parameters)
    edges = {0.0, 1.0, 0.5 / v.get("alpha", 1), 1 / v.get("alpha", 1), v.get("gamma", 1), v.get("width", 1)}
    ends = [*sorted(edges), math.inf]
    g = lambda x: surrogate.grad(torch.tensor(x, dtype=torch.float64)).item()  # noqa: E731
    pieces = zip(ends, ends[1:], strict=False)
    return sum(quad(g, a, b, limit=200)[0] + quad(g, -b, -a, limit=200)[0] for a, b in pieces)


def same_bits(a, b):
    return torch.equal(a, b) and a.dtype == b.dtype


# --- the derivative itself ---


@pytest.mark.parametrize("name", PRIMITIVE)
def test_the_derivative_is_that_of_the_primitive(name):
    for surrogate in both(name):
        held_to_its_primitive(surrogate.shape, **dict(surrogate.parameters))


def test_the_check_of_the_primitive_catches_an_upstream_mistake():
    """Norse's `heavi_tanh` lacks k / 2 of its own primitive, which is why it is not in the table."""
    heavi_tanh = Shape(
        lambda u, k: 1 - torch.tanh(k * u) ** 2,
        lambda u, k: (1 + torch.tanh(k * u)) / 2,
        lambda k: 2 / k,
        lambda k: 1.0,
        {"k": 1.0},
        "Norse",
    )
    with pytest.raises(AssertionError, match="Mismatched"):
        held_to_its_primitive(heavi_tanh, k=1.0)


@pytest.mark.parametrize("name", INTEGRABLE)
def test_the_area_is_the_integral(name):
    """P1.4, to 1 %; quadrature itself is good to 1e-6."""
    for surrogate in both(name):
        assert integral(surrogate) == pytest.approx(surrogate.area, rel=0.01)


def test_a_square_wave_has_no_area_and_cancels_over_its_period():
    surrogate = Surrogate("squarewave_fourier")
    assert surrogate.area is None
    u = torch.arange(0, 8, 0.01, dtype=torch.float64)
    assert surrogate.grad(u).sum().abs() < 1e-9  # rounding of 800 values of order one


@pytest.mark.parametrize("name", [n for n in DETERMINISTIC if n not in INTEGRABLE and n != "squarewave_fourier"])
def test_an_infinite_area_does_grow_without_end(name):
    surrogate = Surrogate(name)
    assert surrogate.area == math.inf
    both_sides = lambda x: sum(surrogate.grad(torch.tensor([x, -x], dtype=torch.float64)).tolist())  # noqa: E731
    parts = [quad(both_sides, start, 10 * start)[0] for start in (1e2, 1e3)]
    assert parts[1] >= 0.99 * parts[0] > 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_area_peak_and_half_width_are_the_published_ones(name):
    """The table prints three digits: 1 % covers the last."""
    surrogate = Surrogate(name)
    area, peak, half_width = PUBLISHED[name]
    assert (surrogate.area, surrogate.peak) == (pytest.approx(area, rel=0.01), pytest.approx(peak, rel=0.01))
    if half_width is not None:
        u = torch.arange(0, 1.5, 1e-5, dtype=torch.float64)
        assert u[surrogate.grad(u) >= surrogate.peak / 2 - 1e-9].max().item() == pytest.approx(half_width, rel=0.01)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_the_peak_is_the_largest_value(name):
    """On a grid of 1e-4 that holds zero and its left neighbour, at which one-sided peaks are taken."""
    u = torch.cat([torch.arange(-30000, 30001, dtype=torch.float64) * 1e-4, torch.tensor([-1e-12])])
    for surrogate in both(name):
        assert surrogate.grad(u).max().item() == pytest.approx(surrogate.peak, rel=1e-6)


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("normalize", ["area", "peak"])
def test_normalising_makes_it_one(name, normalize):
    for plain in both(name):
        whole = getattr(plain, normalize)
        if whole is None or math.isinf(whole):
            with pytest.raises(ValueError, match=f"'{name}' has no finite {normalize} to normalize"):
                Surrogate(name, normalize=normalize, **dict(plain.parameters))
            continue
        scaled = Surrogate(name, normalize=normalize, **dict(plain.parameters))
        assert getattr(scaled, normalize) == pytest.approx(1)
        torch.testing.assert_close(scaled.grad(GRID) * whole, plain.grad(GRID), rtol=1e-12, atol=1e-12)
        if name in PRIMITIVE:
            torch.testing.assert_close(scaled.primitive(GRID) * whole, plain.primitive(GRID), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Surrogate("piecewise_quadratic", alpha=2.5), Surrogate("triangle", gamma=0.4)),
        (Surrogate("soft_sign", alpha=3.0), Surrogate("fast_sigmoid", k=3.0, normalize="area")),
        (Surrogate("q_pseudo_spike", q=2.0), Surrogate("fast_sigmoid", k=2.0, normalize="peak")),
        (Surrogate("erf", alpha=2.0), Surrogate("gaussian", sigma=1 / (2 * math.sqrt(2)))),
        (Surrogate("superspike_sj"), Surrogate("fast_sigmoid", k=1.0)),
        (Surrogate("triangle_bellec", gamma=1.0), Surrogate("triangle")),
        (Surrogate("sparse_fast_sigmoid", width=100.0), Surrogate("fast_sigmoid")),
        (Surrogate("piecewise_leaky_relu", w=0.25, c=0.0), Surrogate("rect", alpha=2.0)),
    ],
    ids=lambda surrogate: surrogate.name,
)
def test_functions_that_have_two_names_agree(one, other):
    """The same formula written in two ways: 1e-12 leaves room for its roundings in float64."""
    torch.testing.assert_close(one.grad(GRID), other.grad(GRID), rtol=1e-12, atol=1e-12)


def test_the_mean_of_local_zo_is_the_gaussian(rng):
    """P1.12; a million draws leave a standard error below 0.35 % at these u, so 1 % is three of them."""
    mean, exact = Surrogate("local_zo", delta=0.5), Surrogate("gaussian", sigma=0.5)
    for u in (-0.8, -0.3, 0.0, 0.5):
        drawn = mean.grad(torch.full((1_000_000,), u, dtype=torch.float64), generator=rng).mean()
        torch.testing.assert_close(drawn, exact.grad(torch.tensor(u, dtype=torch.float64)), rtol=0.01, atol=0)


def test_sso_is_one_at_a_spike_and_uniform_noise_elsewhere(rng):
    surrogate = Surrogate("sso", mean=0.1, variance=2.0)
    assert bool((surrogate.grad(torch.full((100,), 0.5), generator=rng) == 1).all())
    below = surrogate.grad(torch.full((100_000,), -0.5), generator=rng)
    assert -0.8 <= below.min() < -0.79
    assert 1.19 < below.max() <= 1.2
    assert surrogate.peak == pytest.approx(1.2)


# --- the spike ---


@pytest.mark.parametrize("name", SURROGATES)
def test_a_spike_is_a_step_forward_and_g_backward(name, rng):
    surrogate = Surrogate(name)
    u = GRID.clone().requires_grad_()
    error = torch.linspace(-1, 2, len(u), dtype=torch.float64)
    with differentiating(generator=torch.Generator().manual_seed(3)):
        spikes = surrogate.spike(u)
        spikes.backward(error)
    assert same_bits(spikes.detach(), (GRID >= 0).double())
    dice = {"generator": torch.Generator().manual_seed(3)} if name in STOCHASTIC else {}
    assert same_bits(u.grad, error * surrogate.grad(GRID, **dice))


@pytest.mark.parametrize(("strict", "at_threshold"), [(False, 1.0), (True, 0.0)])
def test_strictness_decides_at_equality_alone(strict, at_threshold):
    u = torch.tensor([-1.0, 0.0, 1.0])
    assert Surrogate("atan").spike(u, strict).tolist() == [0.0, at_threshold, 1.0]
    with differentiating(Surrogate("rect")):
        assert Surrogate("atan").spike(u, strict).tolist() == [0.0, at_threshold, 1.0]


def test_only_u_is_kept_for_the_backward_pass():
    kept = []
    u = torch.randn(5, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        Surrogate("atan", normalize="peak").spike(u)
    assert [t.data_ptr() for t in kept] == [u.data_ptr()]


@pytest.mark.parametrize("name", PRIMITIVE)
def test_a_smooth_spike_passes_gradcheck(name):
    """Away from kinks: finite differences of 1e-6 reach none of them."""
    u = torch.tensor([-2.3, -0.83, -0.31, 0.017, 0.36, 0.71, 1.9], dtype=torch.float64, requires_grad=True)
    for surrogate in both(name):
        with differentiating(smooth=True):
            assert torch.autograd.gradcheck(surrogate.spike, (u,))


@pytest.mark.parametrize("detach_reset", [False, True])
def test_a_smooth_recurrent_network_passes_gradcheck(detach_reset, rng):
    """P1.3: three layers, five steps. With a detached reset the gradient is by design not that of the forward pass."""
    sizes, steps = [3, 4, 4, 2], 5
    shapes = [(o, i) for i, o in zip(sizes, sizes[1:], strict=False)] + [(4, 4), (4, 4), (2, 2)]
    weights = [torch.randn(s, generator=rng, dtype=torch.float64, requires_grad=True) for s in shapes]
    x = torch.randn(steps, 2, 3, generator=rng, dtype=torch.float64)
    surrogate = Surrogate("sigmoid")

    def network(*weights):
        v, s = [[torch.zeros(2, n, dtype=torch.float64) for n in sizes[1:]] for _ in range(2)]
        total = 0.0
        with differentiating(smooth=True, detach_reset=detach_reset):
            for step in range(steps):
                drive = x[step]
                for layer in range(3):
                    h = 0.8 * v[layer] + drive @ weights[layer].T + s[layer] @ weights[3 + layer].T
                    drive = s[layer] = surrogate.spike(h - 0.5)
                    v[layer] = h * (1 - reset_signal(drive))
                total = total + drive
        return total

    assert torch.autograd.gradcheck(network, weights, raise_exception=not detach_reset) is not detach_reset


def test_a_steep_surrogate_gives_no_gradient_away_from_the_threshold(rng):
    """P1.6: with |u| >= 1e-3, atan's g is at most 2 / (pi^2 alpha u^2), here 2e-8."""
    weight, x, errors = dense(rng)
    u = x @ weight.T
    shift = u.detach().sign() * 1e-3  # now no sample lies within 1e-3 of the threshold

    def gradient(alpha):
        spikes = Surrogate("atan", alpha=alpha).spike(u + shift)
        return torch.autograd.grad((spikes * errors).sum(), weight, retain_graph=True)[0].abs().max().item()

    sizes = [gradient(alpha) for alpha in (1e4, 1e6, 1e8, 1e13)]
    assert sizes == sorted(sizes, reverse=True)
    assert 0 < sizes[-1] < 1e-6 < sizes[0]


def test_straight_through_is_the_gradient_of_the_linear_layer(rng):
    """P1.6: T = 1, one layer; the same sum in the same order."""
    weight, x, errors = dense(rng)
    (through,) = torch.autograd.grad((Surrogate("ste").spike(x @ weight.T) * errors).sum(), weight)
    (linear,) = torch.autograd.grad((x @ weight.T * errors).sum(), weight)
    torch.testing.assert_close(through, linear, rtol=1e-12, atol=1e-12)


def dense(rng):
    """A 4-3 layer, 20 inputs for it, and an error for each of its outputs."""
    weight = torch.randn(3, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    x = torch.randn(20, 4, generator=rng, dtype=torch.float64)
    return weight, x, torch.randn(20, 3, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_half_precision_is_computed_in_float32(name, dtype):
    u = torch.linspace(-3, 3, 61).to(dtype)
    surrogate = Surrogate(name)
    assert same_bits(surrogate.grad(u), surrogate.grad(u.float()).to(dtype))
    leaf = u.clone().requires_grad_()
    surrogate.spike(leaf).sum().backward()
    assert same_bits(leaf.grad, surrogate.grad(u))
    if name in PRIMITIVE:
        with differentiating(smooth=True):
            assert same_bits(surrogate.spike(u), surrogate.primitive(u.float()).to(dtype))


def test_half_precision_does_not_overflow_on_the_way():
    """(1 + 25 * 20)^2 is above the largest float16, its inverse is not below the smallest."""
    assert Surrogate("fast_sigmoid").grad(torch.tensor(20.0, dtype=torch.float16)) > 0


def test_works_under_vmap(rng):
    surrogate = Surrogate("atan", normalize="peak")
    u = torch.randn(6, 4, generator=rng)
    assert same_bits(torch.func.vmap(surrogate.spike)(u), surrogate.spike(u))
    each = torch.func.vmap(torch.func.grad(lambda row: surrogate.spike(row).sum()))(u)
    torch.testing.assert_close(each, surrogate.grad(u))


def test_compiles_into_one_graph_that_obeys_the_context(rng):
    """Compiled code must see an override that was set after it was compiled, and its end."""
    surrogate, other = Surrogate("atan"), Surrogate("triangle")
    compiled = torch.compile(lambda u: 2 * surrogate.spike(u), fullgraph=True, backend="aot_eager")
    u = torch.randn(50, generator=rng, requires_grad=True)

    def slope():
        return torch.autograd.grad(compiled(u).sum(), u)[0]

    torch.testing.assert_close(slope(), 2 * surrogate.grad(u))
    with differentiating(other) as context:
        torch.testing.assert_close(slope(), 2 * other.grad(u))
    assert context.used
    with differentiating(smooth=True):
        torch.testing.assert_close(compiled(u), 2 * surrogate.primitive(u))
    assert torch.equal(compiled(u), 2 * (u >= 0).float())
    torch.testing.assert_close(slope(), 2 * surrogate.grad(u))


# --- the context ---


def test_the_context_overrides_and_gives_back():
    own, other, inner = Surrogate("atan"), Surrogate("triangle"), Surrogate("rect", alpha=0.2)
    u = torch.tensor([0.3], requires_grad=True)

    def slope():
        return torch.autograd.grad(own.spike(u).sum(), u)[0].item()

    def g(surrogate):
        return surrogate.grad(u).item()

    assert slope() == g(own)
    with differentiating(other):
        assert slope() == g(other)
        with differentiating(inner):
            assert slope() == g(inner)
        assert slope() == g(other)
        with pytest.raises(KeyError), differentiating(inner):
            raise KeyError
        assert slope() == g(other)
        with differentiating():
            assert slope() == g(own)
    assert slope() == g(own)


def test_the_context_says_whether_anyone_asked():
    with differentiating(Surrogate("atan")) as context:
        assert not context.used
        reset_signal(torch.ones(1))
        assert not context.used
        Surrogate("rect").spike(torch.zeros(1))
    assert context.used
    assert Differentiation() == Differentiation(None, detach_reset=True, smooth=False, generator=None)


def test_the_context_of_a_thread_is_its_own():
    found = []
    u = torch.tensor([0.3])
    with differentiating(smooth=True):
        thread = threading.Thread(target=lambda: found.append(Surrogate("atan").spike(u).item()))
        thread.start()
        thread.join()
    assert found == [1.0]


def test_the_reset_is_detached_unless_told_otherwise():
    u = torch.tensor([0.3], requires_grad=True)
    spikes = Surrogate("atan").spike(u)
    assert not reset_signal(spikes).requires_grad
    with differentiating(detach_reset=False):
        assert reset_signal(spikes) is spikes
    with differentiating():
        assert not reset_signal(spikes).requires_grad


@pytest.mark.parametrize("name", STOCHASTIC)
def test_dice_are_handed_in(name):
    """Same seed, same gradient, and the global generator is not touched."""
    before = torch.get_rng_state()
    grads = []
    for _ in range(2):
        u = torch.linspace(-1, 1, 50, requires_grad=True)
        with differentiating(generator=torch.Generator().manual_seed(7)):
            Surrogate(name).spike(u).sum().backward()
        grads.append(u.grad)
    assert torch.equal(*grads)
    assert torch.equal(before, torch.get_rng_state())


# --- plain data ---


@st.composite
def surrogates(draw):
    name = draw(st.sampled_from(sorted(SURROGATES)))
    free = [p for p in SURROGATES[name].defaults if p not in ("n", "h")]
    chosen = draw(st.dictionaries(st.sampled_from(free), st.floats(1.01, 50), max_size=3)) if free else {}
    plain = Surrogate(name, **chosen)
    finite = [w for w in ("area", "peak") if math.isfinite(getattr(plain, w) or math.inf)]
    return Surrogate(name, normalize=draw(st.sampled_from(["none", *finite])), **chosen)


@settings(max_examples=60, deadline=None)
@given(surrogates())
def test_it_is_plain_data(surrogate):
    for again in (
        eval(repr(surrogate)),
        copy.copy(surrogate),
        copy.deepcopy(surrogate),
        pickle.loads(pickle.dumps(surrogate)),
    ):
        assert again == surrogate
        assert hash(again) == hash(surrogate)
        assert repr(again) == repr(surrogate)
        assert (again.area, again.peak) == (surrogate.area, surrogate.peak)
        if surrogate.name in DETERMINISTIC:
            assert same_bits(again.grad(GRID), surrogate.grad(GRID))


def test_equality_is_that_of_the_settings():
    assert Surrogate("atan") == Surrogate("atan", alpha=2) == Surrogate("atan", alpha=np.float32(2))
    assert Surrogate("multi_gaussian", h=0.2, k=3) == Surrogate("multi_gaussian", k=3, h=0.2)
    different = [
        Surrogate("atan"),
        Surrogate("atan", alpha=3),
        Surrogate("sigmoid"),
        Surrogate("atan", normalize="peak"),
    ]
    assert len(set(different)) == 4


def test_it_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot assign to field 'name'"):
        Surrogate("atan").name = "erf"


def test_every_entry_names_its_source_and_has_numbers_for_defaults():
    for shape in SURROGATES.values():
        assert len(shape.source) > 5
        assert all(type(value) is float for value in shape.defaults.values())


# --- bad input ---


def test_an_unknown_name_lists_the_legal_ones_and_the_nearest():
    with pytest.raises(
        ValueError, match=r"unknown surrogate 'attan'; nearest: 'atan'; valid: fast_sigmoid, .*local_zo"
    ):
        Surrogate("attan")


def test_an_unknown_parameter_lists_the_legal_ones_and_the_nearest():
    with pytest.raises(
        ValueError, match=r"unknown parameter of surrogate 's2nn' 'alpa'; nearest: 'alpha'; valid: alpha, beta"
    ):
        Surrogate("s2nn", alpa=1.0)


def test_an_unknown_normalisation_lists_the_legal_ones():
    with pytest.raises(ValueError, match="unknown normalization 'peek'; nearest: 'peak'; valid: none, area, peak"):
        Surrogate("atan", normalize="peek")


def test_nothing_near_is_not_guessed():
    assert str(unknown("rule", "xyz", ["bptt"])) == "unknown rule 'xyz'; valid: bptt"


@pytest.mark.parametrize(
    ("name", "parameter", "value", "wanted"),
    [
        ("atan", "alpha", 0.0, "above 0"),
        ("gaussian", "sigma", -1.0, "above 0"),
        ("gaussian", "sigma", math.nan, "above 0"),
        ("rect", "alpha", math.inf, "above 0"),
        ("atan", "alpha", "2", "above 0"),
        ("q_pseudo_spike", "q", 1.0, "above 1"),
        ("squarewave_fourier", "n", 1.0, "that is whole and at least 2"),
        ("squarewave_fourier", "n", 2.5, "that is whole and at least 2"),
        ("multi_gaussian", "h", 1.0, "from 0 to below 1"),
        ("piecewise_leaky_relu", "c", -0.1, "of at least 0"),
        ("leaky_k_relu", "leak", -0.1, "of at least 0"),
        ("log_tailed_relu", "alpha", -0.1, "of at least 0"),
        ("sso", "variance", -0.1, "of at least 0"),
        ("sso", "mean", math.nan, "of any sign"),
    ],
)
def test_a_parameter_outside_of_its_domain_is_named(name, parameter, value, wanted):
    with pytest.raises(ValueError, match=f"surrogate '{name}': {parameter}={value!r}; give a finite number {wanted}"):
        Surrogate(name, **{parameter: value})


@pytest.mark.parametrize("name", [name for name in SURROGATES if name not in PRIMITIVE])
def test_a_smooth_pass_needs_a_primitive(name):
    assert Surrogate(name).primitive(GRID) is None
    message = rf"Surrogate\('{name}'\) has no primitive, so a smooth pass cannot use it; these have one: .*sigmoid"
    with differentiating(smooth=True), pytest.raises(ValueError, match=message):
        Surrogate(name).spike(GRID)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_a_stochastic_surrogate_needs_a_generator(name):
    message = rf"Surrogate\('{name}'\) is stochastic: pass generator="
    with pytest.raises(ValueError, match=message):
        Surrogate(name).grad(GRID)
    u = torch.zeros(1, requires_grad=True)
    spikes = Surrogate(name).spike(u)
    with pytest.raises(ValueError, match=message):
        spikes.sum().backward()
