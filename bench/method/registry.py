"""The registry: methods by name, from this and other packages, through the entry-point group `bench.methods`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from bench.method.code import code_digest
from bench.system.entry_points import declared, loaded
from bench.system.errors import BenchError, unknown

if TYPE_CHECKING:
    from bench.method.base import Method

GROUP = "bench.methods"
M = TypeVar("M", bound="type[Method]")

_registered: dict[str, type[Method]] = {}


def register(cls: M) -> M:
    """Make a method known to this process under `cls.name`; installed packages use the entry-point group instead.

    Usable as a decorator. Raises ValueError if it is not a subclass of Method or has no name.
    """
    if not _is_method(cls):
        raise ValueError(f"{cls!r} is not a subclass of bench.Method")
    if not getattr(cls, "name", ""):
        raise ValueError(f"{cls.__name__} needs a class attribute `name` to be registered under")
    _registered[cls.name] = cls
    return cls


def registered_here(name: str) -> type[Method] | None:
    """The class that `register` was called with under a name; None if there is none, as for an entry point."""
    return _registered.get(name)


def methods() -> list[str]:
    """Names of all methods that can be built, sorted. Imports none of them."""
    return sorted({*declared(GROUP), *_registered})


def method_class(name: str) -> type[Method]:
    """The class behind a name; its module is imported here.

    Raises BenchError for a name that is not known or that two packages claim, and for an entry point that does not lead
    to a subclass of Method with that name.
    """
    if name in _registered:
        return _registered[name]
    if name not in methods():
        raise unknown("method", name, methods())
    found, where = loaded(GROUP, name, "method")
    if not _is_method(found):
        raise BenchError(f"method {name!r}: {where} is not a subclass of bench.Method, found {found!r}")
    cls: type[Method] = found
    if getattr(cls, "name", "") != name:
        raise BenchError(
            f"method {name!r}: {where} needs the class attribute `name = {name!r}`, like its entry point; found "
            f"{getattr(cls, 'name', None)!r}"
        )
    return cls


def method_and_stage(name: str) -> tuple[str, str]:
    """`METHOD-STAGE` split in two, ("pstmo", "pretrain"); a method's own name has no stage, ("pstmo", "").

    Raises BenchError if there is no such method or stage.
    """
    method, _, stage = name.rpartition("-")
    if name in methods() or method not in methods():
        method_class(name)
        return name, ""
    if stage not in (stages := method_class(method).stages):
        raise unknown(f"stage of {method}", stage, stages)
    return method, stage


def trained_class(name: str) -> type[Method]:
    """The class behind `METHOD`, or behind `METHOD-STAGE`: what one of its earlier stages trains.

    Raises BenchError for a name that is not known.
    """
    method, stage = method_and_stage(name)
    return method_class(method).stages[stage] if stage else method_class(method)


def construct(name: str, arguments: Mapping[str, Any]) -> Method:
    """`METHOD` or `METHOD-STAGE`, called with `arguments`: hyper-parameters, frames and joints.

    Raises BenchError for an unknown method, stage or hyper-parameter, or one whose value does not fit.
    """
    cls = trained_class(name)
    _refuse_unknown(name, cls, {key: arguments[key] for key in arguments if key not in ("frames", "joints")})
    return _built(name, partial(cls, **arguments))


def build(name: str, *, frames: int, joints: int = 17, **hyperparameters: Any) -> Method:
    """A freshly initialised method.

    frames: receptive field. joints: of the skeleton. Hyper-parameters that all sized methods share: dim, depth, heads.
    Raises BenchError for an unknown method or hyper-parameter, one whose value does not fit, and a method that does not
    say which frames it reads.
    """
    cls = method_class(name)
    _refuse_unknown(name, cls, hyperparameters)
    method = _built(name, partial(cls, frames=frames, joints=joints, **hyperparameters))
    if method.window.frames != frames:
        raise BenchError(f"{name}: self.window has {method.window.frames} frames, but was built for {frames}")
    return method


def build_stage(method: Method, stage: str, **hyperparameters: Any) -> Method:
    """The module that a stage of a method trains, freshly initialised.

    Raises BenchError for a stage that the method does not have, and as `build`.
    """
    if stage not in method.stages:
        raise unknown(f"stage of {method.name}", stage, method.stages)
    name = f"{method.name}, stage {stage}"
    _refuse_unknown(name, method.stages[stage], hyperparameters)
    return _built(name, partial(method.stage, stage, **hyperparameters))


def _refuse_unknown(name: str, cls: type[Method], hyperparameters: Mapping[str, Any]) -> None:
    accepted = inspect.signature(cls).parameters.values()
    known = [one.name for one in accepted if one.kind is not one.VAR_KEYWORD and one.name not in ("frames", "joints")]
    for key in hyperparameters:
        if key not in known and not any(one.kind is one.VAR_KEYWORD for one in accepted):
            raise unknown(f"hyper-parameter of {name}", key, known)


def _built(name: str, make: Callable[[], Method]) -> Method:
    """The method that `make` returns. Its errors become BenchErrors, as the arguments are the user's."""
    from bench.data.batch import Window

    try:
        method = make()
    # RuntimeError: torch, for impossible sizes. AttributeError: layers set before super().__init__().
    except (ValueError, TypeError, ArithmeticError, RuntimeError, AttributeError) as error:
        raise BenchError(f"{name}: {error}") from error
    window = getattr(method, "window", None)
    if not isinstance(window, Window):
        raise BenchError(
            f"{name}: {type(method).__name__}.__init__ must set self.window, the frames that the method reads and "
            f"answers for, like bench.Window(frames); found {window!r}"
        )
    return method


def code_version(name: str) -> str:
    """SHA-256 of the code that a method is made of: its module and what that imports from the same packages.

    As `bench.method.code.code_digest`. Raises BenchError if the class is in no file, as in a notebook.
    """
    cls = method_class(name)
    digest = code_digest(cls.__module__, {cls.__module__.partition(".")[0], "baselines", "diff3dhpe"} - {"bench"})
    if digest is None:
        raise BenchError(
            f"{name}: the code of {cls.__name__} is in no file, so a finished run could not be told from one with "
            "other code; move the class to a .py file and import it from there"
        )
    return digest


def _is_method(found: Any) -> bool:
    from bench.method.base import Method

    return isinstance(found, type) and issubclass(found, Method)
