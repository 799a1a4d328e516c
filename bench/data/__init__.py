"""Data sets, read as videos and cut into windows: one file per data set, found by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.system.lazy import lazily

if TYPE_CHECKING:
    from bench.data.contents import contents as contents
    from bench.data.load import available as available
    from bench.data.load import load_dataset as load_dataset
    from bench.data.registry import dataset_named as dataset_named
    from bench.data.registry import datasets as datasets
    from bench.data.registry import kind_of as kind_of

_HOME = {
    "available": "bench.data.load",
    "contents": "bench.data.contents",
    "dataset_named": "bench.data.registry",
    "datasets": "bench.data.registry",
    "kind_of": "bench.data.registry",
    "load_dataset": "bench.data.load",
}

__all__ = sorted(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
