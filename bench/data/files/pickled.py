"""Read pickled arrays as data: a small pickle interpreter for arrays, containers, numbers and strings only.

A pickle is a program. Python's own unpickler imports every name that it is given and lets the program allocate any
amount of memory; this one imports nothing, calls no function that the file names, and builds no more data than the file
itself holds. Opcodes: `pickletools` in Python's library. Files written by NumPy 1 and 2 under Python 2 and 3 (protocols
0 to 5) are supported.
"""

from __future__ import annotations

import math
import pickletools
import re
from pickle import UnpicklingError
from types import UnionType
from typing import IO, Any

import numpy as np

STEPS = 300_000  # Human3.6M's pickle has thirty thousand; a step of one byte can build an object of 100 bytes
OBJECT_ARRAYS = 2_000  # a pose file has at most one per sequence; nested ones are freed recursively, on the C stack
LONG_TEXT = 1_000  # characters: only the bytes of an array are longer, and no pickle refers to those twice
_MARK, _FORGOTTEN = object(), object()


def load(stream: IO[bytes], size: int) -> Any:
    """Read the pickle at the start of `stream`. size: bytes of the whole stream.

    Raises UnpicklingError, naming what was found, for a pickle of anything but arrays, dictionaries, lists, tuples,
    numbers and strings; ValueError, LookupError or TypeError for one that is damaged.
    """
    machine = _Machine(size)
    for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if step == STEPS:
            raise UnpicklingError(f"it takes more than {STEPS:,} steps to build")
        machine.take(opcode.name, argument)
    return machine.pop()


class _Name:
    """The name of a function or class in the pickle; it is never imported."""

    def __init__(self, module: str, name: str) -> None:
        package = re.sub(r"^numpy\.core\b", "numpy._core", module)
        self.full = f"{package}.{name}"
        if self.full not in _CALLS and self.full != _NDARRAY:
            raise UnpicklingError(f"it wants to run {module[:80]}.{name[:80]}")


class _Kind:
    """A dtype as a pickle builds it: first its letter and size, then its byte order."""

    def __init__(self, code: Any) -> None:
        if not re.fullmatch(r"[biufc]\d+|[SU][1-9]\d*|O8?", _text(code)):
            raise UnpicklingError(f"it holds an array of {_text(code)[:80]!r}, not of numbers, strings or objects")
        self.dtype = np.dtype(_text(code).replace("O8", "O"))


