"""Measured cells by name, with fitted step, spread and noise.

Laws and numbers are those of aihwkit's presets (`aihwkit/simulator/presets/devices.py`, version 1.1.0); the source of
the fitted data stands above each. Weights are normalised.
"""

from __future__ import annotations

from rules.plasticity.memristor.device import Device
from rules.plasticity.memristor.laws import ConstantStep, ExponentialStep, LinearStep, SoftBounds
from rules.plasticity.memristor.pair import DifferentialPair

DEVICES: dict[str, Device] = {
    # no spread and no noise: the reference, with 200 steps from bound to bound [ours]
    "ideal": ConstantStep(dw_min=0.01),
    # soft bounds with steps that vary threefold from pulse to pulse and by a third from cell to cell [ours]
    "noisy_soft_bounds": SoftBounds(dw_min=0.01, dw_min_dtod=0.3, dw_min_std=3.0),
    # specifications of Gokmen & Vlasov 2016 (Front. Neurosci. 10:333), about 1200 states
    "gokmen_vlasov": ConstantStep(
        dw_min=0.0016, dw_min_dtod=0.3, dw_min_std=0.3, up_down_dtod=0.01, w_max_dtod=0.3, w_min_dtod=0.3
    ),
    # the same, symmetric and with 10000 states: Rasch, Gokmen & Haensch 2019 (arXiv 1906.02698)
    "idealized": ConstantStep(dw_min=0.0002, dw_min_dtod=0.3, dw_min_std=0.3, w_max_dtod=0.3, w_min_dtod=0.3),
    # a capacitor that leaks, lifetime 1e6 steps: Li et al., VLSI 2018
    "capacitor": LinearStep(
        dw_min=0.005,
        dw_min_dtod=0.1,
        dw_min_std=0.3,
        up_down_dtod=0.06,
        w_max_dtod=0.07,
        w_min_dtod=0.07,
        gamma_up=0.05,
        gamma_down=0.05,
        gamma_up_dtod=0.01,
        gamma_down_dtod=0.01,
        decay=1e-6,
        decay_dtod=0.3,
    ),
    # lithium ECRAM, range shifted so that the symmetry point is at zero: Tang et al., IEDM 2018
    "ecram": LinearStep(
        dw_min=0.002,
        dw_min_dtod=0.1,
        dw_min_std=0.3,
        up_down_dtod=0.01,
        w_max=1.1724,
        w_min=-0.8276,
        w_max_dtod=0.05,
        w_min_dtod=0.05,
        gamma_up=0.1153,
        gamma_down=0.5085,
        gamma_up_dtod=0.05,
        gamma_down_dtod=0.05,
        multiplicative=True,
    ),
    # ReRAM, a rough fit of soft bounds to Gong et al. 2018 (Nat. Commun. 9:2102), calibrated to the symmetry point
    "reram_sb": SoftBounds(
        dw_min=0.002,
        dw_min_dtod=0.3,
        dw_min_std=3.75,
        up_down_dtod=0.01,
        w_max=1.25,
        w_min=-0.75,
        w_max_dtod=0.3 / 1.25,
        w_min_dtod=0.3 / 0.75,
        write_noise=56.0,
    ),
    # the same data, exponential step
    "reram_es": ExponentialStep(
        dw_min=0.00135,
        dw_min_dtod=0.2,
        dw_min_std=5.0,
        up_down=0.259359,
        up_down_dtod=0.05,
        w_max_dtod=0.3,
        w_min_dtod=0.3,
        A_up=-1.18445,
        A_down=-0.081404,
        gamma_up=5.0,
        gamma_down=5.0,
        a=-0.5,
        b=-0.5,
        write_noise=75.0,
    ),
    # ReRAM array, optimised material: Gong, Rasch et al., IEDM 2022 (of its cells 13.5 % were stuck; none here)
    "reram_array_om": SoftBounds(
        dw_min=0.0949,
        dw_min_dtod=0.7829,
        dw_min_lognormal=True,
        dw_min_std=0.4158,
        up_down_dtod=0.01,
        w_max_dtod=0.3499,
        w_min_dtod=0.5695,
        write_noise=1.4113,
        subtract_symmetry_point=True,
        reference_std=0.05,
    ),
    # ReRAM array, HfO2 baseline, about 4 states: the same source (of its cells 10 % were stuck; none here)
    "reram_array_hfo2": SoftBounds(
        dw_min=0.4622,
        dw_min_dtod=0.7125,
        dw_min_lognormal=True,
        dw_min_std=0.2174,
        up_down_dtod=0.01,
        w_max_dtod=0.4295,
        w_min_dtod=0.599,
        write_noise=0.5841,
        subtract_symmetry_point=True,
        reference_std=0.05,
    ),
    # phase change, driven in one direction, as a pair that is checked for refresh after every step [the threshold is
    # ours]: Nandakumar et al. 2020 (Front. Neurosci. 14:406)
    "pcm": DifferentialPair(
        ExponentialStep(
            dw_min=0.01,
            dw_min_dtod=0.2,
            dw_min_std=0.6,
            up_down_dtod=0.05,
            w_max=2.0,
            w_min=0.0,
            w_max_dtod=0.1,
            A_up=-27.235,
            A_down=-2.235,
            gamma_up=2.5,
            gamma_down=2.5,
            a=-1.0,
            b=0.0,
            dw_min_std_add=0.042,
            dw_min_std_slope=0.108,
        ),
        push_pull=False,
        refresh=1,
    ),
}
