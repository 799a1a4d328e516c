"""Benchmarks read from YAML as typed, frozen objects. Errors name the file, the key and what was expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    ValidationError,
)

from bench.config.schema import Benchmark, MethodEntry, Stage, Sweep
from bench.system import paths
from bench.system.errors import BenchError


def benchmark_names() -> list[str]:
    """The names of the benchmarks in `configs/`, sorted."""
    return sorted(path.stem for path in paths.configs().glob("*.yaml"))


def load_benchmark(name: str | Path, changes: Iterable[str] = ()) -> Benchmark:
    """Read a benchmark by name (`h36m-cpn-243`) or by path.

    changes: `key=value` strings that override the file. A key is a dotted path (`protocol.frames=27`,
    `methods.mixste.recipe.epochs=5`). One that starts with `recipe.` or `model.` changes every method and stage; a
    `model.` key only those that already state that hyper-parameter. Raises BenchError for a file, key or value that is
    not valid.
    """
    path = find(name)
    if changes := tuple(changes):
        return _validated(path, changes).beside(_validated(path))
    return _validated(path)


def _validated(path: Path, changes: Iterable[str] = ()) -> Benchmark:
    tree = _read_yaml(path)
    _refuse_unknown(tree, Benchmark, path, "")
    if "name" in tree:
        raise BenchError(f"{paths.shown(path)}: remove the key name; a benchmark is named by its file")
    entries = tree.get("methods")
    if isinstance(entries, dict):
        tree["methods"] = {method: _extended(entry, path, method) for method, entry in entries.items()}
    sweeps = tree.get("sweeps")
    for sweep, stated in sweeps.items() if isinstance(sweeps, dict) else ():
        _refuse_unknown(stated if isinstance(stated, dict) else {}, Sweep, path, f"sweeps.{sweep}.")
    for change in changes:
        _apply(tree, change)
    for entry in tree["methods"].values() if isinstance(tree.get("methods"), dict) else ():
        _inherit_recipe(entry)
    try:
        return Benchmark.model_validate({"name": path.stem, **tree})
    except ValidationError as error:
        raise BenchError("\n".join(_explain(path, item) for item in error.errors())) from None


def find(name: str | Path) -> Path:
    """The file of a benchmark, by name or path. Raises BenchError with the known names if there is none."""
    for path in (Path(name), paths.configs() / f"{name}.yaml"):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path
    near = difflib.get_close_matches(str(name), benchmark_names(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BenchError(f"No benchmark {str(name)!r}.{hint} Known: {', '.join(benchmark_names())}")


def _extended(stated: Any, path: Path, method: str) -> dict[str, Any]:
    """A method's entry merged over the file that its `extends:` names, relative to the benchmark's folder."""
    if not isinstance(stated, dict | None):  # `mean_pose:` with nothing after it is None
        raise BenchError(f"{paths.shown(path)}: methods.{method} must hold keys like model: and recipe:")
    entry: dict[str, Any] = dict(stated or {})
    base_name = entry.pop("extends", None)
    entry = _parts(entry, path, f"methods.{method}.")
    if base_name is None:
        return entry
    base_path = path.parent / str(base_name)
    if not base_path.is_file():
        raise BenchError(f"{paths.shown(path)}: methods.{method}.extends: {base_name} is not beside the benchmark")
    base = _parts(_read_yaml(base_path), base_path, "")
    whole = {**base, **entry, **_merged(base, entry)}
    if entry.get("stages") != {}:  # an empty mapping drops the stages of the base
        stages = {**base.get("stages", {}), **entry.get("stages", {})}
        known = base.get("stages", {})
        whole["stages"] = {
            name: _merged(known[name], stage) if name in known else stage for name, stage in stages.items()
        }
    return whole


def _merged(base: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    """`model` and `recipe` of both, key by key; what is stated wins."""
    return {part: {**base[part], **stated[part]} for part in ("model", "recipe")}


def _parts(stated: dict[str, Any], path: Path, prefix: str, kind: type[BaseModel] = MethodEntry) -> dict[str, Any]:
    """An entry or stage with its keys checked, and an empty `model` and `recipe` where none is stated."""
    _refuse_unknown(stated, kind, path, prefix)
    whole = {**stated, **{part: stated.get(part) or {} for part in ("model", "recipe")}}
    for part in ("model", "recipe", "stages"):
        if not isinstance(whole.get(part, {}), dict):
            raise BenchError(f"{paths.shown(path)}: {prefix}{part} must hold keys and values, found {whole[part]!r}")
    for name, stage in whole.get("stages", {}).items():
        if not isinstance(stage, dict | None):
            raise BenchError(f"{paths.shown(path)}: {prefix}stages.{name} must hold keys like model: and recipe:")
        whole["stages"][name] = _parts(stage or {}, path, f"{prefix}stages.{name}.", Stage)
    return whole


def _inherit_recipe(entry: dict[str, Any]) -> None:
    """Give every stage of an entry the keys of the entry's recipe that the stage does not state; `keep` excepted."""
    inherited = {key: value for key, value in entry.get("recipe", {}).items() if key != "keep"}
    for stage in entry.get("stages", {}).values():
        stage["recipe"] = {**inherited, **stage["recipe"]}


