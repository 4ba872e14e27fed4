"""Synapses with plasticity: Brian2's own examples, and models of the literature, as text and constants."""

from __future__ import annotations

import brian2 as b2

PAIR = "w : 1\ndApre/dt = -Apre / taupre : 1 (event-driven)\ndApost/dt = -Apost / taupost : 1 (event-driven)"
PAIR_TIMES = {"taupre": 17 * b2.ms, "taupost": 34 * b2.ms}
STEPS_OF_PAIRS = {"plus": 0.02, "minus": 0.021}

EXAMPLES = {  # of Brian2's documentation and examples, with their names
    "synapses/STDP": {  # also standalone/STDP_standalone
        "model": PAIR,
        "on_pre": "ge += w\nApre += dApre\nw = clip(w + Apost, 0, gmax)",
        "on_post": "Apost += dApost\nw = clip(w + Apre, 0, gmax)",
        "namespace": {
            "taupre": 20 * b2.ms,
            "taupost": 20 * b2.ms,
            "dApre": 0.01 * 0.01,
            "dApost": -0.01 * 1.05 * 0.01,
            "gmax": 0.01,
        },
    },
    "frompapers/Diehl_Cook_2015": {
        "model": """w : 1
            post2bef                        : 1
            dpre/dt   = -pre/(20 * ms)      : 1 (event-driven)
            dpost1/dt = -post1/(20 * ms)    : 1 (event-driven)
            dpost2/dt = -post2/(40 * ms)    : 1 (event-driven)""",
        "on_pre": "ge_post += w; pre = 1.; w = clip(w - 0.0001 * post1, 0, 1.0)",
        "on_post": "post2bef = post2; w = clip(w + 0.01 * pre * post2bef, 0, 1.0); post1 = 1.; post2 = 1.",
    },
    "frompapers/Vogels_et_al_2011": {
        "model": "w : 1\ndApre/dt=-Apre/tau_stdp : 1 (event-driven)\ndApost/dt=-Apost/tau_stdp : 1 (event-driven)",
        "on_pre": "Apre += 1.\nw = clip(w+(Apost-alpha)*eta, 0, gmax)\ng_gaba += w*nS",
        "on_post": "Apost += 1.\nw = clip(w+Apre*eta, 0, gmax)",
        "namespace": {"tau_stdp": 20 * b2.ms, "alpha": 3 * b2.Hz * 20 * b2.ms * 2, "eta": 0.01, "gmax": 100},
    },
    "frompapers/Graupner_Brunel_2012": {  # without noise, and without delay
        "model": """tau      : second (constant, shared)
            rho_star : 1      (constant, shared)
            gamma_p  : 1      (constant, shared)
            theta_p  : 1      (constant, shared)
            gamma_d  : 1      (constant, shared)
            theta_d  : 1      (constant, shared)
            drho/dt = (-rho*(1-rho)*(rho_star-rho)
                       + gamma_p*(1-rho)*int((c - theta_p) > 0)
                       - gamma_d*rho*int((c-theta_d) > 0)
                       ) / tau : 1 (clock-driven)
            dc/dt = -c/tau_Ca  : 1 (clock-driven)
            tau_Ca : second (constant, shared)""",
        "on_pre": "c += C_pre",
        "on_post": "c += C_post",
        "method": "heun",
        "namespace": {"C_pre": 1.01, "C_post": 2.03},
        "weight": "rho",
        "initial": {
            "tau_Ca": 20 * b2.ms,
            "theta_d": 1.0,
            "theta_p": 1.3,
            "gamma_d": 200.0,
            "gamma_p": 321.808,
            "tau": 15 * b2.second,
            "rho_star": 0.5,
        },
    },
    "synapses/spike_based_homeostasis": {
        "model": "w : 1",
        "on_pre": "v_post += w\nw = clip(w + dw_plus, 0, w_max)",
        "on_post": "w = clip(w - dw_minus, 0, w_max)",
        "namespace": {"dw_plus": 0.05, "dw_minus": 0.05, "w_max": 2},
    },
    "tutorial 2, more complex synapse models": {
        "model": "w : 1\ndapre/dt = -apre/taupre : 1 (event-driven)\ndapost/dt = -apost/taupost : 1 (event-driven)",
        "on_pre": "v_post += w\napre += Apre\nw = clip(w+apost, 0, wmax)",
        "on_post": "apost += Apost\nw = clip(w+apre, 0, wmax)",
        "namespace": {**PAIR_TIMES, "Apre": 0.01, "Apost": -0.0105, "wmax": 1.0},
    },
}