class _Machine:
    """The state of the interpreter: stack, marks and memo."""

    def __init__(self, size: int) -> None:
        self._stack: list[Any] = []
        self._memory: dict[int, Any] = {}
        self._object_arrays = 0
        self._room = 2 * size  # bytes: text may become bytes and then an array, so up to twice the file

    def pop(self) -> Any:
        return self._stack.pop()

    def take(self, opcode: str, argument: Any) -> None:
        """One step. argument: what `pickletools` decoded for it."""
        stack = self._stack
        if opcode in _IGNORED:
            return
        if opcode in _VALUES:
            stack.append(argument)
        elif opcode in _CONSTANTS:
            stack.append(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            stack.append(_EMPTY[opcode]())
        elif opcode in _PUT:
            long = isinstance(stack[-1], str) and len(stack[-1]) > LONG_TEXT
            place = len(self._memory) if argument is None else argument
            self._memory[place] = _FORGOTTEN if long else stack[-1]
        elif opcode in _GET:
            if self._memory[argument] is _FORGOTTEN:
                raise UnpicklingError("it repeats a long text")
            stack.append(self._memory[argument])
        elif opcode == "MARK":
            stack.append(_MARK)
        elif opcode in _TUPLES:
            count = _TUPLES[opcode]
            stack[len(stack) - count :] = [tuple(stack[len(stack) - count :])]
        elif opcode == "TUPLE":
            stack.append(tuple(self._marked()))
        elif opcode == "LIST":
            stack.append(self._marked())
        elif opcode == "DICT":
            items = self._marked()
            stack.append({})
            self._set(items)
        elif opcode in ("APPEND", "APPENDS"):
            items = [self.pop()] if opcode == "APPEND" else self._marked()
            _expected(list, stack[-1]).extend(items)
        elif opcode in ("SETITEM", "SETITEMS"):
            items = [self.pop(), self.pop()][::-1] if opcode == "SETITEM" else self._marked()
            self._set(items)
        elif opcode == "GLOBAL":
            stack.append(_Name(*argument.split(" ", 1)))
        elif opcode == "STACK_GLOBAL":
            name, module = self.pop(), self.pop()
            stack.append(_Name(_text(module), _text(name)))
        elif opcode == "REDUCE":
            arguments, name = self.pop(), self.pop()
            stack.append(self._call(_expected(_Name, name).full, _expected(tuple, arguments)))
        elif opcode == "BUILD":
            state = self.pop()
            self._set_state(stack[-1], _expected(tuple, state))
        else:
            raise UnpicklingError(f"it holds what no array needs ({opcode})")

    def _marked(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def _set(self, items: list[Any]) -> None:
        target = _expected(dict, self._stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | int):  # hashing a nested tuple may never end
                raise UnpicklingError(f"it holds a dictionary with a {type(key).__name__} for a key")
            if not (key.isprintable() and len(key) <= LONG_TEXT if isinstance(key, str) else abs(key) < 2**63):
                raise UnpicklingError("it holds a dictionary with a key that is not readable text")
            target[key] = value

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "numpy._core.multiarray._reconstruct":
            subtype, shape, _ = arguments
            if not isinstance(subtype, _Name) or subtype.full != _NDARRAY or shape != (0,):
                raise UnpicklingError("it holds an array of another class")
            return np.ndarray((0,), np.uint8)  # its state follows
        if name == "numpy._core.numeric._frombuffer":
            raw, kind, shape, order = arguments
            layout: Any = _text(order)
            return np.frombuffer(_bytes(raw), self._admitted(kind, shape)).reshape(shape, order=layout)
        if name == "numpy._core.multiarray.scalar":
            kind, raw = arguments
            return np.frombuffer(_bytes(raw), self._admitted(kind, ()))[0]
        if name == "numpy.dtype":
            return _Kind(arguments[0])
        if name == "_codecs.encode" and arguments[1:] in (("latin1",), ("latin-1",)):  # bytes, before protocol 3
            text = _text(arguments[0])
            self._fill(len(text))
            return _bytes(text)
        if name in ("builtins.bytes", "__builtin__.bytes") and not arguments:  # empty bytes, before protocol 3
            return b""
        raise UnpicklingError(f"it wants to call {name} with something else than an array")

    def _set_state(self, target: Any, state: tuple[Any, ...]) -> None:
        if isinstance(target, _Kind):
            if any(part is not None for part in state[2:5]):
                raise UnpicklingError("it holds an array of records, not of numbers, strings or objects")
            byte_order: Any = _text(state[1])
            target.dtype = target.dtype.newbyteorder(byte_order)
        elif type(target) is np.ndarray:
            version, shape, kind, fortran, raw = state
            dtype = self._admitted(kind, shape)
            content = _expected(list, raw) if dtype.hasobject else _bytes(raw)
            length = math.prod(shape) * (1 if dtype.hasobject else dtype.itemsize)
            if version != 1 or len(content) != length:
                raise ValueError(f"an array of shape {shape} is announced, but its data are missing")
            checked: Any = (1, shape, dtype, bool(fortran), content)
            target.__setstate__(checked)
        else:
            raise UnpicklingError(f"it wants to change a {type(target).__name__}")

    def _admitted(self, kind: Any, shape: Any) -> np.dtype[Any]:
        """The dtype of an array, after checking that the array fits into the memory limit."""
        if not all(type(length) is int and 0 <= length < 2**31 for length in _expected(tuple, shape)):
            raise ValueError("an array has an invalid shape")
        dtype: np.dtype[Any] = _expected(_Kind, kind).dtype
        self._fill(math.prod(shape) * dtype.itemsize)
        self._object_arrays += dtype.hasobject
        if self._object_arrays > OBJECT_ARRAYS:
            raise UnpicklingError(f"it holds more than {OBJECT_ARRAYS:,} arrays of objects")
        return dtype

    def _fill(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise UnpicklingError("it builds more data than the file holds")


def _expected(kind: type | UnionType, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"a pickle with a {type(value).__name__} where it cannot be")
    return value


def _text(value: Any) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(_expected(str, value))


def _bytes(value: Any) -> bytes | bytearray:
    return value.encode("latin1") if isinstance(value, str) else _expected(bytes | bytearray, value)


_NDARRAY = "numpy.ndarray"
_CALLS = frozenset(
    ("numpy._core.multiarray._reconstruct", "numpy._core.numeric._frombuffer", "numpy._core.multiarray.scalar",
     "numpy.dtype", "_codecs.encode", "builtins.bytes", "__builtin__.bytes")
)  # fmt: skip
_IGNORED = frozenset(("PROTO", "FRAME", "STOP"))
_VALUES = frozenset(
    ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
     "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
     "BINBYTES8", "BYTEARRAY8")
)  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUT = frozenset(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"))
_GET = frozenset(("GET", "BINGET", "LONG_BINGET"))
