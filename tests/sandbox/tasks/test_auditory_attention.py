"""Files of KU Leuven and DTU in their documented layout, written here: trials, rates, splits, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import savemat

from sandbox.tasks.attention_files import dtu_trials, kul_trials, resampled, subjects
from sandbox.tasks.auditory_attention import DTU, KUL, apart, by_trial, sections
from sandbox.tasks.checked import checked
from sandbox.tasks.eeg import Trial

SECONDS = 4


def eeg(number, rate=128, channels=64, seconds=SECONDS):
    return np.random.default_rng(number).standard_normal((seconds * rate, channels))


def cell(items):
    """A cell array of MATLAB."""
    made = np.empty((1, len(items)), object)
    made[0] = items
    return made


def kul_trial(number, **changes):
    trial = {
        "RawData": {"Channels": "", "EegData": eeg(number), "HighPass": 0.0},
        "FileHeader": {"SampleRate": 128.0},
        "attended_ear": "LR"[number % 2],
        "condition": "dry",
        "stimuli": cell(["part1_track1_dry.wav", "part1_track2_dry.wav"]),
        "repetition": False,
    }
    return trial | changes


def write_kul(folder, listeners=(1,), count=6, name="trials", **changes):
    (folder / "kul").mkdir(parents=True, exist_ok=True)
    for listener in listeners:
        trials = [kul_trial(100 * listener + number, **changes) for number in range(count)]
        savemat(folder / "kul" / f"S{listener}.mat", {name: cell(trials)})
    return folder / "kul" / f"S{listeners[0]}.mat"


def write_dtu(folder, listeners=(1,), count=6, rate=64.0, channels=66, values=None):
    (folder / "dtu").mkdir(parents=True, exist_ok=True)
    for listener in listeners:
        values = [1.0 + number % 2 for number in range(count)] if values is None else values
        data = {
            "dim": {"chan": {"eeg": 0}},
            "id": "x",
            "event": {"eeg": {"sample": 0, "value": cell([np.array([[value]]) for value in values])}},
            "eeg": cell([eeg(100 * listener + n, 64, channels) for n in range(count)]),
            "fsample": {"eeg": rate, "wavA": rate},
        }
        savemat(folder / "dtu" / f"S{listener}_data_preproc.mat", {"data": data})
    return folder / "dtu" / f"S{listeners[0]}_data_preproc.mat"


def test_trials_of_kul_are_what_was_written(tmp_path):
    found = kul_trials(write_kul(tmp_path, listeners=(12,)))
    assert [trial.label for trial in found] == [0, 1] * 3
    assert {trial.subject for trial in found} == {12}
    for number, trial in enumerate(found):
        np.testing.assert_array_equal(trial.eeg, eeg(1200 + number).T)


def test_a_file_of_a_single_trial_and_one_that_was_preprocessed(tmp_path):
    assert len(kul_trials(write_kul(tmp_path, count=1))) == 1
    assert len(kul_trials(write_kul(tmp_path, count=2, name="preproc_trials"))) == 2


def test_trials_of_dtu_are_the_first_64_channels_at_twice_the_rate(tmp_path):
    found = dtu_trials(write_dtu(tmp_path, listeners=(3,)))
    assert [trial.label for trial in found] == [0, 1] * 3
    assert found[0].eeg.shape == (64, 128 * SECONDS)
    np.testing.assert_allclose(found[4].eeg, resampled(eeg(304, 64, 66)[:, :64].T, 64))


@pytest.mark.parametrize("rate", [64, 512, 8192])
def test_a_slow_wave_survives_another_rate(rate):
    """A sine of 5 Hz, in the middle, to 1 % of its amplitude; one of 100 Hz is gone."""
    t, wanted = np.arange(4 * rate) / rate, np.arange(512) / 128
    slow = resampled(np.sin(2 * np.pi * 5 * t)[None], rate)[0]
    assert len(slow) == 512
    np.testing.assert_allclose(slow[64:-64], np.sin(2 * np.pi * 5 * wanted)[64:-64], atol=0.01)
    if rate > 200:
        assert np.abs(resampled(np.sin(2 * np.pi * 100 * t)[None], rate)[0, 64:-64]).max() < 0.01


def test_files_of_version_73_are_read_too(tmp_path):
    """As MATLAB writes them: axes in reverse order, cells as references, text as numbers, 512 bytes in front."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "S1.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        held = file.create_group("#refs#")
        places = np.empty((2, 1), h5py.ref_dtype)
        for number in range(2):
            trial = held.create_group(f"t{number}")
            trial["RawData/EegData"] = eeg(number).T
            trial["FileHeader/SampleRate"] = np.array([[128.0]])
            trial["attended_ear"] = np.array([[ord("LR"[number])]], np.uint16)
            trial["attended_ear"].attrs["MATLAB_class"] = np.bytes_("char")
            places[number] = trial.ref
        file.create_dataset("trials", data=places, dtype=h5py.ref_dtype)
    found = kul_trials(path)
    assert [trial.label for trial in found] == [0, 1]
    np.testing.assert_array_equal(found[1].eeg, eeg(1).T)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"S1.mat cannot be read \(.*\): it is truncated; copy it again"):
        kul_trials(path)


