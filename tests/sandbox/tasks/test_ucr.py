"""Time series of the UEA and UCR archive: the reader of its text files, and two of its sets."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rules
from sandbox.tasks import TASKS
from sandbox.tasks.ts_files import read_ts
from sandbox.tasks.ucr import last_of_each

FOLDER = Path(os.environ.get("SANDBOX_DATA", "missing")) / "ucr"
HERE = pytest.mark.skipif(not FOLDER.is_dir(), reason="SANDBOX_DATA names no folder with ucr/")
HEAD = "@dimensions 2\n@classLabel true up down\n@data\n"


def written(values, labels, classes):
    """The text of a file, as the archive writes it."""
    head = f"# a remark\n@problemName x\n@timeStamps false\n@dimensions {values[0].shape[1]}\n"
    lines = [
        ":".join(",".join(repr(float(v)) for v in part) for part in each.T) + f":{label}"
        for each, label in zip(values, labels, strict=True)
    ]
    return (head + f"@classLabel true {' '.join(classes)}\n@data\n" + "\n".join(lines) + "\n").encode()


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_what_is_written_is_read(data):
    dimensions = data.draw(st.integers(1, 4))
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    count = data.draw(st.integers(1, 5))
    steps = [data.draw(st.integers(1, 6)) for _ in range(count)]
    values = [np.array([[data.draw(numbers) for _ in range(dimensions)] for _ in range(n)]) for n in steps]
    labels = tuple(data.draw(st.sampled_from(["a", "7"])) for _ in range(count))
    found = read_ts(written(values, labels, ["7", "a"]))
    assert found.labels == labels
    assert found.classes == ("7", "a")
    for mine, true in zip(found.values, values, strict=True):
        np.testing.assert_array_equal(mine, true)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEAD + "1,2:3,4:up\n",
        HEAD.replace(" ", "\t") + "1,2:3,4:up\n",
        HEAD.replace(" ", "  ").replace("dimensions", "Dimension") + " 1 ,\t2 : 3, 4 : up \n",
        "@equalLength true\n@seriesLength 2\n@univariate false\n" + HEAD + "+1.,2.0:.3e1,4E+0:up",
        "@equalLength false\n@seriesLength 9\n@author me\n@dimension 2\n" + HEAD + "# a remark\r\n\r\n1,2:3,4:up\r\n",
    ],
)
def test_other_ways_of_writing_the_same(text):
    found = read_ts(text.encode())
    assert found.values[0].tolist() == [[1, 3], [2, 4]]
    assert (found.labels, found.classes) == (("up",), ("up", "down"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD.encode() + b"\xff\xfe", "is not a text in UTF-8"),
        (b"", "no series behind @data"),
        (HEAD.encode(), "no series behind @data; is it a .ts file, and whole?"),
        (b"1,2:3,4:up\n", "line 1: a series in front of @data"),
        (b"@data\n1:up\n", "no classes in its head"),
        (b"@classLabel false\n@data\n1:up\n", "no classes in its head"),
        (b"@timeStamps true\n" + HEAD.encode() + b"(0,1):(0,2):up\n", "line 1 says that there are time stamps; this r"),
        (
            HEAD.encode() + b"(0,1),(1,2):(0,3),(1,4):up\n",
            "line 4: the series has time stamps, (0,1): this reader takes a",
        ),
        (
            HEAD.encode() + b"(2004-10-01 18:00:00,1):(2004-10-01 18:00:00,3):up\n",
            "has time stamps, (2004-10-01 18:00:00,",
        ),
        (HEAD.encode() + b"1,2:3,4:sideways\n", "line 4: the class 'sideways' is not one of up, down"),
        (HEAD.encode() + b"1,2:3,4:up\n1,2:3,", "line 5: the class '3,' is not one of up, down; the line may be cut"),
        (HEAD.encode() + b"1,2:up\n", "line 4: 1 dimensions, and the head says 2"),
        (b"@classLabel true up down\n@data\n1:1:up\n1:up\n", "line 4: 1 dimensions, and the first series has 2"),
        (HEAD.encode() + b"1,2:3:up\n", "line 4: dimensions of 2, 1 steps: wanted one length"),
        (
            HEAD.encode() + b"1,2:3,4:up\n1,?:3,4:up\n",
            "line 5: series 2, dimension 1, step 2: the value is missing (?): ",
        ),
        (
            HEAD.encode() + b"1,2:NaN,4:up\n",
            "dimension 2, step 1: the value is missing (NaN): fill it in, from its neigh",
        ),
        (
            HEAD.encode() + b"1,:3,4:up\n",
            "step 2: the value is missing (nothing between commas, or behind the last one): f",
        ),
        (HEAD.encode() + b":3:up\n", "line 4: series 1, dimension 1, step 1: the value is missing (nothing"),
        (HEAD.encode() + b"1,x:3,4:up\n", "step 2: 'x' is not a finite number; wanted one such as -1.5 or 2e-3"),
        (HEAD.encode() + b"1,inf:3,4:up\n", "step 2: 'inf' is not a finite number"),
        (HEAD.encode() + b"1,1e999:3,4:up\n", "step 2: '1e999' is not a finite number"),
        (HEAD.encode() + b"1_0,2:3,4:up\n", "step 1: '1_0' is not a finite number"),
        (HEAD.encode() + "\u0661,2:3,4:up\n".encode(), "step 1: '\u0661' is not a finite number"),
        (b"@classLabel true a b a\n@data\n1:a\n", "line 2: line 1 has the class 'a' more than once: leave one of them"),
        (b"@dimension 3\n" + HEAD.encode(), "line 2: @dimensions is '2', and line 1 says '3': leave the right one th"),
        (b"@dimension 1\n@classLabel true a\n@data\n1:1:a\n", "line 4: 2 dimensions, and the head says 1"),
        (b"@dimensoins 1\n" + HEAD.encode(), "line 1: @dimensoins is not a word of a head: is it @dimensions?"),
        (b"@dat\n" + HEAD.encode(), "line 1: @dat is not a word of a head: is it @data?"),
        (b"@dimensions two\n", "line 1: @dimensions is 'two'; wanted a whole number, at least 1"),
        (b"@seriesLength 0\n", "line 1: @seriesLength is '0'; wanted a whole number, at least 1"),
        (b"@equalLength yes\n", "line 1: @equalLength is 'yes'; wanted true or false"),
        (
            b"@univariate true\n" + HEAD.encode(),
            "line 4: line 2 says 2 dimensions, and line 1 that there is one (@univ",
        ),
        (
            b"@equalLength true\n" + HEAD.encode() + b"1,2:3,4:up\n1:2:up\n",
            "line 6: the series has 1 steps, and by @equalLength true all have as many: the first series has 2",
        ),
        (
            b"@equalLength true\n@seriesLength 3\n" + HEAD.encode() + b"1,2:3,4:up\n",
            "line 6: the series has 2 steps, and by @equalLength true all have as many: @seriesLength is 3",
        ),
    ],
)
def test_files_that_are_damaged_or_of_another_kind(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_ts(text)


@HERE
@pytest.mark.parametrize(
    ("name", "file", "sizes", "shape", "classes"),
    [
        ("japanese_vowels", "JapaneseVowels", (225, 45, 370), (29, 12), 9),
        ("basic_motions", "BasicMotions", (32, 8, 40), (100, 6), 4),
    ],
)
def test_a_set_is_that_of_the_archive(name, file, sizes, shape, classes):
    """Every value, read by splitting the text at colons and commas."""
    data = TASKS[name](standardise=False).load()
    splits = (data.train, data.validation, data.test)
    assert tuple(map(len, splits)) == sizes
    assert data.classes == classes
    assert data.train.y.bincount().unique().numel() == 1  # as many of each class
    assert data.validation.y.bincount().unique().numel() == 1
    text = gzip.decompress((FOLDER / f"{file}_TEST.ts.gz").read_bytes()).decode()
    lines = text.partition("@data\n")[2].splitlines()
    for line, x, steps in zip(lines, data.test.x, lengths(data.test), strict=True):
        true = np.array([part.split(",") for part in line.split(":")[:-1]], dtype=np.float32).T
        assert x.shape == shape
        assert steps == len(true)
        np.testing.assert_array_equal(x[:steps].numpy(), true)
        assert not x[steps:].any()


def lengths(split):
    return [split.x.shape[1]] * len(split) if split.lengths is None else split.lengths.tolist()


@HERE
def test_dimensions_have_mean_0_and_deviation_1_over_the_steps_for_training():
    data = TASKS["japanese_vowels"]().load()
    known = torch.cat([x[:n] for x, n in zip(data.train.x, lengths(data.train), strict=True)])
    torch.testing.assert_close(known.mean(0), torch.zeros(12), atol=1e-6, rtol=0)  # float32 of some 3,500 steps
    torch.testing.assert_close(known.std(0, unbiased=False), torch.ones(12), atol=1e-6, rtol=0)
    assert (min(lengths(data.test)), max(lengths(data.test))) == (7, 29)


def test_the_last_of_each_class_validate():
    series = read_ts(HEAD.encode() + b"1:1:up\n2:2:up\n3:3:down\n4:4:up\n5:5:down\n")
    assert last_of_each(series, 1) == [False, False, False, True, True]
    assert last_of_each(series, 2) == [False, True, True, True, True]


@HERE
def test_models_of_speech_learn_whose_vowels_they_are():
    """Lengths reach the model and the loss; above 40 % after three epochs, of nine speakers."""
    from sandbox import make_model
    from sandbox.tasks.encode import AsRecorded
    from sandbox.tasks.loader import Loader

    data = TASKS["japanese_vowels"]().load()
    model = make_model("spikcommander", shape=data.shape, classes=9, dropout=0.0)
    trainer = rules.Trainer(model, rules.make("bptt", lr=0.01), seed=0, health=None)
    list(trainer.fit(Loader(data.train, AsRecorded(), 25), 3))
    assert trainer.evaluate(Loader(data.validation, AsRecorded(), 45, shuffle=False))["accuracy"] > 0.4
