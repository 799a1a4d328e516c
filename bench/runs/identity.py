"""What makes two runs the same: method, hyper-parameters, recipe, protocol, seed, data, and the method's code.

Settings that are at their defaults are left out, so that a new optional field changes no key. What cannot change a
number (device, threads, tracking) is not part of it. docs/decisions/run-identity.md says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bench.config.schema import Benchmark, identity, stated
from bench.method.registry import code_version, method_class
from bench.method.weights import Weights
from bench.training.loop import TRAINING_REVISION


class Keys(NamedTuple):
    """The identity of a run. shared: its key under accounting `shared`. stages: the keys of its earlier stages."""

    run: str
    shared: str
    stages: Mapping[str, str]


def keys(
    benchmark: Benchmark, name: str, seed: int, trained_on: str, tested_on: str, weights: Mapping[str, Weights]
) -> Keys:
    """The keys of one of the benchmark's methods with one seed.

    trained_on, tested_on: fingerprints of the data. weights: published ones, by method or METHOD-STAGE.
    """
    registered, protocol = benchmark.registered(name), stated(benchmark.protocol)
    common: dict[str, Any] = {
        "method": registered,
        "frames": benchmark.frames(name),
        "model": benchmark.methods[name].model,
        "seed": seed,
        "data": trained_on,
        "code": code_version(registered),
        "training": TRAINING_REVISION,
    }
    elsewhere = {"tested_on": tested_on} if benchmark.protocol.crosses else {}
    shared = {key: value for key, value in protocol.items() if key != "accounting"}
    measured = [{"protocol": one, **elsewhere} for one in (protocol, shared)]
    if name in weights:
        tested = [weights[name].origin.sha256, dict(weights[name].hyperparameters)]
        run, shared_run = (identity({**common, "weights": tested, **one}) for one in measured)
        return Keys(run, shared_run, {})
    before: list[tuple[str, Any]] = []
    stages = {}
    for stage, content in benchmark.methods[name].stages.items():
        taken = weights.get(f"{name}-{stage}")
        before.append((stage, taken.origin.sha256 if taken else stated(content)))
        stages[stage] = identity({**common, "stages": before, "subjects": benchmark.protocol.fitted_subjects})
    whole = {**common, "recipe": _recipe(benchmark, name), "stages": before}
    run, shared_run = (identity({**whole, **one}) for one in measured)
    return Keys(run, shared_run, stages)


def settings_of(benchmark: Benchmark, name: str) -> dict[str, Any]:
    """What a benchmark states for one of its methods: data, rules and training, without the accounting."""
    protocol = {key: value for key, value in stated(benchmark.protocol).items() if key != "accounting"}
    entry = stated(benchmark.methods[name]) | {"recipe": _recipe(benchmark, name), "frames": benchmark.frames(name)}
    return {"protocol": protocol, "method": benchmark.registered(name), **entry}


def _recipe(benchmark: Benchmark, name: str) -> dict[str, Any]:
    """The recipe of a method, empty for one that is not trained: no recipe changes it."""
    return stated(benchmark.methods[name].recipe) if method_class(benchmark.registered(name)).trainable else {}
