"""Of many who want a job exactly one gets it; whoever lost it writes no more; no clock of another host matters."""

from __future__ import annotations

import json
import multiprocessing
import os
import time

import pytest

from sandbox.executors import claims
from sandbox.executors.claims import DONE, FAILED, FREE, HELD, Link, Pulse, Watch, add, beating, claim, newest, pulse
from sandbox.executors.worker import TakenOver
from sandbox.machine.host import me
from tests.speed import within

FORK = multiprocessing.get_context("fork" if os.name != "nt" else "spawn")
GONE = me()._replace(pid=2**22 + 7)  # above the largest number of a process on Linux
ELSEWHERE = me()._replace(host="far-away")


def link(folder, number, state=HELD, by=ELSEWHERE, error=""):
    place = folder / claims.FOLDER
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{number:04d}").write_text(json.dumps({"state": state, "by": by, "error": error}))


def greedy(root, jobs, chances, wins):
    """Claim whatever can be claimed, a few times each, and say what was won."""
    won = []
    for _ in range(chances):
        for n in range(jobs):
            found = newest(root / str(n))
            if found is None or (found.by and found.by.pid == GONE.pid):
                mine = claim(root / str(n), found)
                won += [] if mine is None else [(n, mine.number)]
    wins.put(won)


@pytest.mark.parametrize("stale", [False, True], ids=["fresh", "left by the dead"])
def test_no_claim_is_given_twice(tmp_path, stale):
    """Twelve processes on two hundred jobs."""
    jobs = 200
    for n in range(jobs if stale else 0):
        link(tmp_path / str(n), 0, by=GONE)
    wins = FORK.Queue()
    crowd = [FORK.Process(target=greedy, args=(tmp_path, jobs, 3, wins)) for _ in range(12)]
    for one in crowd:
        one.start()
    won = sorted(pair for _ in crowd for pair in wins.get(timeout=60))
    for one in crowd:
        one.join()
    assert won == [(n, int(stale)) for n in range(jobs)]
    assert not list(tmp_path.rglob("draft-*"))


def test_the_check_sees_a_claim_that_is_given_twice(tmp_path, monkeypatch):
    """What replaces a file, as one would without links, gives the job to whoever comes."""

    def replace(draft, path):
        path.write_text(draft.read_text())

    monkeypatch.setattr(claims.os, "link", replace)
    assert claim(tmp_path, None) is not None
    assert claim(tmp_path, None) is not None


def test_a_link_whose_answer_was_lost_is_ours(tmp_path, monkeypatch):
    """NFS repeats a request that had no answer, and then finds its own link."""

    def twice(draft, path, true=os.link):
        true(draft, path)
        true(draft, path)

    monkeypatch.setattr(claims.os, "link", twice)
    assert claim(tmp_path, None) is not None
    assert newest(tmp_path).number == 0


def test_a_chain(tmp_path):
    assert newest(tmp_path) is None
    mine = claim(tmp_path, None, version="1")
    assert claim(tmp_path, None) is None
    mine.fence()
    assert newest(tmp_path) == Link(0, HELD, me())
    assert json.loads((tmp_path / ".claims" / "0000").read_text())["version"] == "1"
    assert mine.end(FAILED, "no luck")
    assert newest(tmp_path) == Link(1, FAILED, me(), "no luck")
    with pytest.raises(TakenOver):
        mine.fence()
    assert not mine.end(DONE)  # somebody went on
    assert newest(tmp_path).state == FAILED


def test_who_lost_a_job_notices(tmp_path):
    mine = claim(tmp_path, None)
    assert mine.is_ours
    theirs = claim(tmp_path, newest(tmp_path))
    assert theirs.number == 1
    assert theirs.left_behind  # this process lives, and may hold the lock of the folder
    assert not mine.is_ours
    theirs.fence()


def test_a_job_of_a_dead_process_leaves_nothing_behind(tmp_path):
    link(tmp_path, 0, by=GONE)
    assert not claim(tmp_path, newest(tmp_path)).left_behind


def said(**other):
    return json.dumps({"state": DONE, "by": me(), "error": "", "steps": [1, 2], **other})


DAMAGED = [
    *("", "{", "[]", "{}", '{"state": "held", "by": [1], "error": ""}', "null", "[" * 100_000),
    *(said(state=state) for state in ("ended", None, 1, ["held"], {})),
    *(said(error=error) for error in (None, 1, ["x"])),
    *(said(steps=steps) for steps in (None, 3, [1], [1, 2, 3], [1, "2"], [1.5, 2], [-1, 2], [True, 2], [1, 2**80])),
    *(said(by=by) for by in (None, "me", ["a", "b", "c", "d"], [1, "b", 3, "d"], ["a", "b", True, "d"])),
    *(said(by=by) for by in (["a\x1b[31m", "b", 3, "d"], ["a", "b", -1, "d"], ["a", "b", 3, None], ["a", [], 3, "d"])),
    said(error="x" * 2_000_000),
]


def test_the_damaged_links_differ_from_a_sound_one(tmp_path):
    link(tmp_path, 3)
    (tmp_path / ".claims" / "0003").write_text(said())
    assert newest(tmp_path) == Link(3, DONE, me(), "", (1, 2))


