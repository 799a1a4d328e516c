"""A digest of the code of a method: part of what identifies a run.

It is the same on every version of Python, and comments, docstrings and layout do not change it. Imports of `bench`
are left out: rooms of the suite may be renamed without making finished runs look new.

Imports only the standard library, so that any Python on a machine can compute it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import sys
from pathlib import Path


def code_digest(module: str, packages: set[str]) -> str | None:
    """SHA-256 of the code of a module and of all that it imports, directly or not, from `packages`.

    None if the module is in no file, as in a notebook: a change of it would go unnoticed.
    """
    sources = _reachable(module, packages)
    if module not in sources:
        return None
    digest = hashlib.sha256()
    for name, source in sorted(sources.items()):
        digest.update(f"{name}\n{_meaning(source)}\n".encode())
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
        waiting.extend(_imports(found[name], name, is_package=path.name == "__init__.py"))
    return found


def _source_file(module: str) -> Path | None:
    if module == "__main__" or module in sys.modules:
        file = getattr(sys.modules[module], "__file__", None)
    else:
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            return None  # of `from package.module import name`, package.module.name is tried too
        file = spec.origin if spec else None
    return Path(file) if file and file.endswith(".py") and Path(file).is_file() else None


@functools.cache  # many methods share the same few files
def _imports(source: str, module: str, is_package: bool) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")[: None if is_package and node.level == 1 else -node.level + is_package]
                base = ".".join([*parents, *([base] if base else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


@functools.cache
def _meaning(source: str) -> str:
    """A source text as its digest sees it."""
    return _spelt(_bare(source))


def _bare(source: str) -> ast.Module:
    """The syntax tree of a source text without docstrings and without imports of the suite."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
        for name in ("body", "orelse", "finalbody"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                setattr(node, name, [one for one in statements if not _imports_the_suite(one)])
    return tree


def _imports_the_suite(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return statement.level == 0 and (statement.module or "").partition(".")[0] == "bench"
    return isinstance(statement, ast.Import) and all(one.name.partition(".")[0] == "bench" for one in statement.names)


def _spelt(node: ast.AST) -> str:
    """A syntax tree as text. Fields that are None or empty are left out: newer versions of Python have more of them."""
    parts = []
    for name, value in ast.iter_fields(node):
        if value is None or value == [] or name == "kind":  # kind: of a constant, u"" or ""
            continue
        if isinstance(node, ast.JoinedStr):  # Python 3.12.1 ends a format like >{width} with an empty text
            value = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
        parts.append(f"{name}={_value(value)}")
    return f"{type(node).__name__}({', '.join(parts)})"


def _value(value: object) -> str:
    if isinstance(value, ast.AST):
        return _spelt(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)
