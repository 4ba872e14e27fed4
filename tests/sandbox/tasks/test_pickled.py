"""A pickle gives back its arrays of bytes and can do nothing else, whatever it asks for."""

from __future__ import annotations

import codecs
import contextlib
import os
import pickle
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.tasks.pickled import ADMITTED, Array, read_pickle

PIXELS = np.arange(12, dtype=np.uint8).reshape(3, 4)
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
KIND = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def array(shape=b"K\x03K\x04\x86", kind=KIND):
    """An array as NumPy 1 under Python 2 pickled it, opcode by opcode."""
    return RECONSTRUCT + b"(K\x01" + shape + kind + b"\x89U\x0c" + PIXELS.tobytes() + b"tb"


def holding(value):
    """A pickle by Python 2 of a dictionary with one entry, as the authors of CIFAR-10 published them."""
    return b"\x80\x02}(U\x04data" + value + b"u."


class Calls:
    """Pickles as the call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_the_official_layout_of_python_2_is_read():
    assert np.array_equal(read_pickle(holding(array()), "f")[b"data"], PIXELS)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_of_this_numpy_are_read(protocol, order, module):
    content = pickle.dumps({b"data": np.asarray(PIXELS, order=order), b"labels": [1, 2]}, protocol)
    here = next(name for name in (b"numpy._core.multiarray", b"numpy.core.multiarray") if name in content)
    if protocol < 4:  # there names have no length before them
        content = content.replace(here, module)
    found = read_pickle(content, "f")
    assert np.array_equal(found[b"data"], PIXELS)
    assert found[b"labels"] == [1, 2]


@given(st.lists(st.integers(1, 5), max_size=3), st.integers(0, 99))
def test_any_array_of_bytes_is_read_back(shape, seed):
    values = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    found = read_pickle(pickle.dumps({"a": values}, protocol=2), "f")["a"]
    assert (found.dtype, found.shape) == (values.dtype, values.shape)
    assert np.array_equal(found, values)


def test_a_harmful_pickle_is_refused_without_running(tmp_path):
    content = pickle.dumps({b"data": Calls(os.mkdir, str(tmp_path / "harm"))}, protocol=2)
    with pytest.raises(ValueError, match=r"f is refused: it contains the global .*\.mkdir; wanted only .* was run"):
        read_pickle(content, "f")
    assert not (tmp_path / "harm").exists()
    pickle.loads(content)  # the same pickle does its harm in the reader of Python
    assert (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "nt.system",
        "subprocess.Popen",
        "builtins.eval",
        "builtins.exec",
        "builtins.getattr",
        "builtins.__import__",
        "__builtin__.eval",
        "operator.attrgetter",
        "operator.methodcaller",
        "functools.partial",
        "importlib.import_module",
        "pickle.loads",
        "copyreg._reconstructor",
        "codecs.decode",
        "_codecs.decode",
        "_codecs.lookup",
        "numpy.load",
        "numpy.fromfile",
        "numpy.memmap",
        "numpy.frombuffer",
        "numpy.core.multiarray.scalar",
        "numpy.core.multiarray.fromfile",
        "numpy.core.multiarray._reconstruct.__globals__",
        "numpy.testing._private.utils.runstring",
        "numpy.ndarray.tofile",
        "numpy.dtype.__reduce__",
        "numpy.os.system",
        "sandbox.tasks.pickled.ADMITTED",
    ],
)
def test_every_other_name_is_refused(name):
    parts = name.encode().split(b".")
    for cut in range(1, len(parts)):  # Python itself walks a nested name, `a.b`, from the module
        module, member = b".".join(parts[:cut]), b".".join(parts[cut:])
        for call in (
            b"\x80\x02c%s\n%s\n(tR." % (module, member),
            b"\x80\x04\x8c%c%s\x8c%c%s\x93)R." % (len(module), module, len(member), member),
        ):
            with pytest.raises(ValueError, match=re.escape(f"f is refused: it contains the global {name}; wanted")):
                read_pickle(call, "f")


@pytest.mark.parametrize("name", [("numpy", "Ndarray"), ("numpy ", "dtype"), ("Numpy", "dtype")])
def test_nearly_admitted_names_are_refused(name):
    with pytest.raises(ValueError, match=re.escape(f"the global {'.'.join(name)};")):
        read_pickle(b"\x80\x02c%s\n%s\n(tR." % tuple(part.encode() for part in name), "f")


@pytest.mark.parametrize("encoding", ["zlib", "rot13", "unicode_escape", "no_such_module"])
def test_other_encodings_are_not_looked_up(encoding, monkeypatch):
    monkeypatch.setattr(codecs, "encode", None)
    content = b"\x80\x02}(U\x01ac_codecs\nencode\nX\x01\x00\x00\x00xX%c\x00\x00\x00%s\x86Ru." % (
        len(encoding),
        encoding.encode(),
    )
    with pytest.raises(ValueError, match=f"_codecs.encode with the encoding '{encoding}'; wanted a string and"):
        read_pickle(content, "f")


@pytest.mark.parametrize("code", ["O", "V8", "i8", "S4", "O8"])
def test_arrays_of_anything_but_bytes_are_refused(code):
    kind = b"cnumpy\ndtype\nU%c%sK\x00K\x01\x87R" % (len(code), code.encode())
    with pytest.raises(ValueError, match=f"an array of dtype b'{code}'; wanted unsigned bytes, 'u1'"):
        read_pickle(holding(array(kind=kind)), "f")


def test_objects_in_an_array_are_refused():
    with pytest.raises(ValueError, match="f is refused: it contains an array of dtype 'O8'"):
        read_pickle(pickle.dumps({"a": np.array([None, 1], dtype=object)}, protocol=2), "f")


def test_a_crafted_state_of_a_dtype_has_no_effect():
    """With NumPy's own dtype this state, fields of objects laid over bytes, would make pointers of them."""
    fields = b"U\x01f\x85}U\x01fcnumpy\ndtype\nU\x02u1K\x00K\x01\x87RK\x00\x86sK\x08K\x01K\x00"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|N" + fields + b"tb"
    found = read_pickle(holding(array(kind=kind)), "f")[b"data"]
    assert found.dtype == np.dtype("u1")
    assert found.dtype.fields is None


