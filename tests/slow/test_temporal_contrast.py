"""What contrast over time does to few time steps, over five paired seeds, printed with intervals and paired tests."""

from __future__ import annotations

import pytest

from sandbox.statistics import interval, paired
from tests.slow.comparing import plan, run

pytestmark = [pytest.mark.slow(minutes=2), pytest.mark.timeout(1200)]
ARMS = ("bptt", "tet", "tcl")


def test_contrast_over_time_makes_steps_alike_and_the_first_one_useful(tmp_path):
    """On digits, 8 of 20 epochs; the directions are those of the abstract, the margin of 0.3 points is ours."""
    runs = run(plan("temporal_digits", ARMS, seeds=5, epochs=8), tmp_path)
    tests = {rule: [one.result["test"] for one in found] for rule, found in runs.items()}
    measured = {}
    for key in ("temporal_cosine", "latency_drop", "latency_area", "class_separation", "accuracy"):
        measured[key] = {rule: [100 * test[key] for test in found] for rule, found in tests.items()}
        print(f"{key} [%]:", "; ".join(f"{rule} {interval(values)}" for rule, values in measured[key].items()))
    cosine, drop, accuracy = (measured[key] for key in ("temporal_cosine", "latency_drop", "accuracy"))
    claims = {
        "consistency, tcl above tet": paired(cosine["tcl"], cosine["tet"]),
        "consistency, tet above sdt": paired(cosine["tet"], cosine["bptt"]),
        "drop, tcl below sdt": paired(drop["bptt"], drop["tcl"]),
    }
    for claim, test in claims.items():
        print(f"{claim}: {test}")
    gain = paired(accuracy["tcl"], accuracy["tet"])
    print(f"accuracy, tcl above tet: {gain}")
    assert len(accuracy["tcl"]) == 5
    assert all(test.p < 0.05 for test in claims.values())
    assert gain.difference.high >= -0.3  # the mean of five seeds is known to a point or so
