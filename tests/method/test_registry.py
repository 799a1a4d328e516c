"""The registry: what is registered, what `build` refuses, and what counts as the code of a method."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import bench
from bench.cli import main
from bench.method import Method, Window, code, registry
from bench.method.registry import build, code_version, method_class, methods, register
from bench.system.errors import BenchError

OURS = {"diff3dhpe", "mean_pose", "mixste"}


class Still(Method):
    """Predicts nothing."""

    name = "still"

    def __init__(self, frames: int, joints: int = 17, **anything: object) -> None:
        super().__init__()
        self.window = Window(frames)
        self.anything = anything


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_registered", {})


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A stranger's installed package with the method `theirs`; returns its folder. Gone after the test."""
    package = tmp_path / "stranger"
    (package / "parts").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "parts" / "__init__.py").write_text("from .size import SIZE\n")
    (package / "parts" / "size.py").write_text("SIZE = 3\n")
    (package / "unused.py").write_text("NOBODY = 'imports me'\n")
    (package / "maths.py").write_text(
        "import stranger.constants\nfrom . import parts\n\ndef half(x):\n    return x / 2\n"
    )
    (package / "constants.py").write_text("ONE = 1\n")
    (package / "lifter.py").write_text(
        '"""A lifter."""\nfrom bench.method import Method, Window\nfrom .maths import half\n\n\n'
        'class Theirs(Method):\n    """Theirs."""\n\n    name = "theirs"\n\n'
        "    def __init__(self, frames, joints=17, *, dim=8):\n        super().__init__()\n"
        "        self.window = Window(frames)\n        self.dim = half(dim)\n"
    )
    about = tmp_path / "stranger-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench.methods]\ntheirs = stranger.lifter:Theirs\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield package
    for module in [module for module in sys.modules if module.partition(".")[0] == "stranger"]:
        del sys.modules[module]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_our_methods_are_found_by_entry_point():
    assert set(methods()) >= OURS
    assert methods() == sorted(methods())
    assert bench.methods() == methods()


def test_a_strangers_method_is_found_like_ours(stranger):
    assert "theirs" in methods()
    assert "stranger.lifter" not in sys.modules, "a name is known before its module is imported"
    method = build("theirs", frames=9, dim=6)
    assert type(method) is method_class("theirs")
    assert method.dim == 3


def test_register_makes_a_method_known_to_this_process():
    assert register(Still) is Still
    assert "still" in methods()
    assert isinstance(build("still", frames=9), Still)
    register(type("Other", (Still,), {"name": "mean_pose"}))
    assert type(build("mean_pose", frames=9)).__name__ == "Other", "what a process registers comes first"
    assert methods().count("mean_pose") == 1


def test_a_method_without_a_name_cannot_be_registered():
    with pytest.raises(ValueError, match="Nameless needs a class attribute `name`"):
        register(type("Nameless", (Method,), {}))


def test_an_unknown_method_is_answered_with_the_nearest_and_all_known():
    with pytest.raises(BenchError, match=r"No method 'mixt'\. Did you mean 'mixste'\? Known: .*diff3dhpe, .*mixste"):
        build("mixt", frames=9)


def test_an_unknown_hyperparameter_is_answered_with_the_nearest_and_all_known():
    with pytest.raises(BenchError, match=r"No hyper-parameter of mixste 'widht'\. Known: .*dim.*drop_path"):
        build("mixste", frames=9, widht=3)
    with pytest.raises(BenchError, match="Did you mean 'heads'"):
        build("mixste", frames=9, head=3)
    with pytest.raises(BenchError, match="No hyper-parameter of mixste 'self'"):
        build("mixste", frames=9, **{"self": 3})


def test_a_method_may_take_any_hyperparameter():
    register(Still)
    assert build("still", frames=9, colour="red").anything == {"colour": "red"}


