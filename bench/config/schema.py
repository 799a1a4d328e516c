"""What a benchmark is: protocol, methods, recipes and sweeps as typed, frozen objects."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

NAME = r"^\w[\w.-]*$"  # names of benchmarks and methods are parts of file names and keys

Count = Annotated[int, Field(ge=1, strict=True)]  # a whole number of at least 1; true is not one

Momentum = Annotated[float, Field(gt=0, le=1)]

Averaging = Literal["actions", "frames"]

SOURCES = ("dataset", "keypoints", "train", "test")  # keys of a protocol that name its data


class Strict(BaseModel):
    """Refuses unknown keys, and is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(Strict):
    """A data set, and the kind of its 2D keypoints."""

    dataset: str
    keypoints: str  # gt, or the detector's name


class Protocol(Strict):
    """What is measured and how. Every field is part of a run's identity.

    A file states `dataset` and `keypoints`, or `train` and `test` where the two differ; code reads `trained_on` and
    `tested_on`.
    """

    dataset: str | None = None
    keypoints: str | None = None  # where the 2D comes from: gt, or the detector's name
    train: Source | None = None
    test: Source | None = None
    frames: Count  # receptive field of the methods that do not state their own
    train_subjects: tuple[str, ...] = Field(min_length=1)
    validation_subjects: tuple[str, ...] = ()  # training subjects held out to choose an epoch; never trained on
    test_subjects: tuple[str, ...] = Field(min_length=1)
    test_videos: Count | None = None  # number of videos in the whole test set; no table shows a run on fewer
    accounting: Literal["shared", "as-published"] = (
        "shared"  # every test frame once, the root zeroed; bench.config.accounting
    )
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
        """Leave out the unused one of the two ways to state the data, so that a run's identity names each fact once."""
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
        """Training subjects without those held out for validation: the ones whose data make gradients."""
        return tuple(subject for subject in self.train_subjects if subject not in self.validation_subjects)


class Recipe(Strict):
    """How one method is trained on one protocol. Every field is part of a run's identity."""

    model_config = ConfigDict(allow_inf_nan=False)

    epochs: Count = 200
    batch_windows: Count = 64  # windows, not frames
    window_stride: Count | None = None  # frames between training windows; default: the method's own
    window_layout: Literal["tail", "centred"] = "tail"  # where windows lie in a video whose length they do not divide
    drop_last: bool = False  # leave out the last batch of an epoch if it is not full
    flip: bool = True  # also train on the mirror image of every window
    optimizer: Literal["adamw", "adam-amsgrad"] = "adamw"
    learning_rate: float = Field(4e-4, gt=0)
    learning_rate_decay: float = Field(0.99, gt=0, le=1)  # factor per epoch
    large_decay_every: Count | None = None  # epochs; every so many, `large_decay` replaces that factor
    large_decay: float = Field(0.5, gt=0, le=1)
    weight_decay: float = Field(0.1, ge=0)  # on every parameter
    gradient_clip: float | None = Field(None, gt=0)  # largest gradient norm; default: no clipping
    # Momentum of every batch norm: in the first epoch, and what it would reach after the last, by a constant factor
    batch_norm_momentum: tuple[Momentum, Momentum] | None = None
    # Windows whose activations are held at a time; default: all of a batch, fewer where a GPU's memory is too small
    micro_batch: Count | None = None
    checkpoint_activations: bool = False  # hold inputs of transformer blocks, and compute the rest again for gradients
    compile: bool = False  # compile networks before training, which takes minutes
    precision: Literal["auto", "float32"] = "auto"  # auto: bfloat16 on a GPU that has it, float32 elsewhere
    keep: Literal["last", "best-validation", "best-test"] = "last"  # the weights that are tested
    as_published: bool = False  # repeat what is unsound in the published code (docs/reference/methods.md)

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
                raise ValueError(f"model.{key} cannot be set: it follows from the protocol and the data set")
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
    stages: dict[Annotated[str, Field(pattern=NAME)], Stage] = {}  # trained before it, in order; inherit its `recipe`

    @model_validator(mode="after")
    def _stages_have_no_test(self) -> Self:
        for name, stage in self.stages.items():
            if stage.recipe.keep != "last":
                raise ValueError(f"stages.{name}.recipe.keep must be last: poses are validated in the final stage only")
        return self


class Sweep(Strict):
    """One setting at several values: exactly one of those below `methods`. Not part of a run's identity."""

    methods: tuple[str, ...] = ()  # keys of the benchmark's methods; default: all that have the setting
    noise_half_widths: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = None  # std, on the 2D
    joint_drop: tuple[Annotated[float, Field(ge=0, le=1)], ...] | None = None  # probability that a keypoint is missing
    sampling_steps: tuple[Count, ...] | None = None  # passes of the sampler
    hypotheses: tuple[Count, ...] | None = None  # samples per window
    frames: tuple[Count, ...] | None = None  # receptive field: trains once per value

    @property
    def knob(self) -> str:
        """The setting that is changed."""
        return next(knob for knob in KNOBS if getattr(self, knob) is not None)

    @property
    def values(self) -> tuple[float, ...]:
        """The values that it is set to, in order."""
        values: tuple[float, ...] = getattr(self, self.knob)
        return values

    @model_validator(mode="after")
    def _one_knob_is_turned(self) -> Sweep:
        stated = [knob for knob in KNOBS if getattr(self, knob) is not None]
        if len(stated) != 1:
            raise ValueError(f"state exactly one of {', '.join(KNOBS)}; found {', '.join(stated) or 'none of them'}")
        if list(self.values) != sorted(set(self.values)) or not self.values:
            raise ValueError(f"{self.knob} must hold ascending values without repetition, found {list(self.values)}")
        return self


KNOBS = tuple(key for key in Sweep.model_fields if key != "methods")


class Benchmark(Strict):
    """One file of `configs/`: a protocol, the methods compared on it, and sweeps over one setting each."""

    name: str = Field(pattern=NAME)
    title: str
    protocol: Protocol
    methods: dict[Annotated[str, Field(pattern=NAME)], MethodEntry] = Field(min_length=1)
    sweeps: dict[Annotated[str, Field(pattern=NAME)], Sweep] = {}

    _as_filed: Benchmark | None = PrivateAttr(None)

    @property
    def as_filed(self) -> Benchmark:
        """The benchmark as its file states it, without changes like `--set recipe.epochs=5`."""
        return self._as_filed or self

    def beside(self, as_filed: Benchmark) -> Benchmark:
        """The same benchmark, with `as_filed` set."""
        copy = self.model_copy()
        copy._as_filed = as_filed
        return copy

    def registered(self, method: str) -> str:
        """The registered name of one of the benchmark's methods."""
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


def stated(content: BaseModel) -> dict[str, Any]:
    """The values that differ from the defaults, as plain data: a new optional field changes no identity."""
    return content.model_dump(mode="json", exclude_defaults=True)


def identity(content: Any) -> str:
    """SHA-256 of anything that JSON can hold; the order of keys does not matter."""
    if isinstance(content, BaseModel):
        content = content.model_dump(mode="json")
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()
