"""Configuration: what a benchmark file may say, what `--set` may change, and the words of every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from bench.config import Benchmark, Protocol, Recipe, benchmark_names, identity, load_benchmark
from bench.config.load import find
from bench.system import paths
from bench.system.errors import BenchError

TINY: dict[str, Any] = {
    "title": "Tiny",
    "protocol": {
        "dataset": "h36m",
        "keypoints": "gt",
        "frames": 9,
        "train_subjects": ["S1", "S5", "S8"],
        "validation_subjects": ["S8"],
        "test_subjects": ["S9"],
    },
    "methods": {
        "mean_pose": None,
        "mixste": {"model": {"dim": 16, "depth": 1}, "recipe": {"epochs": 3}},
        "diff3dhpe": {"model": {"dim": 32}},
    },
}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write(tmp_path)


def write(folder: Path, name: str = "tiny.yaml", **changes: Any) -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(TINY | changes), encoding="utf-8")
    return path


def protocol(**changes: Any) -> dict[str, Any]:
    return TINY["protocol"] | changes


def crossing(**changes: Any) -> dict[str, Any]:
    """Trained on Human3.6M, tested on MPI-INF-3DHP."""
    data = {"train": {"dataset": "h36m", "keypoints": "gt"}, "test": {"dataset": "3dhp", "keypoints": "gt"}}
    return (
        {key: value for key, value in TINY["protocol"].items() if key not in ("dataset", "keypoints")} | data | changes
    )


def refusal(path: Path | str, *changes: str) -> str:
    with pytest.raises(BenchError) as caught:
        load_benchmark(path, changes)
    return str(caught.value)


@pytest.mark.parametrize("name", benchmark_names())
def test_every_shipped_benchmark_is_read(name: str) -> None:
    benchmark = load_benchmark(name)
    assert benchmark.name == name
    assert {"mixste", "diff3dhpe"} <= set(benchmark.methods)
    assert not set(benchmark.protocol.train_subjects) & set(benchmark.protocol.test_subjects)
    assert not any(entry.recipe.as_published for entry in benchmark.methods.values())
    if name.startswith("h36m"):  # sizes as published
        assert str(benchmark.protocol.frames) in name
        published = {
            "videopose3d": (1024, None), "poseformer": (32, 4), "mixste": (512, 8), "pstmo": (256, 3),
            "pstmo-4-layers": (256, 4), "diff3dhpe": (512, 8),
        }  # fmt: skip
        for key, entry in benchmark.methods.items():
            assert (entry.model["dim"], entry.model.get("depth")) == published[key]


def test_the_benchmarks_of_the_issue_are_shipped() -> None:
    human36m = {
        f"h36m-{keypoints}-{frames}" for keypoints, frames in (("cpn", 243), ("cpn", 81), ("gt", 81), ("gt", 243))
    }
    assert {"demo", "cmu-gt-27", "cmu-det-27", "3dhp-gt"} | human36m <= set(benchmark_names())
    protocols = {name: load_benchmark(name).protocol for name in benchmark_names()}
    tested_on_3dhp = [name for name, one in protocols.items() if one.tested_on.dataset.startswith("3dhp")]
    assert [name for name, one in protocols.items() if one.averaging == "frames"] == tested_on_3dhp
    assert [name for name, one in protocols.items() if one.crosses] == ["h36m-to-3dhp-gt-81", "synthetic-to-cmu-gt-27"]


def test_the_two_kinds_of_labels_of_3dhp_differ_in_nothing_but_the_data_set() -> None:
    universal, measured = (load_benchmark(name) for name in ("3dhp-gt", "3dhp-annot3-gt"))
    assert measured.methods == universal.methods
    assert measured.protocol == universal.protocol.model_copy(update={"dataset": "3dhp-annot3"})


def test_a_file_is_read_as_it_says(tiny: Path) -> None:
    benchmark = load_benchmark(tiny)
    assert (benchmark.name, benchmark.title, benchmark.protocol.frames) == ("tiny", "Tiny", 9)
    assert benchmark.protocol.fitted_subjects == ("S1", "S5")
    assert list(benchmark.methods) == ["diff3dhpe", "mean_pose", "mixste"], "in the order of the file"
    assert benchmark.methods["mean_pose"].model == {}
    assert benchmark.methods["mixste"].recipe == Recipe(epochs=3)
    assert load_benchmark(str(tiny)) == benchmark


def test_nothing_changes_after_reading(tiny: Path) -> None:
    benchmark = load_benchmark(tiny)
    with pytest.raises(ValueError, match="frozen"):
        benchmark.protocol.frames = 27


# Names of benchmarks


def test_an_unknown_benchmark_is_answered_with_the_nearest_and_all_known() -> None:
    message = refusal("h36m-cpn-234")
    assert message.startswith("No benchmark 'h36m-cpn-234'. Did you mean 'h36m-cpn-243'? Known: ")
    assert all(name in message for name in benchmark_names())
    assert "Did you mean" not in refusal("zzz")


def test_a_benchmark_file_that_is_not_there_is_an_unknown_benchmark(tmp_path: Path) -> None:
    assert "No benchmark" in refusal(tmp_path / "nowhere.yaml")
    assert "No benchmark" in refusal(tmp_path)


def test_names_and_paths_are_found(tiny: Path) -> None:
    assert find("demo") == paths.configs() / "demo.yaml"
    assert find(tiny) == tiny


@pytest.mark.parametrize("name", ["my bench.yaml", ".hidden.yaml", "a,b.yaml"])
def test_a_name_that_no_record_may_carry_is_refused_before_training(tmp_path: Path, name: str) -> None:
    assert "name: " in refusal(write(tmp_path, name))


# What a file may not say


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"protocl": {}}, "protocl is not known; did you mean protocol?"),
        ({"zzz": 1}, "zzz is not known; known: name, title, protocol, methods"),
        ({"protocol": protocol(frame=3)}, "protocol.frame is not known; did you mean frames?"),
        ({"methods": {"mixste": {"recipes": {}}}}, "methods.mixste.recipes is not known; did you mean recipe?"),
        (
            {"methods": {"mixste": {"recipe": {"epoch": 1}}}},
            "methods.mixste.recipe.epoch is not known; did you mean epochs?",
        ),
        ({"protocol": protocol(frames="many")}, "protocol.frames: Input should be a valid integer, found 'many'"),
        ({"protocol": protocol(frames=0)}, "protocol.frames: Input should be greater than or equal to 1, found 0"),
        ({"protocol": protocol(frames=True)}, "protocol.frames: Input should be a valid integer, found True"),
        ({"protocol": protocol(train_subjects="S1")}, "protocol.train_subjects: Input should be a valid tuple"),
        (
            {"protocol": protocol(test_subjects=[2])},
            "protocol.test_subjects.0: Input should be a valid string, found 2",
        ),
        ({"protocol": protocol(test_subjects=[])}, "protocol.test_subjects: Tuple should have at least 1 item"),
        (
            {"protocol": protocol(averaging="joints")},
            "protocol.averaging: Input should be 'actions' or 'frames', found 'joints'",
        ),
        (
            {"protocol": protocol(accounting="mine")},
            "protocol.accounting: Input should be 'shared' or 'as-published', found 'mine'",
        ),
        ({"protocol": {"dataset": "h36m"}}, "protocol.test_subjects: Field required"),
        ({"protocol": 3}, "protocol: Input should be a valid dictionary"),
        (
            {"protocol": crossing(dataset="h36m")},
            "protocol: the data are dataset and keypoints, or else train and test; found dataset, train, test",
        ),
        (
            {"protocol": crossing(test=None)},
            "protocol: the data are dataset and keypoints, or else train and test; found train",
        ),
        (
            {"protocol": protocol(keypoints=None)},
            "protocol: the data are dataset and keypoints, or else train and test; found dataset",
        ),
        (
            {"protocol": protocol(dataset=None, keypoints=None)},
            "protocol: the data are dataset and keypoints, or else train and test; found none of them",
        ),
        (
            {"protocol": crossing(test={"dataset": "h36m", "keypoints": "gt"})},
            "protocol: train and test are the same: state dataset and keypoints instead",
        ),
        (
            {"protocol": crossing(test={"dataset": "h36m", "keypoints": "cpn"}, test_subjects=["S1"])},
            "protocol: S1 would be both trained and tested on",
        ),
        ({"protocol": crossing(test={"dataset": "3dhp"})}, "protocol.test.keypoints: Field required"),
        (
            {"protocol": crossing(test={"dataset": "3dhp", "keypoint": "gt"})},
            "protocol.test.keypoint is not known; did you mean keypoints?",
        ),
        ({"protocol": protocol(test_subjects=["S1", "S9"])}, "protocol: S1 would be both trained and tested on"),
        (
            {"protocol": protocol(validation_subjects=["S9"])},
            "protocol: validation subject S9 is not a training subject",
        ),
        (
            {"protocol": protocol(validation_subjects=["S1", "S5", "S8"])},
            "protocol: every training subject is held out for validation, none is left to train on",
        ),
        ({"methods": {}}, "methods: Dictionary should have at least 1 item"),
        ({"methods": ["mixste"]}, "methods: Input should be a valid dictionary, found ['mixste']"),
        ({"methods": "mixste"}, "methods: Input should be a valid dictionary, found 'mixste'"),
        ({"methods": {"mixste": [1]}}, "methods.mixste must hold keys like model: and recipe:"),
        ({"methods": {"mixste": {"model": 3}}}, "methods.mixste.model must hold keys and values, found 3"),
        ({"methods": {"../mixste": {}}}, "String should match pattern"),
        ({"methods": {"mixste": {"extends": "x.yaml"}}}, "methods.mixste.extends: x.yaml is not beside the benchmark"),
        (
            {"methods": {"mixste": {"recipe": {"keep": "best-test"}}}},
            "methods.mixste.recipe: keep: best-test picks weights on the test set; only as_published: true may do that",
        ),
        (
            {
                "protocol": protocol(validation_subjects=[]),
                "methods": {"mixste": {"recipe": {"keep": "best-validation"}}},
            },
            "methods.mixste keeps best-validation, but protocol.validation_subjects is empty",
        ),
        ({"methods": {"mixste": {"model": {"frames": 3}}}}, "model.frames cannot be set"),
        ({"methods": {"mixste": {"model": {"dim": float("inf")}}}}, "model.dim must be made of finite numbers"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:60],
)
def test_a_refusal_names_file_key_and_what_was_expected(tmp_path: Path, changes: Any, expected: str) -> None:
    path = write(tmp_path, **changes)
    message = refusal(path)
    assert expected in message
    assert message.startswith(paths.shown(path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", float("inf")),
        ("learning_rate_decay", 1.5),
        ("weight_decay", -1),
        ("gradient_clip", 0),
        ("batch_windows", 0),
        ("window_stride", 0),
        ("epochs", True),
        ("precision", "float16"),
        ("keep", "first"),
        ("flip", "perhaps"),
    ],
)
def test_a_recipe_out_of_range_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    path = write(tmp_path, methods={"mixste": {"recipe": {key: value}}})
    assert f"methods.mixste.recipe.{key}: Input should be" in refusal(path)


def test_best_test_is_for_published_recipes_only(tmp_path: Path) -> None:
    path = write(tmp_path, methods={"mixste": {"recipe": {"keep": "best-test", "as_published": True}}})
    assert load_benchmark(path).methods["mixste"].recipe.keep == "best-test"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"title: [", "is not valid YAML"),
        (b"title: \xff", "is not valid YAML"),
        (b"title: a\ntitle: b\n", "the key title is given twice"),
        (b"title: !!python/object/apply:os.system [exit]\n", "is not valid YAML"),
        (b"", "must hold keys like title: and protocol:"),
        (b"- a", "must hold keys like title: and protocol:"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    message = refusal(path)
    assert expected in message
    assert "bad.yaml" in message


# What a method extends


def test_an_entry_lies_over_the_defaults_that_it_extends(tmp_path: Path) -> None:
    base = {"model": {"dim": 512, "heads": 8}, "recipe": {"epochs": 120, "batch_windows": 4}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    path = write(tmp_path, methods={"mixste": {"extends": "base.yaml", "model": {"dim": 16}, "recipe": None}})
    entry = load_benchmark(path).methods["mixste"]
    assert entry.model == {"dim": 16, "heads": 8}
    assert entry.recipe == Recipe(epochs=120, batch_windows=4)


def test_a_wrong_key_in_the_defaults_is_named_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("recipe: {epoch: 3}")
    path = write(tmp_path, methods={"mixste": {"extends": "base.yaml"}})
    assert refusal(path) == f"{paths.shown(tmp_path / 'base.yaml')}: recipe.epoch is not known; did you mean epochs?"


# --set


def test_a_dotted_path_changes_one_key(tiny: Path) -> None:
    changes = [
        "protocol.frames=27",
        "protocol.test_subjects=[S9, S11]",
        "methods.mixste.recipe.epochs=7",
        "methods.mixste.model.heads=4",
        "title=Other",
    ]
    benchmark = load_benchmark(tiny, changes)
    assert (benchmark.title, benchmark.protocol.frames) == ("Other", 27)
    assert benchmark.protocol.test_subjects == ("S9", "S11")
    assert benchmark.methods["mixste"].recipe.epochs == 7
    assert benchmark.methods["mixste"].model == {"dim": 16, "depth": 1, "heads": 4}
    assert benchmark.methods["diff3dhpe"] == load_benchmark(tiny).methods["diff3dhpe"]


def test_recipe_alone_is_that_of_every_method(tiny: Path) -> None:
    benchmark = load_benchmark(tiny, ["recipe.epochs=5"])
    assert {entry.recipe.epochs for entry in benchmark.methods.values()} == {5}


def test_model_alone_changes_it_where_the_file_states_it(tiny: Path) -> None:
    benchmark = load_benchmark(tiny, ["model.dim=8", "model.depth=2"])
    models = {name: entry.model for name, entry in benchmark.methods.items()}
    assert models == {"mean_pose": {}, "mixste": {"dim": 8, "depth": 2}, "diff3dhpe": {"dim": 8}}


def test_the_last_of_two_changes_holds(tiny: Path) -> None:
    benchmark = load_benchmark(tiny, ["recipe.epochs=5", "methods.mixste.recipe.epochs=6"])
    assert [benchmark.methods[name].recipe.epochs for name in ("mixste", "diff3dhpe")] == [6, 5]


def test_an_exponent_is_a_number_with_or_without_a_point(tiny: Path) -> None:
    benchmark = load_benchmark(tiny, ["recipe.learning_rate=1e-3", "methods.mixste.model.drop_path=2E-1"])
    assert benchmark.methods["mixste"].recipe.learning_rate == 1e-3
    assert benchmark.methods["mixste"].model["drop_path"] == 0.2
    tiny.write_text(tiny.read_text().replace("dim: 16", "drop_path: 1e-1"))
    assert load_benchmark(tiny).methods["mixste"].model["drop_path"] == 0.1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("recipe.epochs", "is not of the form key=value, like recipe.epochs=5"),
        ("=3", "is not of the form key=value"),
        ("recipe..epochs=3", "is not of the form key=value"),
        ("recipe.epoch=3", "--set recipe.epoch=3: methods.diff3dhpe.recipe.epoch is not known; did you mean epochs?"),
        ("protocl.frames=3", "protocl is not known; did you mean protocol?"),
        ("protocol.frame=3", "protocol.frame is not known; did you mean frames?"),
        ("model.width=3", "no method of this benchmark states the hyper-parameter 'width'"),
        ("methods.mixst.recipe.epochs=3", "expected methods.NAME.model.KEY or methods.NAME.recipe.KEY, NAME one of"),
        ("methods.mixste=3", "expected methods.NAME.model.KEY"),
        ("methods=3", "expected methods.NAME.model.KEY"),
        ("methods.mixste.modell.dim=3", "methods.mixste.modell is not known; did you mean model?"),
        ("protocol.test_subjects=[S9", "'[S9' is not a YAML value"),
        ("recipe.epochs=", "Input should be a valid integer, found None"),
        ("recipe.epochs.x=3", "Input should be a valid integer, found {'x': 3}"),
        ("methods.mixste.model.joints=3", "model.joints cannot be set"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(tiny: Path, change: str, expected: str) -> None:
    assert expected in refusal(tiny, change)


def test_changes_of_a_broken_file_are_refused_like_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, methods=["mixste"])
    assert "methods: Input should be a valid dictionary" in refusal(path, "recipe.epochs=3")
    assert "expected methods.NAME" in refusal(path, "methods.mixste.recipe.epochs=3")


# Identity


def test_identity_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    assert identity({"a": 1, "b": {"c": 2, "d": 3}}) == identity({"b": {"d": 3, "c": 2}, "a": 1})
    first, second = tmp_path / "tiny.yaml", tmp_path / "other" / "tiny.yaml"
    second.parent.mkdir()
    first.write_text(yaml.safe_dump(TINY, sort_keys=True))
    turned = {key: TINY[key] for key in reversed(TINY)} | {"protocol": dict(reversed(TINY["protocol"].items()))}
    second.write_text(yaml.safe_dump(turned, sort_keys=False))
    assert identity(load_benchmark(first)) == identity(load_benchmark(second))


def test_identity_changes_with_every_value(tiny: Path) -> None:
    changes = ["", "protocol.frames=27", "protocol.flip_test=false", "recipe.flip=false", "methods.mixste.model.dim=8"]
    found = {identity(load_benchmark(tiny, [change] if change else [])) for change in changes}
    assert len(found) == len(changes)
    assert identity({"a": 1}) != identity({"a": 1.5})
    assert len(identity("text")) == 64


def test_models_are_identified_like_their_content() -> None:
    content = Protocol.model_validate(TINY["protocol"])
    assert identity(content) == identity(content.model_dump(mode="json"))
    assert isinstance(Benchmark.model_validate({"name": "tiny", **TINY, "methods": {"mean_pose": {}}}), Benchmark)


def test_identities_of_before_there_were_two_data_sets_stay() -> None:
    content = load_benchmark("demo").protocol.model_dump(mode="json")
    assert not {"train", "test"} & content.keys()
    assert identity(content) == "f38b6c9c1f95635b18ddc0f03b43f732bad5cadd0362cbcf66cdb218d94fe591"


def test_a_file_may_train_on_one_data_set_and_test_on_another(tmp_path: Path) -> None:
    one = load_benchmark(write(tmp_path, protocol=crossing(test_subjects=["S1", "S2"]))).protocol
    assert (one.trained_on.dataset, one.tested_on.dataset, one.crosses) == ("h36m", "3dhp", True)
    content = one.model_dump(mode="json")
    assert not {"dataset", "keypoints"} & content.keys()
    assert Protocol.model_validate(content) == one
    turned = load_benchmark(write(tmp_path, protocol=crossing()), ["protocol.test.dataset=cmu"]).protocol
    assert turned.tested_on.dataset == "cmu"
    assert identity(turned) != identity(one)
    same = load_benchmark(write(tmp_path)).protocol
    assert same.trained_on == same.tested_on
    assert not same.crosses


def test_a_file_does_not_name_itself(tmp_path: Path) -> None:
    assert "remove the key name" in refusal(named(tmp_path))


def named(folder: Path) -> Path:
    path = write(folder)
    path.write_text(path.read_text() + "name: other\n")
    return path


def test_centred_windows_have_no_stride(tmp_path: Path) -> None:
    recipe = {"window_layout": "centred", "window_stride": 3}
    assert "leave window_stride out" in refusal(write(tmp_path, methods={"mixste": {"recipe": recipe}}))


# Stages, variants, frames of a method's own

STAGED: dict[str, Any] = {
    "model": {"dim": 16},
    "recipe": {"epochs": 8, "learning_rate": 1e-3, "keep": "best-validation"},
    "stages": {"pretrain": {"model": {"masked_joints": 2}, "recipe": {"learning_rate": 1e-4}}},
}


def test_a_stage_takes_from_the_recipe_what_it_does_not_state(tmp_path: Path) -> None:
    entry = load_benchmark(write(tmp_path, methods={"pstmo": STAGED})).methods["pstmo"]
    stage = entry.stages["pretrain"]
    assert (stage.recipe.epochs, stage.recipe.learning_rate, stage.recipe.keep) == (8, 1e-4, "last")
    assert stage.model == {"masked_joints": 2}
    assert (entry.recipe.learning_rate, entry.recipe.keep) == (1e-3, "best-validation")


def test_stages_lie_over_those_that_an_entry_extends(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(STAGED))
    stated = {"pretrain": {"recipe": {"epochs": 2}}}
    methods = {
        "pstmo": {"extends": "base.yaml", "stages": stated},
        "as-in-the-base": {"method": "pstmo", "extends": "base.yaml"},
        "scratch": {"method": "pstmo", "extends": "base.yaml", "stages": {}},
    }
    entries = load_benchmark(write(tmp_path, methods=methods)).methods
    stage = entries["pstmo"].stages["pretrain"]
    assert (stage.recipe.epochs, stage.recipe.learning_rate, stage.model) == (2, 1e-4, {"masked_joints": 2})
    assert entries["as-in-the-base"].stages["pretrain"].recipe.epochs == 8
    assert entries["scratch"].stages == {}


def test_an_entry_may_name_a_method_and_frames_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, methods={"wide": {"method": "mixste", "frames": 27}, "mixste": {}})
    benchmark = load_benchmark(path)
    assert {name: benchmark.registered(name) for name in benchmark.methods} == {"wide": "mixste", "mixste": "mixste"}
    assert {name: benchmark.frames(name) for name in benchmark.methods} == {"wide": 27, "mixste": 9}
    assert load_benchmark(path, ["methods.wide.frames=81"]).frames("wide") == 81


@pytest.mark.parametrize(
    ("change", "reached"),
    [
        ("recipe.epochs=3", (3, 3)),  # the stage does not state them
        ("recipe.learning_rate=2e-3", (2e-3, 2e-3)),  # it does, and follows all the same
        ("methods.pstmo.recipe.learning_rate=2e-3", (2e-3, 1e-4)),
        ("methods.pstmo.stages.pretrain.recipe.learning_rate=2e-3", (1e-3, 2e-3)),
    ],
)
def test_changes_reach_stages(tmp_path: Path, change: str, reached: tuple[float, float]) -> None:
    entry = load_benchmark(write(tmp_path, methods={"pstmo": STAGED}), [change]).methods["pstmo"]
    key = change.split("=")[0].split(".")[-1]
    assert (getattr(entry.recipe, key), getattr(entry.stages["pretrain"].recipe, key)) == reached


def test_a_hyperparameter_of_a_stage_can_be_changed(tmp_path: Path) -> None:
    path = write(tmp_path, methods={"pstmo": STAGED})
    for change in ("model.masked_joints=5", "methods.pstmo.stages.pretrain.model.masked_joints=5"):
        entry = load_benchmark(path, [change]).methods["pstmo"]
        assert entry.stages["pretrain"].model == {"masked_joints": 5}
        assert entry.model == {"dim": 16}


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ({"pretrain": {"recipes": {}}}, "methods.pstmo.stages.pretrain.recipes is not known; did you mean recipe?"),
        ({"pretrain": {"recipe": {"epoch": 1}}}, "stages.pretrain.recipe.epoch is not known; did you mean epochs?"),
        ({"pretrain": {"recipe": {"keep": "best-validation"}}}, "stages.pretrain.recipe.keep must be last"),
        ({"pretrain": 3}, "methods.pstmo.stages.pretrain must hold keys like model: and recipe:"),
        ([1], "methods.pstmo.stages must hold keys and values, found [1]"),
        ({"pretrain": {"model": {"frames": 9}}}, "model.frames cannot be set"),
    ],
)
def test_a_stage_that_does_not_fit_is_refused(tmp_path: Path, stages: Any, expected: str) -> None:
    assert expected in refusal(write(tmp_path, methods={"pstmo": {"stages": stages}}))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("methods.pstmo.stages.pretrian.recipe.epochs=1", "STAGE one of: pretrain"),
        ("methods.pstmo.stages={pretrain: {}}", "expected methods.NAME.model.KEY"),
        ("methods.psmto.stages={}", "NAME one of pstmo"),
        ("methods.pstmo.stages.pretrain.epochs=1", "expected methods.pstmo.stages.STAGE.recipe.KEY"),
        ("methods.pstmo.stages.pretrain.recipe.epoch=1", "recipe.epoch is not known; did you mean epochs?"),
    ],
)
def test_a_change_of_a_stage_that_does_not_fit_is_refused(tmp_path: Path, change: str, expected: str) -> None:
    assert expected in refusal(write(tmp_path, methods={"pstmo": STAGED}), change)


def test_a_change_can_leave_all_stages_out(tmp_path: Path) -> None:
    path = write(tmp_path, methods={"pstmo": STAGED})
    assert load_benchmark(path).methods["pstmo"].stages
    assert not load_benchmark(path, ["methods.pstmo.stages={}"]).methods["pstmo"].stages