LITERATURE = {
    "Song, Miller & Abbott 2000, additive": {
        "model": PAIR,
        "on_pre": "v_post += w; Apre += 1; w = clip(w - minus * Apost, 0, 1)",
        "on_post": "Apost += 1; w = clip(w + plus * Apre, 0, 1)",
        "namespace": {**PAIR_TIMES, **STEPS_OF_PAIRS},
    },
    "van Rossum, Bi & Turrigiano 2000, multiplicative depression": {
        "model": PAIR,
        "on_pre": "v_post += w; Apre += 1; w -= minus * w * Apost",
        "on_post": "Apost += 1; w += plus * Apre",
        "namespace": {**PAIR_TIMES, **STEPS_OF_PAIRS},
    },
    "Guetig, Aharonov, Rotter & Sompolinsky 2003, powers of both": {
        "model": PAIR,
        "on_pre": "v_post += w; Apre += 1; w = clip(w - rate * alpha * clip(w, 0, 1)**mu * Apost, 0, 1)",
        "on_post": "Apost += 1; w = clip(w + rate * clip(1 - w, 0, 1)**mu * Apre, 0, 1)",
        "namespace": {**PAIR_TIMES, "rate": 0.02, "alpha": 1.05, "mu": 0.4},
    },
    "Morrison, Aertsen & Diesmann 2007, power law": {
        "model": "w : siemens\ndx/dt = -x / taupre : 1 (event-driven)\ndy/dt = -y / taupost : 1 (event-driven)",
        "on_pre": "g_post += w; x += 1; w -= rate * alpha * w * y",
        "on_post": "y += 1; w += rate * w0 * (w / w0)**mu * x",
        "namespace": {**PAIR_TIMES, "rate": 0.02, "alpha": 0.11, "mu": 0.4, "w0": 1 * b2.nS},
    },
    "Pfister & Gerstner 2006, full triplet": {
        "model": """w : 1
            dr1/dt = -r1 / tau_plus : 1 (event-driven)
            dr2/dt = -r2 / tau_x : 1 (event-driven)
            do1/dt = -o1 / tau_minus : 1 (event-driven)
            do2/dt = -o2 / tau_y : 1 (event-driven)""",
        "on_pre": {"transmit": "v_post += w", "change": "w -= o1 * (A2m + A3m * r2)", "trace": "r1 += 1; r2 += 1"},
        "on_post": {"strengthen": "w += r1 * (A2p + A3p * o2)", "mark": "o1 += 1; o2 += 1"},
        "order": {"transmit": -2, "change": 0, "strengthen": 0, "trace": 1, "mark": 1},
        "namespace": {
            "tau_plus": 16.8 * b2.ms,
            "tau_minus": 33.7 * b2.ms,
            "tau_x": 101 * b2.ms,
            "tau_y": 125 * b2.ms,
            "A2p": 5e-3,
            "A2m": 7e-3,
            "A3p": 6.2e-3,
            "A3m": 2.3e-3,
        },
    },
    "Pfister & Gerstner 2006, minimal triplet, nearest": {
        "model": """w : 1
            dr1/dt = -r1 / tau_plus : 1 (event-driven)
            do1/dt = -o1 / tau_minus : 1 (event-driven)
            do2/dt = -o2 / tau_y : 1 (event-driven)""",
        "on_pre": "v_post += w; w -= A2m * o1; r1 = 1",
        "on_post": "w += A3p * r1 * o2; o1 = 1; o2 = 1",
        "namespace": {
            "tau_plus": 16.8 * b2.ms,
            "tau_minus": 33.7 * b2.ms,
            "tau_y": 114 * b2.ms,
            "A2m": 7.1e-3,
            "A3p": 6.5e-3,
        },
    },
    "Morrison, Diesmann & Gerstner 2008, nearest neighbours": {
        "model": PAIR,
        "on_pre": "v_post += w; w = clip(w - minus * Apost, 0, 1); Apre = 1",
        "on_post": "w = clip(w + plus * Apre, 0, 1); Apost = 1",
        "namespace": {**PAIR_TIMES, **STEPS_OF_PAIRS},
    },
    "Mishra, Kim, Guzman & Jonas 2016, symmetric": {
        "model": "w : 1\ndx/dt = -x / tau : 1 (event-driven)\ndy/dt = -y / tau : 1 (event-driven)",
        "on_pre": "v_post += w; x += 1; w = clip(w + plus * y, 0, wmax)",
        "on_post": "y += 1; w = clip(w + plus * x, 0, wmax)",
        "namespace": {"tau": 62.5 * b2.ms, "plus": 0.01, "wmax": 3.0},
    },
    "Diehl & Cook 2015, power-dependent with a target": {
        "model": "w : 1\ndx/dt = -x / tau : 1 (event-driven)",
        "on_pre": "ge_post += w; x += 1",
        "on_post": "w = clip(w + eta * (x - x_tar) * (wmax - w)**mu, 0, wmax)",
        "namespace": {"tau": 20 * b2.ms, "eta": 0.05, "x_tar": 0.4, "wmax": 1.0, "mu": 0.9},
    },
    "Vogels et al. 2011, inhibitory": {
        "model": "w : 1\ndx/dt = -x / tau : 1 (clock-driven)\ndy/dt = -y / tau : 1 (clock-driven)",
        "on_pre": "g_post += w * nS; x += 1; w = clip(w + eta * (y - alpha), 0, 10)",
        "on_post": "y += 1; w = clip(w + eta * x, 0, 10)",
        "namespace": {"tau": 20 * b2.ms, "eta": 0.02, "alpha": "2 * 5*Hz * 20*ms"},
    },
    "Graupner & Brunel 2012, calcium": {
        "model": """dc/dt = -c / tau_ca : 1 (clock-driven)
            high = int(c > theta_p) : 1
            low = int(c > theta_d) : 1
            dw/dt = (-w * (1 - w) * (0.5 - w) + gamma_p * (1 - w) * high - gamma_d * w * low) / tau : 1 (clock-driven)""",
        "on_pre": "c += 0.97",
        "on_post": "c += 1.84",
        "method": "euler",
        "namespace": {
            "tau_ca": 22.7 * b2.ms,
            "tau": 3.46 * b2.second,
            "gamma_p": 72.5,
            "gamma_d": 33.1,
            "theta_p": 1.3,
            "theta_d": 1.0,
        },
    },
    "Tully, Hennig & Lansner 2014, BCPNN": {
        "model": """w : 1
            dzi/dt = -zi / tau_zi : 1 (clock-driven)
            dzj/dt = -zj / tau_zj : 1 (clock-driven)
            dpre/dt = (zi - pre) / tau_p : 1 (clock-driven)
            dpost/dt = (zj - post) / tau_p : 1 (clock-driven)
            dboth/dt = (zi * zj - both) / tau_p : 1 (clock-driven)""",
        "on_pre": "v_post += w; zi += 1; w = log((both + eps**2) / ((pre + eps) * (post + eps)))",
        "on_post": "zj += 1; w = log((both + eps**2) / ((pre + eps) * (post + eps)))",
        "method": "euler",
        "namespace": {"tau_zi": 10 * b2.ms, "tau_zj": 15 * b2.ms, "tau_p": 300 * b2.ms, "eps": 0.02},
    },
}

INVENTED = {  # for what the others do not have
    "a weight that decays, a name of a pathway's own, rk4": {
        "model": """dw/dt = (w_rest - w) / tau_w : 1 (clock-driven)
            dx/dt = -x / tau : 1 (clock-driven)
            dy/dt = (x * sqrt(abs(w)) - y) / tau : 1 (clock-driven)""",
        "on_pre": "I_post += w * nA; x += exp(-x)",
        "on_post": "gain = rate * y / (1 + abs(y)); w += gain * sqrt(2 * int(y > 0.1 and w < 2))",
        "method": "rk4",
        "namespace": {"tau": 20 * b2.ms, "tau_w": 500 * b2.ms, "w_rest": 0.3, "rate": 0.3},
    },
}
