"""Files arrive whole or not at all, whatever the network does, and every error names a remedy."""

from __future__ import annotations

import gzip
import hashlib
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sandbox.tasks import files, mnist
from sandbox.tasks.files import Card, File, data_folders, read_card, read_file

CONTENT = b"".join(str(n).encode() for n in range(40_000))  # compressible, so that packings differ
PACKED, OTHERWISE = gzip.compress(CONTENT, 9, mtime=0), gzip.compress(CONTENT, 1, mtime=0)
FILE = File("numbers.gz", hashlib.sha256(CONTENT).hexdigest())
DEAD = "http://127.0.0.1:1/"  # nothing listens on port 1


class Mirror(ThreadingHTTPServer):
    """A server with one file; `cut` lists after how many bytes the next answers break off."""

    def __init__(self, body=PACKED, ranges=True, cut=(), delay=0.0, labels=False):
        super().__init__(("127.0.0.1", 0), Answer)
        self.body, self.ranges, self.cut, self.delay, self.labels, self.asked = (
            body,
            ranges,
            list(cut),
            delay,
            labels,
            [],
        )
        self.url = f"http://127.0.0.1:{self.server_port}/"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        mirror = self.server
        wanted = self.headers.get("Range")
        mirror.asked.append(wanted)
        time.sleep(mirror.delay)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and mirror.ranges else 0
        rest = mirror.body[start:]
        self.send_response(416 if not rest else 206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        if mirror.labels and "gzip" in self.headers.get("Accept-Encoding", ""):
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        self.wfile.write(rest[: mirror.cut.pop(0) if mirror.cut else None])

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def mirror():
    running = []

    def start(**options):
        running.append(Mirror(**options))
        threading.Thread(target=running[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return running[-1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty user's cache, no data folder, no proxy, and chunks so small that a broken transfer leaves some."""
    monkeypatch.delenv(files.VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(files, "CHUNK", 250)  # an unfinished chunk is lost; transfers here break off after four
    monkeypatch.setattr(files, "user_cache_dir", lambda app: str(tmp_path / "cache"))
    return tmp_path / "cache"


def card(*mirrors):
    return Card("numbers", (FILE,), tuple(getattr(each, "url", each) for each in mirrors))


def visible(cache):
    """What a reader of the cache would see: everything but the locks."""
    return sorted(path.name for path in (cache / "numbers").iterdir() if not path.name.endswith(".lock"))


def put(folder, content=PACKED):
    (folder / "numbers").mkdir(parents=True)
    (folder / "numbers" / FILE.name).write_bytes(content)
    return folder


def test_a_download_is_read_and_kept(mirror, cache):
    server = mirror()
    assert read_file(card(server), FILE.name) == CONTENT
    assert read_file(card(DEAD), FILE.name) == CONTENT
    assert (visible(cache), server.asked) == ([FILE.name], [None])


def test_folders_are_tried_in_the_documented_order(tmp_path, cache, monkeypatch):
    monkeypatch.setenv(files.VARIABLE, str(tmp_path / "variable"))
    assert data_folders(tmp_path / "named") == [tmp_path / "named", tmp_path / "variable", cache]
    put(cache)
    put(tmp_path / "variable", b"wrong")
    with pytest.raises(ValueError, match=re.escape(str(tmp_path / "variable"))):
        read_file(card(), FILE.name)
    assert read_file(card(), FILE.name, put(tmp_path / "named")) == CONTENT


def test_a_broken_transfer_continues_where_it_stopped(mirror, cache):
    server = mirror(cut=[1000])
    with pytest.raises(FileNotFoundError):
        read_file(card(server), FILE.name)
    assert visible(cache) == [f"{FILE.name}.part"]
    assert read_file(card(server), FILE.name) == CONTENT
    assert (visible(cache), server.asked) == ([FILE.name], [None, "bytes=1000-"])


def test_a_server_without_ranges_starts_again(mirror, cache):
    server = mirror(ranges=False, cut=[1000])
    with pytest.raises(FileNotFoundError):
        read_file(card(server), FILE.name)
    assert read_file(card(server), FILE.name) == CONTENT
    assert visible(cache) == [FILE.name]


def test_a_complete_part_is_only_renamed(mirror, cache):
    (cache / "numbers").mkdir(parents=True)
    (cache / "numbers" / f"{FILE.name}.part").write_bytes(PACKED)
    server = mirror()
    assert read_file(card(server), FILE.name) == CONTENT
    assert (visible(cache), server.asked) == ([FILE.name], [f"bytes={len(PACKED)}-"])


@pytest.mark.parametrize("left", [b"rubbish", PACKED + b"more than there is"], ids=["wrong", "too long"])
def test_a_part_that_is_not_ours_is_dropped(left, mirror, cache):
    (cache / "numbers").mkdir(parents=True)
    (cache / "numbers" / f"{FILE.name}.part").write_bytes(left)
    assert read_file(card(mirror()), FILE.name) == CONTENT
    assert visible(cache) == [FILE.name]


def test_mirrors_that_pack_differently_are_not_mixed(mirror, cache):
    assert PACKED != OTHERWISE
    assert read_file(card(mirror(cut=[1000]), mirror(body=OTHERWISE)), FILE.name) == CONTENT
    assert (cache / "numbers" / FILE.name).read_bytes() == OTHERWISE


@pytest.mark.parametrize("body", [b"<html>not here</html>", gzip.compress(b"others", mtime=0), PACKED[:-9]])
def test_a_dead_or_lying_mirror_gives_way_to_the_next(body, mirror, cache):
    assert read_file(card(DEAD, mirror(body=body), mirror()), FILE.name) == CONTENT
    assert visible(cache) == [FILE.name]


def test_wrong_content_leaves_nothing_behind(mirror, cache):
    wrong = gzip.compress(b"others", mtime=0)
    with pytest.raises(FileNotFoundError) as caught:
        read_file(card(mirror(body=wrong)), FILE.name)
    for sha256 in (FILE.sha256, hashlib.sha256(b"others").hexdigest()):
        assert sha256 in str(caught.value)
    assert visible(cache) == []


def test_a_packed_file_is_not_unpacked_on_the_way(mirror, cache):
    assert read_file(card(mirror(labels=True)), FILE.name) == CONTENT
    assert (cache / "numbers" / FILE.name).read_bytes() == PACKED


def test_two_at_once_download_once(mirror):
    server = mirror(delay=0.2)
    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(lambda _: read_file(card(server), FILE.name), range(2)))
    assert got == [CONTENT, CONTENT]
    assert len(server.asked) == 1


def test_without_a_network_the_error_says_what_to_put_where(cache):
    with pytest.raises(FileNotFoundError) as caught:
        read_file(card(DEAD), FILE.name)
    for part in (FILE.name, str(cache / "numbers"), "DIR/numbers/", "--data-dir", "SANDBOX_DATA", DEAD):
        assert part in str(caught.value)


def test_mnist_without_a_network_names_all_four_files(tmp_path, monkeypatch):
    found = read_card("mnist")
    monkeypatch.setattr(mnist, "read_card", lambda name: found._replace(mirrors=(DEAD,)))
    with pytest.raises(FileNotFoundError) as caught:
        mnist.MNIST().load(tmp_path)
    assert len(found.files) == 4
    assert all(file.name in str(caught.value) for file in found.files)


def test_other_content_is_refused_with_both_checksums(tmp_path):
    folder = put(tmp_path, gzip.compress(b"others", mtime=0))
    with pytest.raises(ValueError, match="is truncated or corrupted") as caught:
        read_file(card(), FILE.name, folder)
    for part in (str(folder / "numbers" / FILE.name), FILE.sha256, hashlib.sha256(b"others").hexdigest()):
        assert part in str(caught.value)


@pytest.mark.parametrize("broken", [PACKED[:-9], b"no gzip at all", PACKED[:500] + b"\xff" * 500 + PACKED[1000:], b""])
def test_a_file_that_cannot_be_unpacked_is_refused_with_both_checksums(broken, tmp_path):
    folder = put(tmp_path, broken)
    with pytest.raises(ValueError, match="is truncated or corrupted") as caught:
        read_file(card(), FILE.name, folder)
    for part in (str(folder / "numbers" / FILE.name), FILE.sha256, hashlib.sha256(broken).hexdigest()):
        assert part in str(caught.value)


def test_any_packing_of_the_right_content_is_accepted(tmp_path):
    assert read_file(card(), FILE.name, put(tmp_path, OTHERWISE)) == CONTENT


def test_a_mirror_that_sends_too_much_is_cut_off(mirror, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PACKING", 1000)
    server = mirror(body=bytes(50_000))
    small = Card("numbers", (FILE._replace(size=2000),), (server.url,))
    with pytest.raises(FileNotFoundError, match="the mirror sends more than 3000 bytes, the size on the card"):
        read_file(small, FILE.name)
    assert not list((tmp_path / "cache").rglob("*.part"))
