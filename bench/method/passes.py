"""How much goes through a network in one pass, and the passes of a method that reads a window around every frame."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from bench.data.batch import Window
from bench.method.base import Report, unreported

# Tokens in one pass through a network: rows x frames x joints, mirrored rows counted. They bound memory and do not
# change a score. On a CPU passes are fastest while their activations stay in its caches: of MixSTE (27 and 81 frames,
# 32 and 64 channels), PoseFormer and P-STMO each has its best between 2^13 and 2^15, and takes 1.2 to 1.5 times as long
# at 2^17. Elsewhere larger passes keep the device busy; the 512 channels of MixSTE then take about 4 GB.
TOKENS_ON_CPU = 2**15
TOKENS = 2**18


def windows_per_pass(window: Window, joints: int, device: torch.device | str, versions: int = 1) -> int:
    """How many windows go through a network at once, at least one. versions: 2 if each is mirrored too."""
    tokens = TOKENS_ON_CPU if torch.device(device).type == "cpu" else TOKENS
    return max(1, tokens // (window.frames * joints * versions))


def frames_per_pass(joints: int, versions: int = 1) -> int:
    """How many frames of a video are lifted at once by a method that sees it whole: each of them is computed once."""
    return max(1, TOKENS // (joints * versions))


def over_windows(
    lift: Callable[[Tensor], Tensor], features: Tensor, window: Window, joints: int, report: Report = unreported
) -> Tensor:
    """Lift the window around each frame from features that are computed once per frame, for `Method.lift_video`.

    lift: (batch, window frames, ...) to (batch, 1, joints, 3). features: (videos, frames, ...). joints: how many make
    the tokens of a frame. Windows repeat the edges of the video. Returns (videos, frames, joints, 3).
    """
    videos, frames = features.shape[:2]
    apart = torch.arange(window.frames, device=features.device).sub(window.answered.start).mul(window.step)
    per_pass = windows_per_pass(window, joints, features.device, videos)
    parts = []
    for first in range(0, frames, per_pass):
        answered = torch.arange(first, min(first + per_pass, frames), device=features.device)
        windows = features[:, (answered[:, None] + apart).clamp(0, frames - 1)]
        parts.append(
            rearrange(lift(windows.flatten(0, 1)), "(videos t) one joints c -> videos (t one) joints c", videos=videos)
        )
        report(len(answered))
    return torch.cat(parts, dim=1)
