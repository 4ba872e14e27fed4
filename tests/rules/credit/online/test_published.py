"""e-prop against implementations that others published: numbers of NEST, and the equations of two codes in NumPy.

Read: NEST at 84b06d8 (models/eprop_*_bsshslm_2020, testsuite/pytests/synapses/test_eprop_bsshslm_2020_plasticity.py);
the authors' code IGITUGraz/eligibility_propagation at efd02e6 (Figure_3_and_S7_e_prop_tutorials/models.py);
ChFrenkel/eprop-PyTorch at 0f32a8f (models.py).
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from rules.contract import Batch
from rules.credit.online import Online
from tests.rules.credit.online.drawn import LARGE, SMALL
from tests.rules.credit.online.nets import assigned, distance
from tests.rules.credit.online.published import (
    BIAS,
    INTO,
    OUT,
    OUT_BIAS,
    RECURRENT,
    CrossEntropy,
    HalfSquares,
    cells,
    nest_network,
    nest_trained,
    network,
)

NEST = json.loads(Path(__file__).with_name("nest.json").read_text())["found"]
EXACT = 1e-12  # float64: sums of some hundred products, each right to 1e-16
UPDATED = 1e-10  # the same after three updates


@pytest.mark.parametrize("name", SMALL)
def test_weights_are_those_that_nest_has_after_three_updates(name):
    """NEST 3.10.0, run by `nest_oracle.py`: all losses, and every weight, with the penalty on rates."""
    spec = SMALL[name]
    given = spec.draw(spec)
    model = nest_network(spec, given)
    losses = nest_trained(spec, given, model, spec.sequences)
    assert losses == pytest.approx(NEST[name]["losses"], rel=UPDATED)
    held = dict(model.named_parameters())
    for parameter, part in ((INTO, "into"), (RECURRENT, "recurrent"), (OUT, "out")):
        start, found = (torch.as_tensor(values, dtype=torch.float64) for values in (getattr(given, part), NEST[name][part]))
        moved = float((found - start).norm())
        assert moved > 1e-2, part
        assert float((held[parameter].detach() - found).norm()) < UPDATED * moved, part
    fired = model.layers[0](torch.tensor(given.spikes[0][:, None], dtype=torch.float64)).sum((0, 1))
    assert (fired > 0).all()  # else NEST has not made the last update
