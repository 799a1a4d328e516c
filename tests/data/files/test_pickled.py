"""Pickles of arrays come back as they were; programs that do anything else are refused before they cost anything."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from bench.data.files import pickled
from bench.data.files.archive import read_npz
from bench.system.errors import BenchError


def read(program: bytes) -> object:
    return pickled.load(io.BytesIO(program), len(program))


CONTENT = {
    "S1": {"Walking 1": [np.arange(12, dtype=np.float32).reshape(2, 3, 2), np.ones((300, 3))], "Posing": np.eye(40)},
    "big endian": np.arange(300, dtype=">f8"),
    "fortran": np.asfortranarray(np.arange(600.0).reshape(20, 30)),
    "truth": np.array([True, False]),
    "whole": np.arange(5, dtype=np.int16),
    "complex": np.array([1 + 2j]),
    "text": np.array(["hip", "kneé"]),
    "bytes": np.array([b"a", b"bc"]),
    "mixed": np.array([np.zeros(3), "x", None, {"a": (1, 2)}], dtype=object),
    "none": np.zeros((0, 17, 2), np.float32),
    "scalars": (np.float32(0.5), np.int64(-7), np.bool_(True), np.str_("é")),
    "plain": [1, -(2**70), 2.5, "ü", b"\xff", None, True, (), (1,), (1, 2, 3, 4), b""],
    7: "a number for a key",
}


def same(one: object, other: object) -> bool:
    if isinstance(other, np.ndarray) and other.dtype.hasobject:
        return one.shape == other.shape and all(map(same, one, other))
    if isinstance(other, np.ndarray | np.generic):
        alike = type(one) is type(other)
        return alike and one.dtype.newbyteorder("=") == other.dtype.newbyteorder("=") and np.array_equal(one, other)
    if isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in other)
    if isinstance(other, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dumps", [pickle.dumps, pickle._dumps], ids=["C", "Python"])
@pytest.mark.parametrize("numpy", [b"numpy._core", b"numpy.core"], ids=["NumPy 2", "NumPy 1"])
def test_arrays_containers_numbers_and_strings_come_back(protocol, dumps, numpy):
    program = dumps(CONTENT, protocol=protocol)
    expected = pickle.loads(program)
    if protocol < 4:  # the name of the package is a line of text
        program = program.replace(b"numpy._core", numpy)
    assert same(read(program), expected)


def test_one_array_in_two_places_stays_one():
    array = np.arange(100.0)
    first, second = read(pickle.dumps([array, array]))
    assert first is second


def test_a_pickle_of_python_2_is_read():
    # As cPickle wrote it: {'S1': array([1., 2.], dtype='<f4')}; its strings are bytes, its names have no package.
    program = (
        b"\x80\x02}q\x01U\x02S1q\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87R"
        b"q\x05(K\x01K\x02\x85cnumpy\ndtype\nq\x06U\x02f4K\x00K\x01\x87Rq\x07(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff"
        b"\xff\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00@tbs."
    )
    assert same(read(program), {"S1": np.array([1, 2], np.float32)})
    assert same(pickle.loads(program, encoding="latin1"), {"S1": np.array([1, 2], np.float32)})


# --- attacks: the program, and what is said about it


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


EMPTY = name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray") + number(0) + b"\x85" + b"C\x01b\x87R"


def array(shape: bytes, kind: bytes, content: bytes, subtype: bytes = name("numpy", "ndarray")) -> bytes:
    empty = name("numpy._core.multiarray", "_reconstruct") + subtype + number(0) + b"\x85C\x01b\x87R"
    return empty + b"(K\x01" + shape + kind + b"\x89" + content + b"tb"


def dtype(code: str, state: bytes = b"") -> bytes:
    return name("numpy", "dtype") + text(code) + b"\x89\x88\x87R" + state


def shape(*lengths: int) -> bytes:
    return b"(" + b"".join(map(number, lengths)) + b"t"


FLOAT = dtype("f8")
RECORDS = b"(K\x03" + text("|") + b"N" + text("a") + b"\x85}" + text("a") + FLOAT + number(10**9) + b"\x86s"
RECORDS += number(8) + b"K\x01K\x00tb"
BIG_ENDIAN = b"(K\x03" + text(">") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
ZEROS = b"B" + struct.pack("<I", 80_000) + bytes(80_000)

ATTACKS = {
    # what would run
    "os.system": (name("os", "system") + text("true") + b"\x85R.", "wants to run os.system"),
    "os.system by the stack": (text("os") + text("system") + b"\x93" + text("true") + b"\x85R.", "to run os.system"),
    "an old instance": (b"(" + text("true") + b"ios\nsystem\n.", "needs \\(INST\\)"),
    "an old object": (b"(" + name("builtins", "exec") + b"o.", "wants to run builtins.exec"),
    "a part of a module": (text("numpy") + text("ndarray.tofile") + b"\x93.", "wants to run numpy.ndarray.tofile"),
    "a number for a name": (b"K\x01K\x02\x93.", "where it cannot be"),
    "an extension": (b"\x82\x01.", "needs \\(EXT1\\)"),
    "a persistent name": (b"Pid\n.", "needs \\(PERSID\\)"),
    "a new object": (name("numpy", "ndarray") + b")\x81.", "needs \\(NEWOBJ\\)"),
    "a call of an array": (EMPTY + b")R.", "where it cannot be"),
    "a call of text": (text("os") + b")R.", "where it cannot be"),
    "a state of a name": (name("numpy", "dtype") + b")b.", "wants to change a _Name"),
    "a state of text": (text("a") + b")b.", "wants to change a str"),
    "a state of a list": (b"])b.", "wants to change a list"),
    "zip by a codec": (name("_codecs", "encode") + text("a") + text("zip") + b"\x86R.", "to call _codecs.encode"),
    "a codec to be found": (name("_codecs", "encode") + text("a") + text("os") + b"\x86R.", "call _codecs.encode"),
    "encode with errors": (name("_codecs", "encode") + text("a") + text("latin1") + text("x") + b"\x87R.", "call"),
    "bytes of a size": (name("builtins", "bytes") + number(10**12) + b"\x85R.", "call builtins.bytes with"),
    # what is no plain array
    "a subclass": (array(shape(1), FLOAT, b"C\x08" + bytes(8), name("numpy", "memmap")), "wants to run numpy.memmap"),
    "an array of a dtype": (array(shape(1), FLOAT, b"C\x08" + bytes(8), name("numpy", "dtype")), "of another class"),
    "records": (dtype("V8", RECORDS), "an array of 'V8'"),
    "records in disguise": (dtype("f8", RECORDS), "array of records"),
    "dates": (dtype("M8[s]"), "an array of 'M8"),
    "a dtype of expressions": (dtype("f8,(2,3)i4"), "an array of 'f8,"),
    "strings of no length": (array(shape(10**15), dtype("U0"), b"C\x00"), "an array of 'U0'"),
    "a set": (b"\x8f(K\x01\x90.", "needs \\(EMPTY_SET\\)"),
    "an ordered dictionary": (pickle.dumps(OrderedDict(a=1)), "wants to run collections.OrderedDict"),
    "a date": (pickle.dumps(np.datetime64("2020-01-01")), "an array of 'M8'"),
    "records of numpy": (pickle.dumps(np.zeros(3, [("a", "f4")])), "an array of 'V4'"),
    # what would fill the memory, overrun the C stack or crash
    "a huge empty array": (
        name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray") + shape(10**12) + b"C\x01b\x87R.",
        "of another class",
    ),
    "a huge shape": (array(shape(10**9), FLOAT, b"C\x08" + bytes(8)), "more data than"),
    "a shape beyond numbers": (array(shape(2**30, 2**30, 2**30), FLOAT, b"C\x08" + bytes(8)), "more data than"),
    "a huge shape of nothing": (array(shape(2**62, 2**62, 0), FLOAT, b"C\x00"), "invalid shape"),
    "a negative shape": (array(shape(-1), FLOAT, b"C\x08" + bytes(8)), "invalid shape"),
    "a shape of text": (array(text("a") + b"\x85", FLOAT, b"C\x08" + bytes(8)), "invalid shape"),
    "less than promised": (array(shape(2), FLOAT, b"C\x08" + bytes(8)) + b"0" * 40, "but its data are missing"),
    "objects that are bytes": (array(shape(1), dtype("O8"), b"C\x08" + bytes(8)), "where it cannot be"),
    "numbers that are objects": (array(shape(1), FLOAT, b"](K\x01e"), "where it cannot be"),
    "objects from a buffer": (
        name("numpy._core.numeric", "_frombuffer") + b"(C\x08" + bytes(8) + dtype("O8") + shape(1) + text("C") + b"tR.",
        "OBJECT",
    ),
    "objects from a scalar": (
        name("numpy._core.multiarray", "scalar") + dtype("O8") + b"C\x08" + bytes(8) + b"\x86R.",
        "OBJECT",
    ),
    "a buffer of an array": (
        name("numpy._core.numeric", "_frombuffer") + b"(" + array(shape(1), FLOAT, b"C\x08" + bytes(8)) + FLOAT
        + shape(1) + text("C") + b"tR.",
        "where it cannot be",
    ),
    "one buffer many times": (
        b"(" + ZEROS + b"q\x00" + (array(shape(10_000), dtype("f8", BIG_ENDIAN), b"h\x00")) * 2_000 + b"l.",
        "more data than the file holds",
    ),
    "one text many times": (
        b"(" + text("a" * 900) + b"q\x00" + (name("_codecs", "encode") + b"h\x00" + text("latin1") + b"\x86R") * 9_000
        + b"l.",
        "more data than the file holds",
    ),
    "a long text again": (text("a" * 2_000) + b"q\x00h\x00.", "repeats a long text"),
    "a huge place in memory": (b"Nr\xff\xff\xff\x7f.", None),
    "a huge string": (b"X\xff\xff\xff\x7f" + b"a.", "expected 2147483647 bytes"),
    "huger bytes": (b"\x8e" + struct.pack("<Q", 2**60) + b"a.", "bytes"),
    "a huge frame": (b"\x95" + struct.pack("<Q", 2**62) + b"N.", None),
    "a long number": (b"I" + b"9" * 5_000 + b"\n.", "digits"),
    "too many steps": (b"]" + b"Na" * 200_000 + b".", "more than 300,000 steps"),
    "a nested key": (b"}" + b")" + b"\x85" * 100_000 + b"K\x01s.", "dictionary with a tuple for a key"),
    "an endless key": (b"}" + text("a" * 2_000) + b"Ns.", "a key that is not readable text"),
    "a key that draws": (b"}" + text("\x1b[2J") + b"Ns.", "a key that is not readable text"),
    "an endless number for a key": (b"}\x8a\xff" + b"\x01" * 255 + b"Ns.", "a key that is not readable text"),
    "a list for a key": (b"}]K\x01s.", "dictionary with a list for a key"),
    "a key without a value": (b"}(K\x01u.", "shorter"),
    "lists in lists": (b"]" * 100_000 + b"a" * 99_999 + b".", None),
    "tuples in tuples": (b")" + b"\x85" * 100_000 + b".", None),
    "a doubling tree": (b"(" + b"]q\x00" + b"(h\x00h\x00lq\x00" * 1_000 + b"l.", None),
    "a list in itself": (b"]q\x00h\x00a.", None),
    "arrays in arrays": (
        (name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray") + number(0) + b"\x85C\x01b\x87R"
        + b"(K\x01" + shape(1) + dtype("O8") + b"\x89(") * 5_000 + b"N" + b"ltb" * 5_000 + b".",
        "more than 2,000 arrays of objects",
    ),
    "arrays in arrays, as many as may be": (
        (name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray") + number(0) + b"\x85C\x01b\x87R"
        + b"(K\x01" + shape(1) + dtype("O8") + b"\x89(") * 1_999 + b"N" + b"ltb" * 1_999 + b".",
        None,
    ),
    # what is damaged
    "nothing": (b"", "pickle exhausted"),
    "no end": (b"]", "pickle exhausted"),
    "nothing on the stack": (b".", "pop from empty list"),
    "no mark": (b"K\x01t.", "index out of range"),
    "a place that is empty": (b"h\x07.", "7"),
    "an unknown step": (b"\xff.", "opcode"),
}  # fmt: skip


def with_member(path: Path, member: bytes, **header: object) -> Path:
    """An .npz file whose only array, `payload`, says this of itself and holds this."""
    stream = io.BytesIO()
    said = {"descr": "|O", "fortran_order": False, "shape": ()} | header
    np.lib.format.write_array_header_1_0(stream, said)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("payload.npy", stream.getvalue() + member)
    return path


@pytest.mark.parametrize(("program", "message"), ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_one_clear_error_and_costs_nothing(tmp_path, program, message):
    path = with_member(tmp_path / "evil.npz", program)
    tracemalloc.start()
    try:
        with pytest.raises(
            BenchError, match=rf"evil\.npz (was refused|cannot be read).*{message or 'its pickle'}"
        ) as caught:
            read_npz(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150e6, "at most the list of the steps that it may take"
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


# --- attacks: the archive around it


def zipped(path: Path, *members: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as packed:
        for member, content in members:
            packed.writestr(member, content)
    return path


def npy(values: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, version)
    return stream.getvalue()


FOUR = npy(np.arange(4.0))


def encrypted(path: Path) -> Path:
    raw = bytearray(zipped(path, ("a.npy", FOUR)).read_bytes())
    raw[6] |= 1  # in the local header ...
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # ... and in the directory
    path.write_bytes(raw)
    return path


def wrong_sum(path: Path) -> Path:
    raw = zipped(path, ("a.npy", FOUR), how=zipfile.ZIP_STORED).read_bytes()
    path.write_bytes(raw.replace(FOUR, FOUR[:-1] + b"!"))
    return path


def damaged_name(path: Path) -> Path:
    """A name that nobody may call, but only because a bit fell over: that is damage, not an attack."""
    member = npy(np.array({"a": np.arange(3)}, dtype=object))
    raw = zipped(path, ("a.npy", member), how=zipfile.ZIP_STORED).read_bytes()
    path.write_bytes(raw.replace(b"_reconstruct", b"_reconstrucu"))
    return path


def shortened(path: Path) -> Path:
    raw = zipped(path, ("a.npy", FOUR)).read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    return path


def bomb(path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed, packed.open("a.npy", "w") as stream:
        for _ in range(120):
            stream.write(bytes(1 << 20))
    return path


def lying_bomb(path: Path) -> Path:
    """It says that it is small, and unpacks to more."""
    raw = bytearray(bomb(path).read_bytes())
    size = (120 << 20).to_bytes(4, "little")
    assert size in raw
    path.write_bytes(raw.replace(size, (1000).to_bytes(4, "little")))
    return path


def header(text: str) -> bytes:
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded.encode()


ARCHIVES = {
    "encrypted": (encrypted, "was refused: 'a.npy' in it is encrypted"),
    "wrong check sum": (wrong_sum, "not a whole .npz file .Bad CRC-32 for file 'a.npy'"),
    "damaged name": (damaged_name, "not a whole .npz file .Bad CRC-32 for file 'a.npy'"),
    "shortened": (shortened, "not a whole .npz file"),
    "empty file": (lambda path: (path.write_bytes(b""), path)[1], "not a whole .npz file"),
    "a bomb": (bomb, "was refused: its 0.1 MB would unpack to 126 MB"),
    "a bomb that lies": (lying_bomb, "not a whole .npz file|cannot be read"),
    "lzma": (lambda path: zipped(path, ("a.npy", FOUR), how=zipfile.ZIP_LZMA), "packed as .npz files never are"),
    "a folder": (lambda path: zipped(path, ("a/", b"")), "cannot be read"),
    "no array": (lambda path: zipped(path, ("a.npy", b"text")), "cannot be read"),
    "a format of tomorrow": (lambda path: zipped(path, ("a.npy", FOUR[:6] + b"\x09" + FOUR[7:])), "version .9, 0. of"),
    "records": (lambda path: zipped(path, ("a.npy", npy(np.zeros(3, [("b", "f4")])))), "an array of .*'b'"),
    "records of objects": (
        lambda path: zipped(path, ("a.npy", header("{'descr': [('b', '|O')], 'fortran_order': False, 'shape': ()}"))),
        "an array of .*'b'",
    ),
    "dates": (lambda path: zipped(path, ("a.npy", npy(np.zeros(3, "M8[s]")))), "an array of datetime64"),
    "a huge shape": (
        lambda path: zipped(path, ("a.npy", header("{'descr': '<f8', 'fortran_order': False, 'shape': (10**12,)}"))),
        "cannot be read",
    ),
    "a huger shape": (
        lambda path: zipped(
            path, ("a.npy", header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**12},)}}"))
        ),
        "not have the size that its header states",
    ),
    "code for a header": (
        lambda path: zipped(path, ("a.npy", header("__import__('os').system('true')"))),
        "cannot be read",
    ),
    "signs for a header": (lambda path: zipped(path, ("a.npy", header("-" * 9_000 + "1"))), "cannot be read|memory"),
    "brackets for a header": (lambda path: zipped(path, ("a.npy", header("[" * 9_000))), "cannot be read|memory"),
}


@pytest.mark.parametrize(("make", "message"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_a_spoilt_archive_is_one_clear_error(tmp_path, make, message):
    path = make(tmp_path / "evil.npz")
    tracemalloc.start()
    try:
        with pytest.raises(BenchError, match=rf"evil\.npz.*({message})") as caught:
            read_npz(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50e6
    assert len(str(caught.value)) < 500


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name_are_refused(tmp_path):
    for second in ("a.npy", "a"):
        with pytest.raises(BenchError, match="was refused: it holds two arrays with the same name"):
            read_npz(zipped(tmp_path / "two.npz", ("a.npy", FOUR), (second, FOUR)))


@pytest.mark.parametrize("name", ["../../a", "/etc/a", "b/a", "a.b"])
def test_the_name_of_an_array_is_a_name_and_no_place(tmp_path, name):
    content = read_npz(zipped(tmp_path / "a.npz", (f"{name}.npy", FOUR)))
    assert list(content) == [name]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=">f4").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([True, False]),
        np.array(["é", "ab"]),
        np.array(3.5),
        np.zeros((0, 17)),
    ],
    ids=["big endian", "fortran", "truth", "text", "0-d", "empty"],
)
def test_plain_arrays_of_every_version_come_back(tmp_path, values, version):
    read_back = read_npz(zipped(tmp_path / "a.npz", ("a.npy", npy(values, version))))["a"]
    np.testing.assert_array_equal(read_back, values)
    assert read_back.dtype == values.dtype
    assert read_back.shape == values.shape
