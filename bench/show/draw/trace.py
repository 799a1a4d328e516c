"""Record a sampler: the noisy poses of a method with a diffusion process, from noise to its answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.pose_dataset import PoseDataset
from bench.data.windows import answered_part, counted_frames, frame_indices, gather, scored_windows
from bench.evaluation.predictions import window_keys
from bench.method.base import Method, checked_lift, generator_of
from bench.system.errors import BenchError


@dataclass(frozen=True)
class Trace:
    """How one frame was denoised in K steps, without an average with the mirror image.

    states: (K + 1, joints, 3) metres, noise first, the answer last. clean: (K, joints, 3) metres, the clean pose that
    the network estimated at each step. Roots are as predicted.
    """

    states: NDArray[np.float32]
    clean: NDArray[np.float32]

    @property
    def steps(self) -> int:
        return len(self.clean)


def samples(method: Method) -> bool:
    """Whether the method has a sampler to follow: it draws from a diffusion process, `method.diffusion`."""
    return callable(getattr(getattr(method, "diffusion", None), "sample", None))


def trace(method: Method, video: PoseDataset, frame: int, *, seed: int = 0, steps: int | None = None) -> Trace:
    """Follow the sampler through one frame, with the noise that a benchmark gives it.

    video: a data set of one video. steps: of the sampler (default: the method's). Of several hypotheses the first is
    followed. Raises BenchError for a method without sampler, more steps than it has, or a frame that is not scored.
    """
    if not samples(method):
        raise BenchError(f"{method.name} lifts in one pass: there is no diffusion to show")
    window = method.window
    table = scored_windows(video, window)
    answered = answered_part(table, window)
    counted = counted_frames(*answered) & (frame_indices(answered[0], video.lengths, answered[1]) == frame)
    found = np.argwhere(counted)
    if not len(found):
        raise BenchError(f"frame {frame} is not scored: no window answers for it")
    row, place = found[0]
    chosen = table[row : row + 1]
    source = generator_of(f"{seed}/{window_keys(video, chosen)[0]}/plain")
    with torch.inference_mode(), _of_steps(method, steps), _recorded(method) as courses:
        device = next(method.parameters()).device
        checked_lift(method, gather(video, chosen, window).keypoints_2d.to(device), [source])
    states, clean = (torch.stack(tensors)[:, 0, place].cpu().numpy() for tensors in courses[0])
    scale = method.get_buffer("pose_scale").item() if hasattr(method, "pose_scale") else 1.0
    return Trace(states * np.float32(scale), clean * np.float32(scale))


Course = tuple[list[Tensor], list[Tensor]]  # states and clean poses


@contextmanager
def _recorded(method: Any) -> Iterator[list[Course]]:
    """Context in which every call of the sampler is recorded; the method itself is not changed."""
    courses: list[Course] = []
    sample = method.diffusion.sample

    def recording(denoise: Any, noise: Tensor, *args: Any, **options: Any) -> Tensor:
        course: list[tuple[Tensor, Tensor]] = []
        answer: Tensor = sample(denoise, noise, *args, **options, trace=course)
        courses.append(([noise, *(state for state, _ in course)], [clean for _, clean in course]))
        return answer

    method.diffusion.sample = recording
    try:
        yield courses
    finally:
        del method.diffusion.sample


@contextmanager
def _of_steps(method: Any, steps: int | None) -> Iterator[None]:
    """Context in which the sampler takes this number of steps."""
    before = method.sampling_steps
    if steps is not None:
        try:
            method.diffusion.sampling_times(steps)
        except ValueError as error:
            raise BenchError(f"{method.name}: {error}") from None
        method.sampling_steps = steps
    try:
        yield
    finally:
        method.sampling_steps = before
