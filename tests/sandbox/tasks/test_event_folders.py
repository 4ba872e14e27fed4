"""CIFAR10-DVS and DVS128 Gesture from folders as their authors publish them, filled by our writers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import yaml

from sandbox.tasks import TASKS, cifar10_dvs, dvs_gesture
from sandbox.tasks.checked import checked
from sandbox.tasks.cifar10_dvs import CIFAR10DVS, CLASSES, listed
from sandbox.tasks.dvs_gesture import DVSGesture, gestures, trials
from sandbox.tasks.events import Parts, pooled
from sandbox.tasks.files import card_folder
from tests.sandbox.cameras import writers


def everything(split):
    return split.take(torch.arange(len(split)), torch.Generator())


def events(many, x):
    """As many events, all in one column."""
    return [(100 * k, x, (k * 7) % 128, k % 2) for k in range(many)]


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Ten recordings of each class; number n has 20 + n events, in the column of its class."""
    for label, name in enumerate(CLASSES):
        folder = tmp_path / "cifar10-dvs" / name
        folder.mkdir(parents=True)
        for number in range(10):
            (folder / f"cifar10_{name}_{number}.aedat").write_bytes(writers.aedat2(events(20 + number, label)))
    monkeypatch.setattr(cifar10_dvs.yaml, "safe_load", lambda text: {"recordings": 10})
    return tmp_path


def test_cifar10_dvs_is_split_by_number_in_each_class(pictures):
    data = checked(CIFAR10DVS(steps=4).load(pictures), "cifar10_dvs")
    assert [len(split) for split in data[:3]] == [80, 10, 10]
    for split, numbers in zip(data[:3], (range(8), [8], [9])):
        x, y = everything(split)
        assert x.shape[1:] == (4, 2, 128, 128)
        assert x.sum((1, 2, 3, 4)).tolist() == [20 + n for _ in CLASSES for n in numbers]
        assert x.sum((1, 2, 3)).argmax(1).equal(y)
        assert y.bincount().tolist() == [len(numbers)] * 10


def test_frames_of_cifar10_dvs(pictures):
    row = torch.tensor([0])
    x, _ = CIFAR10DVS(steps=3).load(pictures).train.take(row, torch.Generator())
    assert x.sum((0, 2, 3, 4)).tolist() == [6, 6, 8]  # of 20 events
    x, _ = CIFAR10DVS(steps=3, frames="time", pool=4).load(pictures).train.take(row, torch.Generator())
    assert x.shape == (1, 3, 2, 32, 32)
    assert x.sum() == 20


def test_files_of_other_formats_are_found(pictures):
    folder = pictures / "cifar10-dvs" / "cat"
    for path in folder.glob("*.aedat"):
        rows = events(20 + int(path.stem[-1]), 3)
        path.with_name(f"{path.stem[-1]}.mat").write_bytes(writers.converted(rows))
        path.unlink()
    assert [path.name for path in listed(folder, 10)] == [f"{number}.mat" for number in range(10)]
    x, _ = everything(CIFAR10DVS(steps=4).load(pictures).test)
    assert x.sum((1, 2, 3, 4)).tolist() == [29.0] * 10


def test_recordings_are_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 100):
        (tmp_path / f"cifar10_cat_{number}.aedat").touch()
    assert [path.stem for path in listed(tmp_path, 3)] == ["cifar10_cat_9", "cifar10_cat_10", "cifar10_cat_100"]


