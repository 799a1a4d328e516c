"""Diffusion of poses: noise schedules, the forward process, the loss weight, and the DDIM sampler.

Ho et al., NeurIPS 2020 (forward process); Nichol & Dhariwal, ICML 2021 (cosine schedule); Song et al., ICLR 2021
(DDIM); Zhou et al., "Diff3DHPE", ICCV Workshops 2023 (loss weight, and the sampler as its authors run it).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.method import Generators, randn

Schedule = Literal["linear", "cosine", "logcosine"]


def noise_schedule(timesteps: int, schedule: Schedule) -> NDArray[np.float64]:
    """The variance beta_t that each of the `timesteps` steps adds. (timesteps,) float64.

    linear: 1e-4 to 0.02, not rescaled with the number of steps. cosine: Nichol & Dhariwal, s = 0.008. logcosine: the
    same with log-spaced time; meant for 1000 steps. Raises ValueError for any other name.
    """
    if schedule == "linear":
        return np.linspace(1e-4, 0.02, timesteps)
    if schedule == "cosine":
        time = np.arange(timesteps + 1, dtype=np.float64)
    elif schedule == "logcosine":
        time = 10 * np.logspace(0, 2, timesteps + 1)
    else:
        raise ValueError(f"schedule must be 'linear', 'cosine' or 'logcosine', not {schedule!r}")
    signal = np.cos((time / timesteps + 0.008) / 1.008 * math.pi / 2) ** 2
    betas: NDArray[np.float64] = np.clip(1 - signal[1:] / signal[:-1], 0, 0.999)
    return betas


class Diffusion(nn.Module):
    """The diffusion process of `timesteps` steps; poses are clean at step 0 and noise at the last.

    betas, alphas_cumprod: (timesteps,) float32 buffers, made in float64 and not saved, since they follow from the
    schedule.
    """

    betas: Tensor
    alphas_cumprod: Tensor

    def __init__(self, timesteps: int = 1000, schedule: Schedule = "cosine") -> None:
        super().__init__()
        if not isinstance(timesteps, int) or timesteps < 1:
            raise ValueError(f"timesteps must be a whole number of at least 1, not {timesteps!r}")
        self.timesteps = timesteps
        self.schedule = schedule
        betas = noise_schedule(timesteps, schedule)
        self._signal = signal = np.cumprod(1 - betas)
        for name, values in {
            "betas": betas,
            "alphas_cumprod": signal,
            "signal_scale": np.sqrt(signal),
            "noise_scale": np.sqrt(1 - signal),
            "weight": 1 + signal / np.sqrt(1 - signal),
        }.items():
            self.register_buffer(name, torch.from_numpy(values).float(), persistent=False)

    def add_noise(self, poses: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """The noisy pose of step t. poses, noise: (batch, ...). timesteps: (batch,) integers in [0, T)."""
        shape = (-1, *[1] * (poses.ndim - 1))
        signal, spread = (self.get_buffer(name)[timesteps].reshape(shape) for name in ("signal_scale", "noise_scale"))
        return signal * poses + spread * noise

    def loss_weight(self, timesteps: Tensor, clip: bool) -> Tensor:
        """Weight of the squared error at step t: 1 + a / sqrt(1 - a), at most 3 with `clip`. (batch,) to (batch,)."""
        weight = self.get_buffer("weight")[timesteps]
        return weight.clamp(max=3) if clip else weight

    def sampling_times(self, steps: int) -> list[int]:
        """The steps that a sampler of `steps` passes visits, from noisy to clean; the last entry, -1, is the result.

        Spaced in float32 and cut to integers, as published: for some numbers of steps an entry is one lower than exact
        arithmetic would have it. Raises ValueError unless 1 <= steps <= timesteps.
        """
        if not isinstance(steps, int) or not 1 <= steps <= self.timesteps:
            raise ValueError(f"sampling steps must be in 1..{self.timesteps}, not {steps}")
        times = torch.linspace(-1, self.timesteps - 1, steps + 1, dtype=torch.float32, device="cpu")
        return [int(time) for time in reversed(times.tolist())]

    def sample(
        self,
        denoise: Callable[[Tensor, Tensor], Tensor],
        noise: Tensor,
        steps: int,
        eta: float = 0.0,
        as_published: bool = True,
        clip: bool = True,
        generator: Generators = None,
        trace: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Tensor:
        """Denoise `noise` in `steps` passes of DDIM. Returns poses of noise's shape, (batch, ...).

        denoise: (noisy_poses, timesteps (batch,)) to the estimated clean poses. eta: 0 is deterministic, 1 draws
        as much noise as ancestral sampling. as_published: recover the noise with a_t in place of the textbook's
        sqrt(a_t), as the released checkpoints were evaluated. clip: clean poses are clamped to [-1, 1].
        trace: if given, receives (state after the step, clean poses) of every step.
        """
        state = noise
        times = self.sampling_times(steps)
        for now, following in itertools.pairwise(times):
            clean = denoise(state, torch.full((len(state),), now, dtype=torch.long, device=state.device))
            if clip:
                clean = clean.clamp(-1, 1)
            state = clean if following < 0 else self._step(state, clean, now, following, eta, as_published, generator)
            if trace is not None:
                trace.append((state, clean))
        return state

    def _step(
        self,
        state: Tensor,
        clean: Tensor,
        now: int,
        following: int,
        eta: float,
        as_published: bool,
        generator: Generators,
    ) -> Tensor:
        signal, cleaner = float(self._signal[now]), float(self._signal[following])
        sigma = eta * math.sqrt(max((1 - signal / cleaner) * (1 - cleaner) / (1 - signal), 0.0))
        # In float32 this radicand can fall below zero and the published sampler then returns NaN.
        direction = math.sqrt(max(1 - cleaner - sigma**2, 0.0))
        share = signal if as_published else math.sqrt(signal)
        noise = (state - share * clean) / math.sqrt(1 - signal)
        state = math.sqrt(cleaner) * clean + direction * noise
        if sigma > 0:
            state = state + sigma * randn(state.shape, generator, state.device)
        return state