@pytest.mark.parametrize("text", DAMAGED, ids=[text[:60] for text in DAMAGED])
def test_a_damaged_link_counts_as_free(tmp_path, text):
    link(tmp_path, 3)
    (tmp_path / ".claims" / "0003").write_text(text)
    assert newest(tmp_path) == Link(3, FREE)
    assert claim(tmp_path, newest(tmp_path)).number == 4


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("nowhere", path)])
def test_what_is_not_a_file_counts_as_free(tmp_path, make):
    link(tmp_path, 3)
    make(tmp_path / ".claims" / "0004")
    make(tmp_path / ".claims" / "0005.beat")
    assert newest(tmp_path) == Link(4, FREE)
    mine = claim(tmp_path, newest(tmp_path))
    assert mine.number == 5
    assert pulse(tmp_path, 5) is None
    mine.fence()


def test_the_newest_of_ten_thousand_links(tmp_path):
    """As text, 9999 is greater than 10000."""
    link(tmp_path, 9999)
    mine = claim(tmp_path, newest(tmp_path))
    assert mine.number == 10_000
    mine.fence()
    assert mine.end(DONE)
    assert newest(tmp_path).number == 10_001


@pytest.mark.parametrize("name", ["²", "٣٣٣٣", "9", "00009", "99999\n", "1" * 200])
def test_other_names_are_not_links(tmp_path, name):
    link(tmp_path, 3)
    (tmp_path / ".claims" / name).write_text("")
    assert newest(tmp_path).number == 3
    (tmp_path / ".claims" / "0003").unlink()
    assert newest(tmp_path) is None


def test_an_error_is_short_and_has_no_hidden_characters(tmp_path):
    mine = claim(tmp_path, None)
    assert mine.end(FAILED, "a\x1b[31m\nb" + "\U0001f600" * 1_000_000)
    assert newest(tmp_path).error.startswith("a\\x1b[31m\nb\U0001f600")
    assert len(newest(tmp_path).error) < 10_010
    assert (tmp_path / ".claims" / "0001").stat().st_size < claims.LARGEST


@pytest.mark.parametrize("text", ["", "x", "1 2 3 4", "1 2 x", "\xff"])
def test_a_damaged_pulse_is_none(tmp_path, text):
    link(tmp_path, 0)
    (tmp_path / ".claims" / "0000.beat").write_bytes(text.encode("latin-1"))
    assert pulse(tmp_path, 0) is None


def test_nothing_is_made_where_the_folder_above_is_gone(tmp_path):
    with pytest.raises(FileNotFoundError):
        claim(tmp_path / "gone" / "job", None)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_cannot_be_written_is_an_error_of_the_system(tmp_path):
    (tmp_path / ".claims").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"\.claims"):
        add(tmp_path, 0, HELD)


def test_beats_grow_and_say_how_far_the_job_is(tmp_path):
    mine = claim(tmp_path, None)
    with mine.kept(0.01) as progress:
        assert pulse(tmp_path, 0) == Pulse(0)
        progress(3, 7)
        time.sleep(0.2)
        one = pulse(tmp_path, 0)
        time.sleep(0.2)
        two = pulse(tmp_path, 0)
    assert two.beat > one.beat > 0
    assert one[1:] == two[1:] == (3, 7)
    time.sleep(0.05)
    assert pulse(tmp_path, 0).beat <= two.beat + 1  # the thread has ended
    mine.end(DONE)
    assert pulse(tmp_path, 0) is None


def test_a_full_disk_stops_the_beats_and_nothing_else(tmp_path):
    with beating(tmp_path / "absent" / "beat", 0.01) as progress:
        progress(1, 2)
        time.sleep(0.05)
    assert not (tmp_path / "absent").exists()  # nothing was written, and nothing was raised


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


@pytest.mark.parametrize("hours", [-30, 0, 5000])
def test_the_clock_of_another_host_does_not_matter(tmp_path, hours):
    """Files have times of the past or of the future; only how long a number stands still counts, by one's own clock."""
    link(tmp_path, 0)
    beat = tmp_path / ".claims" / "0000.beat"
    clock = Clock(1e6)
    watch = Watch(30.0, clock)

    def write(number):
        beat.write_text(f"{number} 0 0\n")
        strange = time.time() + 3600 * hours
        for path in (beat, beat.with_suffix("")):
            os.utime(path, (strange, strange))

    for number in range(5):
        write(number)
        assert not watch.is_over(tmp_path, newest(tmp_path))
        clock.now += 29.0
    assert not watch.is_over(tmp_path, newest(tmp_path))
    clock.now += 2.0
    assert watch.is_over(tmp_path, newest(tmp_path))
    write(99)  # it was only slow
    assert not watch.is_over(tmp_path, newest(tmp_path))


def test_a_new_holder_gets_a_lease_of_its_own(tmp_path):
    link(tmp_path, 0)
    clock = Clock(0.0)
    watch = Watch(30.0, clock)
    assert not watch.is_over(tmp_path, newest(tmp_path))
    clock.now = 31.0
    link(tmp_path, 1)  # it has not written a beat yet
    assert not watch.is_over(tmp_path, newest(tmp_path))
    clock.now = 62.0
    assert watch.is_over(tmp_path, newest(tmp_path))


def test_a_process_of_this_host_that_has_ended_is_known_at_once(tmp_path):
    link(tmp_path, 0, by=GONE)
    assert Watch(1e9).is_over(tmp_path, newest(tmp_path))


def test_fifty_claims_a_second(tmp_path):
    """On a local disk; measured are about a thousand."""
    began = time.perf_counter()
    for n in range(100):
        assert newest(tmp_path / str(n)) is None
        assert claim(tmp_path / str(n), None).end(DONE)
    assert within(time.perf_counter() - began, 100 / 50)