# --- splits ---


def labelled(listeners=(1, 2, 3, 4), each=10):
    return [
        Trial(np.full((64, 100), 100.0 * who + number), number % 2, who) for who in listeners for number in range(each)
    ]


def names(part):
    return {(trial.subject, trial.eeg[0, 0]) for trial in part}


@pytest.mark.parametrize(("each", "sizes"), [(6, (1, 1, 1)), (20, (8, 1, 1)), (40, (16, 2, 2))])
def test_trials_are_left_out_of_each_listener_and_answer(each, sizes):
    parts = by_trial(labelled(each=each))
    for part, size in zip(parts, sizes, strict=True):
        for who in (1, 2, 3, 4):
            for label in (0, 1):
                assert sum((trial.subject, trial.label) == (who, label) for trial in part) == size
    held = [names(part) for part in parts]
    assert len(set.union(*held)) == sum(map(len, held)) == 4 * each


def test_sections_of_a_trial_follow_one_another():
    trial = Trial(np.tile(np.arange(100.0), (64, 1)), 1, 5)
    parts = sections([trial, trial])
    assert [part[1].eeg[0, [0, -1]].tolist() for part in parts] == [[0, 79], [80, 89], [90, 99]]
    assert all(len(part) == 2 and part[0].label == 1 for part in parts)


@pytest.mark.parametrize(("held", "tested", "validates"), [(None, 1, 2), (3, 3, 4), (4, 4, 1)])
def test_a_listener_is_left_out(held, tested, validates):
    train, validation, test = apart(labelled(), held)
    assert {trial.subject for trial in test} == {tested}
    assert {trial.subject for trial in validation} == {validates}
    assert {trial.subject for trial in train} == {1, 2, 3, 4} - {tested, validates}


@pytest.mark.parametrize(
    ("task", "write", "options", "sizes"),
    [
        (KUL, write_kul, {}, [24, 24, 24]),  # two trials of three listeners, of 4 s
        (KUL, write_kul, {"listeners": (2,), "overlap": 0.5}, [14, 14, 14]),
        (KUL, write_kul, {"split": "subjects", "held": 2}, [24, 24, 24]),
        (DTU, write_dtu, {"split": "within", "window": 0.25, "view": "spatial"}, [12 * 18, 18, 18]),
    ],
)
def test_a_folder_becomes_a_task(tmp_path, task, write, options, sizes):
    write(tmp_path, listeners=(1, 2, 3))
    data = checked(task(**options, components=4).load(tmp_path), "task")
    assert [len(split) for split in (data.train, data.validation, data.test)] == sizes
    assert data.train.y.unique().tolist() == [0, 1]
    assert torch.isfinite(data.train.x).all()


def test_subjects_are_sorted_by_number(tmp_path):
    for name in ("S10.mat", "S2.mat", "notes.txt", "S1_data_preproc.mat"):
        (tmp_path / name).write_text("")
    assert list(subjects(tmp_path)) == [1, 2, 10]