@pytest.mark.parametrize(
    "wrong", [ValueError("too deep"), RuntimeError("negative dimension"), ZeroDivisionError("by 0")]
)
def test_an_error_in_a_constructor_is_a_bench_error(wrong):
    class Picky(Still):
        name = "picky"

        def __init__(self, frames, joints):
            raise wrong

    register(Picky)
    with pytest.raises(BenchError, match=f"picky: {wrong}"):
        build("picky", frames=9)


def test_published_sizes_have_the_published_number_of_parameters():
    with torch.device("meta"):
        assert build("mixste", frames=243).parameter_count == 33_783_811
        assert build("diff3dhpe", frames=243).parameter_count == 43_757_059


# What a stranger may get wrong: one message that names the package


def test_a_module_that_cannot_be_imported_is_named_with_the_line(stranger):
    edit(stranger / "lifter.py", "from .maths import half", "from .maths import half, third")
    with pytest.raises(BenchError) as caught:
        build("theirs", frames=9)
    message = str(caught.value)
    assert message.startswith("method 'theirs' cannot be loaded from stranger.lifter:Theirs of stranger: ImportError")
    assert "cannot import name 'third'" in message
    assert message.endswith("lifter.py, line 3); repair or uninstall it")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("def half(x):", "def half(x:", "SyntaxError: .*maths.py, line 4"),
        ("from . import parts", "import no_such_package", "No module named 'no_such_package' .*maths.py, line 2"),
        ("from . import parts", "1 / 0", "ZeroDivisionError: division by zero .*maths.py, line 2"),
    ],
)
def test_any_error_on_import_is_a_bench_error(stranger, old, new, expected):
    edit(stranger / "maths.py", old, new)
    with pytest.raises(BenchError, match=f"method 'theirs' cannot be loaded from stranger.lifter:Theirs .*{expected}"):
        method_class("theirs")


def entry_point(stranger: Path, target: str) -> None:
    about = stranger.parent / "stranger-1.0.dist-info" / "entry_points.txt"
    about.write_text(f"[bench.methods]\ntheirs = {target}\n")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("stranger.lifters:Theirs", "No module named 'stranger.lifters'"),
        ("stranger.lifter:Their", "has no attribute 'Their'"),
        ("stranger.lifter:half", "half of stranger is not a subclass of bench.Method, found <function half"),
        ("stranger.lifter:Window", "is not a subclass of bench.Method, found <class 'bench.data.batch.Window'>"),
        ("stranger.lifter:Method", "needs the class attribute `name = 'theirs'`, like its entry point; found None"),
    ],
)
def test_an_entry_point_must_lead_to_a_method(stranger, target, expected):
    entry_point(stranger, target)
    with pytest.raises(BenchError) as caught:
        method_class("theirs")
    assert expected in str(caught.value)
    assert target in str(caught.value)


@pytest.mark.parametrize(("written", "found"), [('name = "other"', "'other'"), ("title = None", "None")])
def test_a_class_has_the_name_of_its_entry_point(stranger, written, found):
    edit(stranger / "lifter.py", 'name = "theirs"', written)
    with pytest.raises(BenchError, match=f"`name = 'theirs'`, like its entry point; found {found}"):
        method_class("theirs")


def test_two_packages_cannot_have_one_name(stranger):
    about = stranger.parent / "second-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: second\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench.methods]\ntheirs = second:Theirs\n")
    with pytest.raises(BenchError) as caught:
        method_class("theirs")
    assert "two packages register a method 'theirs'" in str(caught.value)
    assert "stranger.lifter:Theirs of stranger" in str(caught.value)
    assert "second:Theirs of second" in str(caught.value)
    assert "stranger.lifter" not in sys.modules, "neither is preferred"


def test_a_broken_method_does_not_hide_the_others(stranger, capsys):
    entry_point(stranger, "stranger.lifters:Theirs")
    with pytest.raises(SystemExit, match="0"):
        main(["methods"])
    shown = capsys.readouterr().out
    assert "mean_pose" in shown
    assert "theirs cannot be used: method 'theirs' cannot be loaded from stranger.lifters:Theirs of stranger" in shown