class _Rules(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """YAML in which 1e-3 is a number (in YAML 1.1, which PyYAML reads, it is text) and a repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is given twice", key.start_mark
                )
            seen.add(key.value)
        content: dict[Any, Any] = super().construct_mapping(node, deep)
        return content


_Rules.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


class _Explaining(_Rules, yaml.SafeLoader):
    """Its errors show the line."""


class _Quick(_Rules, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """In C where PyYAML has it, many times faster."""


def _parse(text: str) -> Any:
    try:
        return yaml.load(text, _Quick)
    except yaml.YAMLError:
        return yaml.load(text, _Explaining)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = _parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BenchError(f"{paths.shown(path)} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise BenchError(f"{paths.shown(path)} must hold keys like title: and protocol:")
    return tree


def _refuse_unknown(tree: Mapping[str, Any], model: type[BaseModel], path: Path, prefix: str) -> None:
    """Raise BenchError for the first key that the model does not have, with the nearest one that it has."""
    for key, value in tree.items():
        if key not in model.model_fields:
            near = difflib.get_close_matches(str(key), model.model_fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(model.model_fields)}"
            raise BenchError(f"{paths.shown(path)}: {prefix}{key} is not known; {hint}")
        inner = _model_of(model.model_fields[key].annotation)
        if inner is not None and isinstance(value, dict):
            _refuse_unknown(value, inner, path, f"{prefix}{key}.")


def _model_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, UnionType):
        return next((found for part in get_args(annotation) if (found := _model_of(part))), None)
    return None


def key_and_value(change: str, example: str = "recipe.epochs=5") -> tuple[str, Any]:
    """Key and value of a `--set KEY=VALUE`, the value as YAML reads it. Raises BenchError, with the example."""
    key, equals, text = change.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise BenchError(f"{change!r} is not of the form key=value, like {example}")
    try:
        return key, _parse(text)
    except yaml.YAMLError:
        raise BenchError(f"{change!r}: {text!r} is not a YAML value") from None


def _apply(tree: dict[str, Any], change: str) -> None:
    key, value = key_and_value(change)
    steps = key.split(".")
    found = tree.get("methods")
    methods: dict[str, Any] = found if isinstance(found, dict) else {}
    if steps[0] in ("recipe", "model"):
        targets = []
        for name, entry in methods.items():
            if steps[0] == "recipe" or steps[-1] in entry["model"]:
                targets.append(["methods", name, *steps])
            for stage, content in entry.get("stages", {}).items():
                if steps[-1] in content[steps[0]]:  # a stage inherits the keys that it does not state
                    targets.append(["methods", name, "stages", stage, *steps])
        if steps[0] == "model" and not targets:
            raise BenchError(f"{change!r}: no method of this benchmark states the hyper-parameter {steps[-1]!r}")
    else:
        targets = [steps]
    for target in targets:
        _set(tree, target, value, change)


def _set(tree: dict[str, Any], steps: list[str], value: Any, change: str) -> None:
    model: type[BaseModel] | None = Benchmark
    node = tree
    for depth, step in enumerate(steps):
        if model is not None:
            _refuse_unknown({step: None}, model, Path(f"--set {change}"), ".".join([*steps[:depth], ""]))
            model = _model_of(model.model_fields[step].annotation)
            if steps[: depth + 1] == ["methods"]:
                _check_method(tree, steps, value, change)
        elif steps[:depth] == ["methods"]:
            model = MethodEntry
        elif depth == 3 and steps[2] == "stages":
            model = Stage
        if depth == len(steps) - 1:
            node[step] = value
            return
        child = node.get(step)
        node[step] = dict(child) if isinstance(child, dict) else {}
        node = node[step]


def _check_method(tree: Mapping[str, Any], steps: list[str], value: Any, change: str) -> None:
    methods = tree.get("methods")
    known = methods if isinstance(methods, dict) else {}
    if len(steps) == 3 and steps[1] in known and steps[2] == "stages" and value == {}:
        return  # drops all stages, as in a file
    if len(steps) < 3 or steps[1] not in known or (len(steps) < 4 and steps[2] in ("model", "recipe", "stages")):
        names = ", ".join(known)
        raise BenchError(f"{change!r}: expected methods.NAME.model.KEY or methods.NAME.recipe.KEY, NAME one of {names}")
    if steps[2] == "stages" and (len(steps) < 6 or steps[3] not in (known[steps[1]].get("stages") or {})):
        stages = ", ".join(known[steps[1]].get("stages") or {}) or "there are none"
        raise BenchError(f"{change!r}: expected methods.{steps[1]}.stages.STAGE.recipe.KEY, STAGE one of: {stages}")


def _explain(path: Path, item: Any) -> str:
    """An error of pydantic as one line."""
    key = ".".join(str(step) for step in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    found = "" if item["type"] in ("missing", "value_error") else f", found {item['input']!r}"
    return f"{paths.shown(path)}: {key + ': ' if key else ''}{message}{found}"
