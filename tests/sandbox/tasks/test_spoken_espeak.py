"""Words of a synthesiser: the plan, files and messages by a fake program; what espeak-ng says where it is installed."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from sandbox.tasks import espeak, spoken_espeak
from sandbox.tasks.checked import checked
from sandbox.tasks.espeak import Utterance, installed, read, said, spoken
from sandbox.tasks.files import VARIABLE, card_folder
from sandbox.tasks.fsdd import FSDD
from sandbox.tasks.spoken_espeak import ACCENTS, PITCHES, SPEEDS, VOICES, WORDS, SpokenEspeak
from tests.sandbox.tasks.test_memory import right

needs_program = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
FAKE = """#!{python} -SE
import array, sys, wave
words = sys.argv[1:]
if words == ["--version"]:
    print({version!r})
    sys.exit()
given = dict(zip(words[::2], words[1::2]))
if "wrong" in given["-v"]:
    sys.exit("Error: The specified espeak-ng voice does not exist.")
if "nothing" in given["-v"]:
    sys.exit()
seed = sum(ord(c) * k for k, c in enumerate(" ".join(words[:6] + words[8:]), 1)) % 9973
samples = [0] * 50 + [(seed * k * k) % 4001 - 2000 for k in range(2000)] + [0] * 90
if "quiet" in given["-v"]:
    samples = [0] * 200
if given["-v"].endswith("+same"):
    samples = [9999] * 200
with wave.open(given["-w"], "wb") as file:
    file.setparams((1, 2, 22050, 0, "NONE", None))
    file.writeframes(array.array("h", samples).tobytes())