def test_a_class_without_all_recordings_is_refused(pictures):
    (pictures / "cifar10-dvs" / "dog" / "cifar10_dog_3.aedat").unlink()
    with pytest.raises(ValueError, match=r"dog has 9 recordings that end in .*; wanted 10.*unpack dog.zip again"):
        CIFAR10DVS().load(pictures)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "cifar10_dvs",
            r"figshare.com/articles/dataset/CIFAR10-DVS.*cifar10-dvs/airplane/cifar10_airplane_0.aedat.*--da",
        ),
        ("dvs_gesture", r"research.ibm.com/interactive/dvsgesture.*dvs-gesture/DvsGesture/trials_to_train.txt.*--data"),
    ],
)
def test_who_has_none_is_told_where_it_is(name, message, tmp_path, monkeypatch):
    monkeypatch.setenv("SANDBOX_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=message):
        TASKS[name]().load()


def test_checksums_follow_names_sizes_and_settings(pictures):
    made = [CIFAR10DVS(**o).load(pictures).checksum for o in ({}, {}, {"steps": 5}, {"frames": "time"}, {"pool": 2})]
    assert made[0] == made[1]
    assert len(set(made)) == 4


@pytest.mark.parametrize("name", ["cifar10_dvs", "dvs_gesture", "nmnist"])
def test_cards_name_the_archives_and_their_checksums(name):
    card = yaml.safe_load((card_folder(name) / "card.yaml").read_text())
    assert card["archives"]
    assert all(re.fullmatch("[0-9a-f]{32}", found) for found in card["archives"].values())


@pytest.fixture
def hands(tmp_path):
    """Six persons for training and one for testing; person n makes gestures 1 and n, with 40 + n and 60 events."""
    folder = tmp_path / "dvs-gesture" / "DvsGesture"
    folder.mkdir(parents=True)
    for person in (1, 2, 3, 4, 5, 10, 24):
        first, second = events(40 + person, person), events(60, 0)
        rows = [*first, *((t + 50_000, x, y, p) for t, x, y, p in second)]
        (folder / f"user{person:02}_led.aedat").write_bytes(writers.aedat3(rows))
        table = f"class,startTime_usec,endTime_usec\n1,0,20000\n{1 + person % 11},50000,99999\n"
        (folder / f"user{person:02}_led_labels.csv").write_text(table)
    (folder / "trials_to_train.txt").write_text("".join(f"user{n:02}_led.aedat\n" for n in (10, 1, 2, 3, 4, 5)) + "\n")
    (folder / "trials_to_test.txt").write_text("user24_led.aedat\n")
    return tmp_path


def test_dvs_gesture_has_a_sample_for_each_row_of_its_tables(hands):
    data = checked(DVSGesture(steps=5).load(hands), "dvs_gesture")
    assert [len(split) for split in data[:3]] == [6, 6, 2]
    assert data.train.y.tolist() == [0, 1, 0, 2, 0, 3]
    assert data.validation.y.tolist() == [0, 10, 0, 4, 0, 5]  # persons 10, 4 and 5: others than for training
    x, _ = everything(data.validation)
    assert x.shape == (6, 5, 2, 32, 32)
    assert x.sum((1, 2, 3, 4)).tolist() == [50, 60, 44, 60, 45, 60]
    assert x[0].sum((0, 1, 2)).nonzero().tolist() == [[10 // 4]]
    assert not DVSGesture().exchangeable


def test_a_file_of_gestures_is_read_once(hands, monkeypatch):
    seen = []

    def look(path, **options):
        seen.append(path.name)
        return read(path, **options)

    read = dvs_gesture.read
    monkeypatch.setattr(dvs_gesture, "read", look)
    split = DVSGesture(steps=5, pool=1).load(hands).train
    assert seen == []
    for rows in ([0], [5, 1]):
        assert split.take(torch.tensor(rows), torch.Generator())[0].shape[3:] == (128, 128)
    assert sorted(seen) == ["user01_led.aedat", "user02_led.aedat", "user03_led.aedat"]


def test_lists_and_tables_with_something_else_are_refused(hands):
    folder = hands / "dvs-gesture" / "DvsGesture"
    table, listing = folder / "user01_led_labels.csv", folder / "trials_to_test.txt"
    for text, message in (
        ("class,startTime_usec,endTime_usec\n12,0,5\n", "line 2: '12,0,5'; wanted a class from 1 to 11"),
        ("class,startTime_usec,endTime_usec\n1,7,5\n", "line 2: '1,7,5'; wanted a class from 1 to 11, and two times"),
        ("class,startTime_usec,endTime_usec\n1,a,5\n", "line 2: '1,a,5'"),
        ("class,startTime_usec,endTime_usec\n1,\u00b2,5\n", "line 2: '1,\u00b2,5'"),
        (f"class,startTime_usec,endTime_usec\n1,2,{'9' * 5000}\n", "line 2: '1,2,999"),
        ("label,from,to\n1,0,5\n", "begins with 'label,from,to'; wanted class,startTime_usec,endTime_usec"),
        ("class,startTime_usec,endTime_usec\n", "and rows below"),
        ("", "begins with ''; wanted class"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=re.escape(message)):
            gestures(folder / "user01_led.aedat")
    table.unlink()
    with pytest.raises(ValueError, match=r"user01_led_labels.csv is missing, which says when gestures are made"):
        gestures(folder / "user01_led.aedat")
    listing.write_text("user99_led.aedat\n")
    with pytest.raises(ValueError, match=r"names 1 files, of which user99_led.aedat and 1 in all are missing: unpack"):
        trials(listing)
    listing.write_text("\n")
    with pytest.raises(ValueError, match=r"names 0 files, of which no file: unpack"):
        trials(listing)
    listing.unlink()
    with pytest.raises(ValueError, match=r"trials_to_test.txt is missing: unpack DvsGesture.tar.gz again"):
        DVSGesture().load(hands)


def test_too_few_persons_and_strange_names_are_refused(hands):
    folder = hands / "dvs-gesture" / "DvsGesture"
    (folder / "trials_to_train.txt").write_text("user01_led.aedat\nuser02_led.aedat\n")
    with pytest.raises(ValueError, match=r"names 2 persons; wanted more than 3, of whom 3 are for validation"):
        DVSGesture().load(hands)
    (folder / "trials_to_train.txt").write_text("trials_to_test.txt\n")
    with pytest.raises(ValueError, match=r"trials_to_test.txt in a list of trials; wanted names such as user01_fluor"):
        DVSGesture().load(hands)


def test_a_gesture_without_enough_events_is_named(hands):
    (hands / "dvs-gesture" / "DvsGesture" / "user01_led_labels.csv").write_text(
        "class,startTime_usec,endTime_usec\n1,0,250\n"
    )
    with pytest.raises(
        ValueError, match=r"user01_led.aedat has 3 events from 0 to 250 us, where its table has gesture 1"
    ):
        everything(DVSGesture(steps=5).load(hands).train)


def test_squares_of_pixels_are_added_up():
    frames = np.random.default_rng(0).integers(0, 9, (3, 2, 8, 8))
    wanted = np.zeros((3, 2, 2, 2))
    for y in range(8):
        for x in range(8):
            wanted[:, :, y // 4, x // 4] += frames[:, :, y, x]
    assert np.array_equal(pooled(frames, 4), wanted)


@pytest.mark.parametrize("make", [CIFAR10DVS, DVSGesture])
def test_bad_options_are_named(make):
    for options, message in (
        ({"steps": 0}, "steps=0: give a whole number, at least 1"),
        ({"pool": 3}, "pool=3: give 1, 2, 4 or 8 pixels, for frames of 128, 64, 32 or 16"),
        ({"frames": "event"}, "unknown frames 'event'"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            make(**options)
    assert make(steps=3).memory == 3
    assert Parts(2, "time").pool == 1