@pytest.mark.parametrize(
    "shape",
    [
        b"K\x03K\x05\x86",
        b"J\xff\xff\xff\xffJ\xf4\xff\xff\xff\x86",
        b"K\x03\x88\x86",
        b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86",
    ],
)
def test_a_shape_that_the_bytes_do_not_fill_is_refused(shape):
    with pytest.raises(ValueError, match=r"an array that announces \(.*\) bytes and holds 12"):
        read_pickle(holding(array(shape=shape)), "f")


@pytest.mark.parametrize(
    "value",
    [RECONSTRUCT, RECONSTRUCT + b"Nb", RECONSTRUCT + b"(NNNNNtb", b"cnumpy.core.multiarray\n_reconstruct\n)\x81"],
)
def test_an_array_without_its_state_is_refused(value):
    with pytest.raises(ValueError, match="an array whose state is not"):
        read_pickle(holding(value), "f")


def test_a_huge_array_is_not_made_before_its_bytes_are_there():
    content = RECONSTRUCT.replace(b"K\x00\x85", b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86")  # an exabyte
    with pytest.raises(ValueError, match="an array whose state is not"):
        read_pickle(holding(content), "f")


@pytest.mark.parametrize("name", ADMITTED)
@pytest.mark.parametrize("made", [b"", b")\x81"], ids=["itself", "what it makes"])
@pytest.mark.parametrize("state", [b"}U\x06valuesNs", b"N}U\x06valuesNs\x86", b"N}U\x0c__setstate__Ns\x86"])
def test_a_state_never_reaches_the_attributes_of_a_stand_in(name, made, state):
    before = {key: dict(vars(kind)) for key, kind in ADMITTED.items()}
    content = b"c%s\n%s\n" % tuple(part.encode() for part in name) + made + state + b"b"
    try:
        found = read_pickle(holding(content), "f")[b"data"]
    except ValueError:
        found = None  # refused, as most are
    assert found is None or not vars(found)
    assert {key: dict(vars(kind)) for key, kind in ADMITTED.items()} == before
    assert np.array_equal(read_pickle(holding(array()), "f")[b"data"], PIXELS)


@pytest.mark.parametrize("code", [b"U\x01aQ", b"\x82\x01", b"Pa\n"], ids=["persistent", "extension", "persistent 0"])
def test_other_ways_to_objects_are_closed(code):
    with pytest.raises(ValueError, match="f is "):
        read_pickle(holding(code), "f")


def test_a_pickle_that_ends_early_is_named_wherever_it_ends():
    content = holding(array())
    for length in range(len(content)):
        with pytest.raises(ValueError, match="f is truncated or not a pickle"):
            read_pickle(content[:length], "f")


@given(st.binary(max_size=60))
def test_rubbish_is_never_more_than_a_value_error(content):
    short = content.translate(None, b"rj")  # without the opcodes of long indices, for which Python takes much memory
    with contextlib.suppress(ValueError):
        assert isinstance(read_pickle(b"\x80\x02" + short, "f"), dict)


def test_something_else_than_a_dictionary_is_named():
    with pytest.raises(ValueError, match="f holds a list; wanted a dictionary: fetch it again from its authors"):
        read_pickle(pickle.dumps([1]), "f")


def test_a_stand_in_is_no_array():
    assert not isinstance(Array(), np.ndarray)