# --- what is refused ---


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"RawData": {"EegData": eeg(0, channels=63)}},
            r"S1.mat, trials\{1\}.RawData.EegData has shape \(512, 63\); wanted \[samples, 64\]",
        ),
        ({"RawData": {"EegData": eeg(0, channels=66)}}, r"has shape \(512, 66\); wanted \[samples, 64\]"),
        (
            {"RawData": {"EegData": eeg(0).T}},
            r"has shape \(64, 512\) \(are its axes exchanged\?\); wanted \[samples, 64",
        ),
        (
            {"RawData": {"EegData": np.nan * eeg(0)}},
            "has values that are not finite: fill the gaps, or leave that trial",
        ),
        ({"RawData": {"Eeg": 1.0}}, r"trials\{1\} has no RawData.EegData: at EegData there is the fields Eeg"),
        ({"RawData": 3.0}, "has no RawData.EegData: at EegData there is a float"),
        ({"attended_ear": "left"}, "attended_ear is 'left'; wanted 'L' or 'R'"),
        (
            {"FileHeader": {"SampleRate": 128.5}},
            "FileHeader.SampleRate is 128.5; wanted a whole number of samples in a",
        ),
        ({"FileHeader": {"SampleRate": "fast"}}, "FileHeader.SampleRate is 'fast'; wanted a whole number"),
    ],
)
def test_another_layout_of_kul_is_named(tmp_path, changes, message):
    path = write_kul(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        kul_trials(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 60}, r"S1_data_preproc.mat, data.eeg\{1\} has shape \(256, 60\); wanted \[samples, 64 or more\]"),
        ({"values": [1.0, 2.0]}, "data.eeg has 6 trials, and data.event.eeg.value 2 answers"),
        ({"values": [3.0] * 6}, r"data.event.eeg.value\{1\} is 3.0; wanted 1 or 2"),
        ({"rate": -1.0}, "data.fsample.eeg is -1.0; wanted a whole number"),
    ],
)
def test_another_layout_of_dtu_is_named(tmp_path, changes, message):
    path = write_dtu(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        dtu_trials(path)


def test_a_trial_of_zeros_is_named_with_its_file(tmp_path):
    write_kul(tmp_path, listeners=(1, 2, 3), RawData={"EegData": np.zeros((512, 64))})
    message = r"S1.mat, trials\{1\}.*electrode Fp1 and 63 more .* in 4 of 4 windows of 128 samples: fill it in from its"
    with pytest.raises(ValueError, match=message):
        KUL(components=4).load(tmp_path)


def test_other_variables_and_damaged_files_are_named(tmp_path):
    savemat(tmp_path / "S1.mat", {"eeg": 1.0, "labels": 2.0})
    with pytest.raises(ValueError, match="S1.mat has the variables eeg, labels; wanted trials or preproc_trials"):
        kul_trials(tmp_path / "S1.mat")
    (tmp_path / "S2.mat").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"S2.mat cannot be read \(.*\): it is truncated or no MATLAB file"):
        kul_trials(tmp_path / "S2.mat")


def test_a_folder_without_files_of_listeners_is_named(tmp_path):
    (tmp_path / "kul").mkdir()
    with pytest.raises(
        ValueError, match=r"kul holds nothing; wanted files such as S1.mat or S1_data_preproc.mat, one a"
    ):
        KUL().load(tmp_path)
    (tmp_path / "kul" / "readme.txt").write_text("")
    with pytest.raises(ValueError, match=r"kul holds readme.txt; wanted files"):
        KUL().load(tmp_path)
    for name in ("S1.mat", "S1_data_preproc.mat"):
        (tmp_path / "kul" / name).write_text("")
    with pytest.raises(ValueError, match="has S1.mat and S1_data_preproc.mat: leave one of them there"):
        KUL().load(tmp_path)


@pytest.mark.parametrize(("task", "advice"), [(KUL, "zenodo.org/records/3997352"), (DTU, "zenodo.org/records/1199011")])
def test_a_folder_that_is_not_there_is_named(task, advice, tmp_path, monkeypatch):
    monkeypatch.delenv("SANDBOX_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=advice):
        task().load(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: KUL(listeners=(1, 7)).load(folder),
            r"listeners=\(1, 7\): .*kul has no file of 7, but of S1, S2",
        ),
        (
            lambda folder: KUL(split="subjects").load(folder),
            "there are files of S1, S2; split='subjects' wants at least 3",
        ),
        (lambda folder: apart(labelled(), 9), "held=9: there is no file of that listener, but of S1, S2, S3, S4"),
        (lambda folder: KUL(held=1), "held=1: it names who is tested on, which split='subjects' does"),
        (lambda folder: KUL(split="trial"), "split"),
        (
            lambda folder: KUL(window=5.0).load(folder),
            "window=5.0: a window of 640 samples is longer than a trial, of wh",
        ),
        (
            lambda folder: KUL(split="within").load(folder),
            "a window of 128 samples is longer than a trial, of which one",
        ),
        (
            lambda folder: by_trial(labelled(each=5)),
            "listener 1 has 2 trials of class 1; wanted at least 3, one for each split: choose split='within'",
        ),
    ],
)
def test_mistakes_are_named(make, message, tmp_path):
    write_kul(tmp_path, listeners=(1, 2))
    with pytest.raises(ValueError, match=message):
        make(tmp_path)