"""
ONE = Utterance("seven", "f3", "en-us", 160, 50)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A cache, an empty search path for programs, and a plan of a few words."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    for name, few in (("VOICES", (("m1", "f1"), ("m4",), ("m6",))), ("SPEEDS", (160,)), ("PITCHES", (50,))):
        monkeypatch.setattr(spoken_espeak, name, few)
    monkeypatch.setattr(spoken_espeak, "ACCENTS", ("en-us",))
    monkeypatch.setattr(spoken_espeak, "WORDS", {"digits": ("zero", "one"), "commands": ("yes", "no")})
    return tmp_path


def install(places, version="eSpeak NG text-to-speech: 9.87-dev  Data at: /usr/lib"):
    path = places / "bin" / "espeak-ng"
    path.write_text(FAKE.format(python=sys.executable, version=version))
    path.chmod(0o755)
    return path


def kept(places, words="digits", version="9.87-dev"):
    (found,) = (places / "cache").glob(f"*/spoken-espeak/espeak-ng-{version}-{words}.npz")
    return found


def test_the_plan_has_every_word_in_every_voice_once():
    for words, known in WORDS.items():
        plan = SpokenEspeak(words=words).plan()
        assert len(set(plan)) == len(plan) == 13 * 10 * 3 * 3 * 2 == 2340
        assert {one.word for one in plan} == set(known)
        assert {one[2:] for one in plan} == {(a, s, p) for a in ACCENTS for s in SPEEDS for p in PITCHES}
    voices = [voice for part in VOICES for voice in part]
    assert sorted(voices) == sorted({*voices}) == [*(f"f{k}" for k in range(1, 6)), *(f"m{k}" for k in range(1, 9))]
    assert [180 * len(part) for part in VOICES] == [1440, 360, 540]
    assert "en-gb" not in ACCENTS  # which says all variants with the same samples


def test_a_synthesiser_is_asked_once(places):
    program = install(places)
    data = checked(SpokenEspeak(lengths=True).load(), "spoken_espeak")
    assert [len(split) for split in data[:3]] == [4, 2, 2]
    assert data.train.y.tolist() == [0, 1, 0, 1]
    assert (data.shape, data.classes, data.sequence) == ((40,), 10, True)
    assert data.train.lengths.tolist() == [1 + (726 - 200) // 80] * 4  # 2,000 samples at 22.05 kHz
    program.write_text(program.read_text().replace("wave.open", "broken"))
    assert SpokenEspeak(lengths=True).load().checksum == data.checksum
    assert SpokenEspeak().load().train.lengths is None
    assert kept(places).exists()


def test_the_same_samples_make_the_same_file(places):
    install(places)
    plan = SpokenEspeak().plan()
    first = spoken(plan, "digits")
    content = kept(places).read_bytes()
    kept(places).unlink()
    again = spoken(plan, "digits")
    assert again.checksum == first.checksum
    assert kept(places).read_bytes() == content
    assert (again.version, again.rate) == ("9.87-dev", 22050)
    held = read(kept(places), plan)
    assert all(map(np.array_equal, held.sounds, first.sounds))
    assert held.checksum == first.checksum


def test_a_file_in_a_data_folder_is_read_without_the_program(places):
    program = install(places)
    before = SpokenEspeak(words="commands").load().checksum
    mine = places / "mine" / "spoken-espeak"
    mine.mkdir(parents=True)
    kept(places, "commands").rename(mine / "espeak-ng-1.49-commands.npz")
    program.unlink()
    assert SpokenEspeak(words="commands").load(places / "mine").checksum == before
    with pytest.raises(FileNotFoundError, match=r"has espeak-ng-\*-digits.npz"):
        SpokenEspeak().load(places / "mine")
    install(places)  # whose version is another, so that the file of 1.49 is not its own
    SpokenEspeak(words="commands").load(places / "mine")
    assert kept(places, "commands").exists()


def test_silence_at_both_ends_is_cut(places):
    install(places)
    sound, rate = said(ONE, places)
    assert rate == 22050
    assert 1900 < len(sound) <= 2000
    assert min(abs(int(sound[0])), abs(int(sound[-1]))) >= 2**7


def test_without_the_program_one_is_told_how_to_install_it(places):
    with pytest.raises(FileNotFoundError) as caught:
        SpokenEspeak().load(places / "mine")
    for part in (
        "espeak-ng is not on the search path",
        str(places / "mine" / "spoken-espeak"),
        "espeak-ng-*-digits.npz",
        "apt-get install espeak-ng",
        "--data-dir",
        VARIABLE,
    ):
        assert part in str(caught.value)
    assert installed() is None


@pytest.mark.parametrize(
    ("accent", "message"),
    [
        (
            "wrong",
            r"-v wrong\+f3 .* failed with code 1 \(Error: The specified espeak-ng voice does not exist.\): install",
        ),
        ("nothing", r"espeak-ng wrote nothing for seven-f3-nothing-160-50: install it"),
        ("quiet", r"espeak-ng is silent for seven-f3-quiet-160-50: install it"),
    ],
)
def test_a_program_that_fails_is_named(accent, message, places):
    install(places)
    with pytest.raises(ValueError, match=message):
        said(ONE._replace(accent=accent), places)


def test_programs_that_are_something_else_are_named(places, monkeypatch):
    install(places, "speech 1.2")
    with pytest.raises(
        ValueError, match=r"espeak-ng --version says 'speech 1.2\\n'; wanted 'text-to-speech: ' and a ve"
    ):
        installed()
    install(places, "text-to-speech: ../../up")
    with pytest.raises(ValueError, match=r"wanted 'text-to-speech: ' and a version"):
        installed()
    install(places).write_text(f"#!{sys.executable}\nimport time; time.sleep(9)\n")
    monkeypatch.setattr(espeak, "PATIENCE", 0.1)
    with pytest.raises(ValueError, match=r"espeak-ng --version failed \(.*timed out after 0.1 seconds\): install it"):
        installed()


def test_voices_that_sound_the_same_are_refused(places):
    install(places)
    plan = [ONE._replace(voice="same"), ONE._replace(voice="same", word="one")]
    message = "espeak-ng says seven-same-en-us-160-50 and one-same-en-us-160-50 with the same samples; wanted different"
    with pytest.raises(ValueError, match=re.escape(message)):
        spoken(plan, "digits")
    assert not [*(places / "cache").glob("**/*.npz")]


def test_files_that_are_damaged_or_of_another_plan_are_named(places):
    install(places)
    SpokenEspeak().load()
    path = kept(places)
    with pytest.raises(ValueError, match=re.escape(f"{path} holds other utterances than the 8 wanted: remove it")):
        read(path, [*SpokenEspeak().plan()[:-1], ONE])
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=re.escape(f"{path} cannot be read (")):
        SpokenEspeak().load()
    with open(path, "wb") as file:
        np.save(file, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match=re.escape(f"{path} cannot be read (")):
        SpokenEspeak().load()


def test_other_samples_than_those_of_the_card_are_warned_of(places):
    install(places, "text-to-speech: 1.51")
    with pytest.warns(UserWarning, match=r"espeak-ng 1.51 says samples of SHA-256 \w{64} for digits, and on the card"):
        SpokenEspeak().load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": "letters"}, "unknown words 'letters'"),
        ({"steps": 0}, "steps=0: give a whole number, at least 1"),
        ({"high": 4001.0}, "low=50.0 Hz, high=4001.0 Hz: give 0 <= low < high <= 4000"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SpokenEspeak(**options)
    assert (SpokenEspeak().memory, SpokenEspeak().exchangeable) == (80, False)


def test_it_is_heard_as_the_recordings_of_digits_are():
    assert SpokenEspeak(steps=64).ear() == FSDD().ear()


@needs_program
def test_espeak_says_the_same_twice_and_other_voices_otherwise(tmp_path):
    few = [ONE, ONE, ONE._replace(voice="m1"), ONE._replace(pitch=60), ONE._replace(accent="en-gb-x-rp")]
    sounds = [said(one, tmp_path)[0] for one in few]
    assert np.array_equal(sounds[0], sounds[1])
    assert len({sound.tobytes() for sound in sounds}) == 4
    slow, fast = (said(ONE._replace(speed=speed), tmp_path)[0] for speed in (130, 190))
    assert len(slow) > len(sounds[0]) > len(fast)
    assert 0.1 < len(sounds[0]) / 22050 < 1


@needs_program
@pytest.mark.slow(minutes=1)
def test_all_that_espeak_says_is_on_the_card(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    card = yaml.safe_load((Path(card_folder("spoken_espeak")) / "card.yaml").read_text())
    speech = spoken(SpokenEspeak().plan(), "digits")
    known = card["audio"].get(f"{speech.version} digits")
    if known is None:
        pytest.skip(f"the card has no checksum of espeak-ng {speech.version}")
    assert speech.checksum == known
    data = checked(SpokenEspeak().load(), "spoken_espeak")
    assert [len(split) for split in data[:3]] == [1440, 360, 540]
    assert right(data, 80, False) == 1.0  # as the page says
    assert right(data, 40, False) == pytest.approx(0.354, abs=0.01)  # the solver stops at a tolerance
    assert all(torch.equal(split.y.bincount(), torch.full((10,), len(split) // 10)) for split in data[:3])
