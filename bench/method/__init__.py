"""What a lifter is; how lifters are found, built, loaded and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.system.lazy import lazily

if TYPE_CHECKING:
    from bench.data.batch import Batch as Batch
    from bench.data.batch import Window as Window
    from bench.method.base import Generators as Generators
    from bench.method.base import Method as Method
    from bench.method.base import Report as Report
    from bench.method.base import checked_lift as checked_lift
    from bench.method.base import checked_lift_video as checked_lift_video
    from bench.method.base import checked_loss as checked_loss
    from bench.method.base import lifts_videos as lifts_videos
    from bench.method.base import randn as randn
    from bench.method.base import unreported as unreported
    from bench.method.passes import over_windows as over_windows
    from bench.method.precision import in_float32 as in_float32

_HOME = {
    "Batch": "bench.data.batch",
    "Generators": "bench.method.base",
    "Method": "bench.method.base",
    "Report": "bench.method.base",
    "Window": "bench.data.batch",
    "checked_lift": "bench.method.base",
    "checked_lift_video": "bench.method.base",
    "checked_loss": "bench.method.base",
    "in_float32": "bench.method.precision",
    "lifts_videos": "bench.method.base",
    "over_windows": "bench.method.passes",
    "randn": "bench.method.base",
    "unreported": "bench.method.base",
}

__all__ = sorted(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