def test_only_methods_can_be_registered():
    for wrong in (Still(9), len, Window):
        with pytest.raises(ValueError, match=r"is not a subclass of bench\.Method"):
            register(wrong)


def test_a_method_says_which_frames_it_reads():
    class Windowless(Still):
        name = "windowless"

        def __init__(self, frames, joints=17):
            nn.Module.__init__(self)

    class Stubborn(Still):
        name = "stubborn"

        def __init__(self, frames, joints=17):
            super().__init__(27)

    register(Windowless)
    register(Stubborn)
    with pytest.raises(BenchError, match=r"windowless: Windowless\.__init__ must set self\.window.*found None"):
        build("windowless", frames=9)
    with pytest.raises(BenchError, match=r"stubborn: self\.window has 27 frames, but was built for 9"):
        build("stubborn", frames=9)
    assert build("stubborn", frames=27).window == Window(27)


def test_layers_set_before_the_base_class_are_a_bench_error():
    class Hasty(Still):
        name = "hasty"

        def __init__(self, frames, joints=17):
            self.layer = nn.Linear(2, 3)

    register(Hasty)
    with pytest.raises(BenchError, match=r"hasty: cannot assign module before Module.__init__\(\) call"):
        build("hasty", frames=9)


# The version of a method's code


def test_comments_docstrings_and_layout_are_not_code(stranger):
    before = code_version("theirs")
    edit(stranger / "lifter.py", '"""A lifter."""\n', "# a comment\n\n\n")
    edit(stranger / "lifter.py", '    """Theirs."""\n', '    """Other words."""\n')
    edit(stranger / "maths.py", "return x / 2", '"""Half of it."""\n    return (\n        x / 2  # indeed\n    )')
    assert code_version("theirs") == before
    assert len(before) == 64


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("lifter.py", "dim=8", "dim=9"),
        ("maths.py", "x / 2", "x / 3"),  # from .maths import half
        ("constants.py", "ONE = 1", "ONE = 2"),  # import stranger.constants, two steps away
        ("parts/__init__.py", "from .size import SIZE", "from .size import SIZE as SIZE_3"),  # from . import parts
        ("parts/size.py", "SIZE = 3", "SIZE = 4"),  # relative to a package
    ],
)
def test_code_that_the_method_imports_counts(stranger, file, old, new):
    before = code_version("theirs")
    edit(stranger / file, old, new)
    assert code_version("theirs") != before


def test_code_that_the_method_does_not_import_does_not_count(stranger):
    before = code_version("theirs")
    edit(stranger / "unused.py", "imports me", "reads me")
    assert code_version("theirs") == before


def test_a_method_that_builds_on_ours_follows_our_code(stranger):
    def modules() -> set[str]:
        return set(code._reachable("stranger.lifter", {"stranger", "baselines", "diff3dhpe"}))

    alone = {"stranger.lifter", "stranger.maths", "stranger.constants", "stranger.parts", "stranger.parts.size"}
    assert modules() - {"stranger"} == alone
    edit(stranger / "maths.py", "import stranger.constants", "import stranger.constants\nimport baselines.mixste")
    assert modules() - {"stranger"} == alone | {"baselines.mixste", "baselines.layers"}


def test_our_methods_have_code_of_their_own():
    versions = {name: code_version(name) for name in OURS}
    assert len(set(versions.values())) == len(OURS)
    assert versions == {name: code_version(name) for name in OURS}
    assert "baselines.mixste" not in code._reachable("baselines.mean_pose", {"baselines", "diff3dhpe"})


def test_code_that_is_in_no_file_is_refused():
    """As in a notebook: an edited cell would find the run of the old one finished."""
    register(type("Cell", (Still,), {"name": "cell", "__module__": "no_file"}))
    with pytest.raises(BenchError, match=r"cell: the code of Cell is in no file.*move the class to a \.py file"):
        code_version("cell")
