"""Benchmarks as typed, frozen configuration read from YAML. Errors name the file, the key and what was expected."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from bench import paths
from bench.errors import BenchError

NAME = r"^\w[\w.-]*$"  # names of benchmarks and methods are parts of file names and keys
Count = Annotated[int, Field(ge=1, strict=True)]  # a whole number of at least 1; true is not one
Momentum = Annotated[float, Field(gt=0, le=1)]
Averaging = Literal["actions", "frames"]
SOURCES = ("dataset", "keypoints", "train", "test")  # keys of a protocol that name its data


class Strict(BaseModel):
    """Unknown keys are refused and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Strict):
    """A data set, and where its 2D comes from."""

    dataset: str
    keypoints: str  # gt, or the detector's name


class Protocol(Strict):
    """What is measured and how. Every field is part of a run's identity.

    The data are `dataset` and `keypoints`, or `train` and `test` where these differ: read `trained_on` and `tested_on`.
    """

    dataset: str | None = None
    keypoints: str | None = None  # where the 2D comes from: gt, or the detector's name
    train: Source | None = None
    test: Source | None = None
    frames: Count  # receptive field of every method that does not state its own
    train_subjects: tuple[str, ...] = Field(min_length=1)
    validation_subjects: tuple[str, ...] = ()  # training subjects held out for choosing; never trained on
    test_subjects: tuple[str, ...] = Field(min_length=1)
    test_videos: Count | None = None  # of the whole test set; no table shows a run on fewer
    accounting: Literal["shared", "as-published"] = "shared"  # every test frame once, the root zeroed; bench.accounting
    averaging: Averaging = "actions"  # the headline: plain mean over actions, or over all scored frames
    flip_test: bool = True  # average with the prediction for the mirrored input

    @model_validator(mode="after")
    def _data_are_stated_once(self) -> Protocol:
        missing = [key for key in SOURCES if getattr(self, key) is None]
        if missing not in (["train", "test"], ["dataset", "keypoints"]):
            stated = ", ".join(key for key in SOURCES if key not in missing) or "none of them"
            raise ValueError(f"the data are dataset and keypoints, or else train and test; found {stated}")
        if self.crosses and self.train == self.test:
            raise ValueError("train and test are the same: state dataset and keypoints instead")
        return self

    @model_validator(mode="after")
    def _subjects_do_not_mix(self) -> Protocol:
        seen = set(self.train_subjects) & set(self.test_subjects)
        if seen and self.trained_on.dataset == self.tested_on.dataset:  # elsewhere the same name is another person
            raise ValueError(f"{', '.join(sorted(seen))} would be both trained and tested on")
        strangers = set(self.validation_subjects) - set(self.train_subjects)
        if strangers:
            raise ValueError(f"validation subject {', '.join(sorted(strangers))} is not a training subject")
        if set(self.validation_subjects) == set(self.train_subjects):
            raise ValueError("every training subject is held out for validation, none is left to train on")
        return self

    @model_serializer(mode="wrap")
    def _as_stated(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the way to state the data that was not taken: what identifies a run names each thing once."""
        return {key: value for key, value in fields(self).items() if key not in SOURCES or value is not None}

    @property
    def crosses(self) -> bool:
        """Whether the methods are tested on other data than they are trained on."""
        return self.train is not None

    @property
    def trained_on(self) -> Source:
        """The data that methods are trained on; validation subjects are of it too."""
        return self.train or self._both

    @property
    def tested_on(self) -> Source:
        """The data that methods are tested on."""
        return self.test or self._both

    @property
    def _both(self) -> Source:
        return Source.model_validate({"dataset": self.dataset, "keypoints": self.keypoints})

    @property
    def fitted_subjects(self) -> tuple[str, ...]:
        """The subjects that gradients see: training subjects less the ones held out for validation."""
        return tuple(subject for subject in self.train_subjects if subject not in self.validation_subjects)


class Recipe(Strict):
    """How one method is trained on one protocol. Every field is part of a run's identity."""

    model_config = ConfigDict(allow_inf_nan=False)

    epochs: Count = 200
    batch_windows: Count = 64  # windows, not frames
    window_stride: Count | None = None  # frames between training windows; default: the method's own
    window_layout: Literal["tail", "centred"] = "tail"  # where windows lie that do not fit the video
    drop_last: bool = False  # leave out the last batch of an epoch if it is not full
    flip: bool = True  # every window also mirrored
    optimizer: Literal["adamw", "adam-amsgrad"] = "adamw"
    learning_rate: float = Field(4e-4, gt=0)
    learning_rate_decay: float = Field(0.99, gt=0, le=1)  # factor after every epoch
    large_decay_every: Count | None = None  # epochs; after each such number of them, another factor
    large_decay: float = Field(0.5, gt=0, le=1)  # that factor
    weight_decay: float = Field(0.1, ge=0)  # on every parameter
    gradient_clip: float | None = Field(None, gt=0)  # largest gradient norm; default: no clipping
    # Of every batch norm: in the first epoch, and what it would reach after the last, falling by a constant factor
    batch_norm_momentum: tuple[Momentum, Momentum] | None = None
    precision: Literal["auto", "float32"] = "auto"  # auto: bfloat16 on a GPU that has it, float32 elsewhere
    keep: Literal["last", "best-validation", "best-test"] = "last"  # the weights that are tested
    as_published: bool = False  # bring back what is unsound in the published code (docs/methods.md)

    @model_validator(mode="after")
    def _centred_windows_do_not_overlap(self) -> Recipe:
        if self.window_layout == "centred" and self.window_stride is not None:
            raise ValueError("window_layout: centred lays windows end to end; leave window_stride out")
        return self

    @model_validator(mode="after")
    def _test_set_is_for_testing(self) -> Recipe:
        if self.keep == "best-test" and not self.as_published:
            raise ValueError("keep: best-test picks weights on the test set; only as_published: true may do that")
        return self


class Stage(Strict):
    """What is trained and how: hyper-parameters and a recipe."""

    model: dict[str, Any] = {}
    recipe: Recipe = Recipe()

    @model_validator(mode="after")
    def _hyperparameters_are_plain(self) -> Self:
        for key in ("frames", "joints"):
            if key in self.model:
                raise ValueError(f"model.{key} is not for a method to choose: it follows from protocol and data set")
        for key, value in self.model.items():
            try:
                identity(value)
            except (TypeError, ValueError):
                raise ValueError(
                    f"model.{key} must be made of finite numbers, text, true and false, found {value!r}"
                ) from None
        return self


class MethodEntry(Stage):
    """One line of a benchmark's table: a method, its hyper-parameters, its recipe, and what is trained before it."""

    method: str | None = Field(None, pattern=NAME)  # registered name; default: the key of this entry
    frames: Count | None = None  # receptive field; default: the protocol's
    stages: dict[Annotated[str, Field(pattern=NAME)], Stage] = {}  # trained before, in order; over the `recipe` above

    @model_validator(mode="after")
    def _stages_have_no_test(self) -> Self:
        for name, stage in self.stages.items():
            if stage.recipe.keep != "last":
                raise ValueError(f"stages.{name}.recipe.keep must be last: poses are validated in the final stage only")
        return self


class Sweep(Strict):
    """One setting at several values: exactly one of the knobs below. No part of a run's identity."""

    methods: tuple[str, ...] = ()  # keys of the benchmark's; default: all that have the knob
    noise_half_widths: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = None  # of the 2D, std
    joint_drop: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None  # probability that a keypoint is missing
    sampling_steps: tuple[Count, ...] | None = None  # passes of the sampler
    hypotheses: tuple[Count, ...] | None = None  # samples a window
    frames: tuple[Count, ...] | None = None  # receptive field: trains once a value

    @property
    def knob(self) -> str:
        """The setting that is changed."""
        return next(knob for knob in KNOBS if getattr(self, knob) is not None)

    @property
    def values(self) -> tuple[float, ...]:
        """What it is set to, one after the other."""
        values: tuple[float, ...] = getattr(self, self.knob)
        return values

    @model_validator(mode="after")
    def _one_knob_is_turned(self) -> Sweep:
        stated = [knob for knob in KNOBS if getattr(self, knob) is not None]
        if len(stated) != 1:
            raise ValueError(f"state exactly one of {', '.join(KNOBS)}; found {', '.join(stated) or 'none of them'}")
        if list(self.values) != sorted(set(self.values)) or not self.values:
            raise ValueError(f"{self.knob} must hold values that ascend, each once, found {list(self.values)}")
        return self


KNOBS = tuple(key for key in Sweep.model_fields if key != "methods")


class Benchmark(Strict):
    """One file of `configs/`: a protocol, the methods compared on it, and sweeps over one setting each."""

    name: str = Field(pattern=NAME)
    title: str
    protocol: Protocol
    methods: dict[Annotated[str, Field(pattern=NAME)], MethodEntry] = Field(min_length=1)
    sweeps: dict[Annotated[str, Field(pattern=NAME)], Sweep] = {}

    def registered(self, method: str) -> str:
        """The name in the registry of one of the benchmark's methods."""
        return self.methods[method].method or method

    def frames(self, method: str) -> int:
        """The receptive field of one of the benchmark's methods."""
        return self.methods[method].frames or self.protocol.frames

    @model_validator(mode="after")
    def _choosing_needs_something_to_choose_on(self) -> Benchmark:
        for method, entry in self.methods.items():
            if entry.recipe.keep == "best-validation" and not self.protocol.validation_subjects:
                raise ValueError(f"methods.{method} keeps best-validation, but protocol.validation_subjects is empty")
        return self

    @model_validator(mode="after")
    def _sweeps_are_over_its_methods(self) -> Benchmark:
        for name, sweep in self.sweeps.items():
            for method in sweep.methods:
                if method not in self.methods:
                    known = ", ".join(self.methods)
                    raise ValueError(f"sweeps.{name}.methods: {method!r} is not a method of this benchmark: {known}")
        return self


def identity(content: Any) -> str:
    """SHA-256 of anything JSON can hold, independent of key order and layout."""
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json")
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def benchmark_names() -> list[str]:
    """The benchmarks in `configs/`."""
    return sorted(path.stem for path in paths.configs().glob("*.yaml"))


def load_benchmark(name: str | Path, changes: Iterable[str] = ()) -> Benchmark:
    """Read a benchmark by name (`h36m-cpn-243`) or by path.

    changes: `key=value` strings over the file. The key is a dotted path (`protocol.frames=27`,
    `methods.mixste.recipe.epochs=5`); `recipe.` and `model.` alone mean those of every method and stage (a `model.`
    change only where the file already states that hyper-parameter). Raises BenchError for whatever does not fit.
    """
    path = find(name)
    tree = _read_yaml(path)
    _refuse_unknown(tree, Benchmark, path, "")
    if "name" in tree:
        raise BenchError(f"{paths.shown(path)}: name is not for the file to state: it is that of the file")
    entries = tree.get("methods")
    if isinstance(entries, dict):
        tree["methods"] = {method: _extended(entry, path, method) for method, entry in entries.items()}
    sweeps = tree.get("sweeps")
    for sweep, stated in sweeps.items() if isinstance(sweeps, dict) else ():
        _refuse_unknown(stated if isinstance(stated, dict) else {}, Sweep, path, f"sweeps.{sweep}.")
    for change in changes:
        _apply(tree, change)
    for entry in tree["methods"].values() if isinstance(tree.get("methods"), dict) else ():
        _lay_stages_over(entry)
    try:
        return Benchmark.model_validate({"name": path.stem, **tree})
    except ValidationError as error:
        raise BenchError("\n".join(_explain(path, item) for item in error.errors())) from None


def find(name: str | Path) -> Path:
    """The file of a benchmark. Raises BenchError with the known names if there is none."""
    for path in (Path(name), paths.configs() / f"{name}.yaml"):
        if path.suffix in (".yaml", ".yml") and path.is_file():
            return path
    near = difflib.get_close_matches(str(name), benchmark_names(), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise BenchError(f"No benchmark {str(name)!r}.{hint} Known: {', '.join(benchmark_names())}")


def _extended(stated: Any, path: Path, method: str) -> dict[str, Any]:
    """A method's entry laid over the defaults file that its `extends:` names (relative to the benchmark's folder)."""
    if not isinstance(stated, dict | None):  # `mean_pose:` with nothing behind it is None
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
    whole = {**base, **entry, **_laid_over(base, entry)}
    if entry.get("stages") != {}:  # an empty mapping says: none of them
        stages = {**base.get("stages", {}), **entry.get("stages", {})}
        known = base.get("stages", {})
        whole["stages"] = {
            name: _laid_over(known[name], stage) if name in known else stage for name, stage in stages.items()
        }
    return whole


def _laid_over(base: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, Any]:
    return {part: {**base[part], **stated[part]} for part in ("model", "recipe")}


def _parts(stated: dict[str, Any], path: Path, prefix: str, kind: type[BaseModel] = MethodEntry) -> dict[str, Any]:
    """An entry or a stage of one with every key known, `model` and `recipe` empty where nothing is stated."""
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


def _lay_stages_over(entry: dict[str, Any]) -> None:
    """Give every stage of an entry the recipe's keys that it does not state itself."""
    inherited = {key: value for key, value in entry.get("recipe", {}).items() if key != "keep"}
    for stage in entry.get("stages", {}).values():
        stage["recipe"] = {**inherited, **stage["recipe"]}


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number (PyYAML's is 1.1, where it is text) and no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(key.value)
        content: dict[Any, Any] = super().construct_mapping(node, deep)
        return content


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _parse(text: str) -> Any:
    return yaml.load(text, _Loader)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = _parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BenchError(f"{paths.shown(path)} is not valid YAML: {error}") from None
    if not isinstance(tree, dict):
        raise BenchError(f"{paths.shown(path)} must hold keys like title: and protocol:")
    return tree


def _refuse_unknown(tree: Mapping[str, Any], model: type[BaseModel], path: Path, prefix: str) -> None:
    """Name the first key that the model does not know, with the nearest one it does."""
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
    """What `--set KEY=VALUE` says, the value as YAML reads it. Raises BenchError, with the example, for other text."""
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
                if steps[-1] in content[steps[0]]:  # what a stage does not state it takes from the entry anyway
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
        return  # none of them, as in a file
    if len(steps) < 3 or steps[1] not in known or (len(steps) < 4 and steps[2] in ("model", "recipe", "stages")):
        names = ", ".join(known)
        raise BenchError(f"{change!r}: expected methods.NAME.model.KEY or methods.NAME.recipe.KEY, NAME one of {names}")
    if steps[2] == "stages" and (len(steps) < 6 or steps[3] not in (known[steps[1]].get("stages") or {})):
        stages = ", ".join(known[steps[1]].get("stages") or {}) or "there are none"
        raise BenchError(f"{change!r}: expected methods.{steps[1]}.stages.STAGE.recipe.KEY, STAGE one of: {stages}")


def _explain(path: Path, item: Any) -> str:
    """One line for one of pydantic's complaints."""
    key = ".".join(str(step) for step in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    found = "" if item["type"] in ("missing", "value_error") else f", found {item['input']!r}"
    return f"{paths.shown(path)}: {key + ': ' if key else ''}{message}{found}"
