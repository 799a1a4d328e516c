"""The registry: methods by name, ours and a stranger's alike, through the entry-point group `bench.methods`."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.errors import BenchError, unknown

if TYPE_CHECKING:
    from bench.method import Method

GROUP = "bench.methods"
M = TypeVar("M", bound="type[Method]")

_registered: dict[str, type[Method]] = {}


def register(cls: M) -> M:
    """Make a method known to this process under `cls.name`; installed packages use the entry-point group instead.

    Usable as a decorator. Raises ValueError if the class has no name.
    """
    if not getattr(cls, "name", ""):
        raise ValueError(f"{cls.__name__} needs a class attribute `name` to be registered under")
    _registered[cls.name] = cls
    return cls


def methods() -> list[str]:
    """Names of all methods that can be built, sorted. Imports none of them."""
    return sorted({point.name for point in entry_points(group=GROUP)} | set(_registered))


def method_class(name: str) -> type[Method]:
    """The class behind a name; its module is imported here. Raises BenchError for a name that is not known."""
    if name in _registered:
        return _registered[name]
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise unknown("method", name, methods())
    loaded: type[Method] = points[name].load()
    return loaded


def method_and_stage(name: str) -> tuple[str, str]:
    """`METHOD-STAGE` taken apart, ("pstmo", "pretrain"); a method's own name has no stage, ("pstmo", "").

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
    Raises BenchError for an unknown method or hyper-parameter, or one whose value does not fit.
    """
    cls = method_class(name)
    _refuse_unknown(name, cls, hyperparameters)
    return _built(name, partial(cls, frames=frames, joints=joints, **hyperparameters))


def build_stage(method: Method, stage: str, **hyperparameters: Any) -> Method:
    """What is trained before a method in one of its stages, freshly initialised.

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
    try:
        return make()
    except (ValueError, TypeError, ArithmeticError, RuntimeError) as error:  # the last two: torch, of impossible sizes
        raise BenchError(f"{name}: {error}") from error


def code_version(name: str) -> str:
    """SHA-256 of the code that a method is made of: its module and what that imports from the same packages.

    Taken over syntax trees without docstrings, so that comments and layout do not make a run look new.
    """
    cls = method_class(name)
    packages = {cls.__module__.partition(".")[0], "baselines", "diff3dhpe"}
    digest = hashlib.sha256()
    for module, source in sorted(_reachable(cls.__module__, packages).items()):
        digest.update(f"{module}\n{_bare(source)}\n".encode())
    return digest.hexdigest()


def _reachable(module: str, packages: set[str]) -> dict[str, str]:
    """Source texts of a module and of all it imports, directly or not, from `packages`."""
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] not in packages:
            continue
        path = _source_file(name)
        if path is None:
            continue
        found[name] = path.read_text(encoding="utf-8")
        waiting.extend(_imports(ast.parse(found[name]), name, is_package=path.name == "__init__.py"))
    return found


def _source_file(module: str) -> Path | None:
    if module == "__main__" or module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
    else:
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            return None  # `from package.module import name` offers package.module.name too, which is no module
        file = spec.origin if spec else None
    return Path(file) if file and file.endswith(".py") and Path(file).is_file() else None


def _imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: None if is_package and node.level == 1 else -node.level + is_package]
                base = ".".join([*parents, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _bare(source: str) -> str:
    """A source text as its syntax tree, docstrings removed."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)
