"""One benchmark for monocular 3D human-pose lifters.

The public names; each is imported when it is first used, so that `import bench` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.system.lazy import lazily

if TYPE_CHECKING:
    from bench.config.load import load_benchmark as load_benchmark
    from bench.data import datasets as datasets
    from bench.data import load_dataset as load_dataset
    from bench.data.batch import Batch as Batch
    from bench.data.batch import Window as Window
    from bench.data.dataset import Dataset as Dataset
    from bench.data.dataset import Origin as Origin
    from bench.data.pose_dataset import Video as Video
    from bench.evaluation.counting import ScoredPoses as ScoredPoses
    from bench.evaluation.scores import Scores as Scores
    from bench.evaluation.scoring import evaluate as evaluate
    from bench.geometry.camera import Camera as Camera
    from bench.geometry.camera import View as View
    from bench.geometry.skeleton import Skeleton as Skeleton
    from bench.method.base import Method as Method
    from bench.method.checkpoint import import_upstream as import_upstream
    from bench.method.registry import build as build
    from bench.method.registry import methods as methods
    from bench.method.registry import register as register
    from bench.method.weights import load_weights as load_weights
    from bench.results.metrics import Metric as Metric
    from bench.system.errors import BenchError as BenchError
    from bench.system.errors import MissingDataError as MissingDataError

_HOME = {
    "Batch": "bench.data.batch",
    "BenchError": "bench.system.errors",
    "Camera": "bench.geometry.camera",
    "Dataset": "bench.data.dataset",
    "Method": "bench.method.base",
    "Metric": "bench.results.metrics",
    "ScoredPoses": "bench.evaluation.counting",
    "MissingDataError": "bench.system.errors",
    "Origin": "bench.data.dataset",
    "Scores": "bench.evaluation.scores",
    "Skeleton": "bench.geometry.skeleton",
    "Video": "bench.data.pose_dataset",
    "View": "bench.geometry.camera",
    "Window": "bench.data.batch",
    "build": "bench.method.registry",
    "datasets": "bench.data.registry",
    "evaluate": "bench.evaluation.scoring",
    "import_upstream": "bench.method.checkpoint",
    "load_benchmark": "bench.config.load",
    "load_dataset": "bench.data",
    "load_weights": "bench.method.weights",
    "methods": "bench.method.registry",
    "register": "bench.method.registry",
}

__all__ = sorted(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
