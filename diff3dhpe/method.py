"""Diff3DHPE: lifts by denoising. Poses are drawn from noise, conditioned on the 2D keypoints of the window.

Zhou et al., "Diff3DHPE: A Diffusion Model for 3D Human Pose Estimation", ICCV Workshops 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from baselines.layers import Sizes
from baselines.mixste import UPSTREAM_NAMES as MIXSTE_NAMES
from baselines.mixste import upstream_sizes
from bench.method import Batch, Generators, Method, Window, in_float32, randn
from bench.method.checkpoint import load_exactly
from diff3dhpe.denoiser import Denoiser
from diff3dhpe.diffusion import Diffusion, Schedule, noise_schedule

if TYPE_CHECKING:
    from bench.data.pose_dataset import PoseDataset

UPSTREAM_NAMES = {
    **MIXSTE_NAMES,
    "fusion_layer.": "fusion.",
    "time_mlp.1.": "time.fc1.",
    "time_mlp.3.": "time.fc2.",
    ".time_mlp.1.": ".time.",
}

# Buffers that follow from the schedule; the published wrapper stores them all.
UPSTREAM_BUFFERS = frozenset(
    (
        *("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_recip_alphas", "p2_loss_weight"),
        *("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod"),
        *("sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod"),
        *("posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2"),
    )
)


class Diff3DHPE(Method):
    """Diffusion lifter, of every frame of the window at once or of its centre.

    targets: "all" frames (sequence to sequence) or the "centre" one (sequence to frame). time_embedding: tell the
    network how noisy its input is. timesteps, schedule: the diffusion it is trained on. sampling_steps: passes of the
    sampler, with `eta` of fresh noise in each. sampler: "textbook" DDIM, or "published" as its authors evaluate. clip:
    keep sampled poses within the scale. clip_loss: weights of at most 3. hypotheses: samples per window, averaged.
    pose_scale: metres that become 1 (default: the largest coordinate in what `scale_over` says, the "training" set, or
    "everything" in the data set's files as its authors do; published checkpoints do not hold theirs).
    """

    name = "diff3dhpe"
    paper = "Zhou et al., ICCV Workshops 2023"
    licence = "CSIRO, non-commercial research only"
    stochastic = True
    parts_add_up = True
    as_published = {
        "model": {"sampler": "published", "scale_over": "everything"},
        "recipe": {"drop_last": True, "keep": "best-test"},
    }

    def __init__(
        self,
        frames: int = 243,
        joints: int = 17,
        *,
        dim: int = 512,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
        targets: Literal["all", "centre"] = "all",
        time_embedding: bool = True,
        timesteps: int = 1000,
        schedule: Schedule = "cosine",
        sampling_steps: int = 5,
        eta: float = 0.0,
        sampler: Literal["textbook", "published"] = "textbook",
        clip: bool = True,
        clip_loss: bool = True,
        hypotheses: int = 1,
        pose_scale: float | None = None,
        scale_over: Literal["training", "everything"] = "training",
    ) -> None:
        super().__init__()
        if targets not in ("all", "centre"):
            raise ValueError(f"targets must be 'all' or 'centre', not {targets!r}")
        if scale_over not in ("training", "everything"):
            raise ValueError(f"scale_over must be 'training' or 'everything', not {scale_over!r}")
        if sampler not in ("published", "textbook"):
            raise ValueError(f"sampler must be 'published' or 'textbook', not {sampler!r}")
        if not isinstance(hypotheses, int) or hypotheses < 1:
            raise ValueError(f"hypotheses must be a whole number of at least 1, not {hypotheses!r}")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must be in 0..1, not {eta}")
        if pose_scale is not None and not pose_scale > 0:
            raise ValueError(f"pose_scale must be above 0, not {pose_scale}")
        self.window = Window(frames, targets=targets)
        self.diffusion = Diffusion(timesteps, schedule)
        self.diffusion.sampling_times(sampling_steps)  # raises before training rather than after
        self.sampling_steps = sampling_steps
        self.eta = eta
        self.sampler = sampler
        self.clip = clip
        self.clip_loss = clip_loss
        self.hypotheses = hypotheses
        self.fixed_scale = pose_scale
        self.prepares_on = scale_over
        sizes = Sizes(frames, joints, dim, depth, heads, mlp_ratio, drop_path)
        self.denoiser = Denoiser(sizes, time_embedding, centre_only=targets == "centre")
        self.register_buffer("pose_scale", torch.tensor(pose_scale or 1.0))

    def prepare(self, training: PoseDataset) -> None:
        if self.fixed_scale is not None:
            return
        extent = training.extent if self.prepares_on == "everything" else None
        self.get_buffer("pose_scale").fill_(float(training.poses_3d.abs().max()) if extent is None else extent)

    def loss(self, batch: Batch, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        poses = batch.poses_3d[:, self.window.answered] / self.get_buffer("pose_scale")
        supervised = batch.supervised[:, self.window.answered]
        device = poses.device
        origin = generator.device if generator is not None else device
        # Drawn for the whole batch, so that a part of it is noised as it would be there.
        windows = len(batch.whole)
        drawn = torch.randint(self.diffusion.timesteps, (windows,), generator=generator, device=origin).to(device)
        noise = randn((windows, *poses.shape[1:]), generator, device)[batch.rows]
        timesteps = drawn[batch.rows]
        noisy = self.diffusion.add_noise(poses, noise, timesteps)
        denoised = self.denoiser(batch.keypoints_2d, noisy, timesteps)
        weight = self.diffusion.loss_weight(timesteps, self.clip_loss)
        counted = batch.whole.supervised[:, self.window.answered]
        return {"total": denoising_loss(denoised, poses, weight, supervised, counted)}

    def lift(self, keypoints_2d: Tensor, *, generator: Generators = None) -> Tensor:
        shape = (*keypoints_2d[:, self.window.answered].shape[:-1], 3)

        def denoise(noisy_poses: Tensor, timesteps: Tensor) -> Tensor:
            poses: Tensor = self.denoiser(keypoints_2d, noisy_poses, timesteps)
            return poses

        drawn = [
            self.diffusion.sample(
                denoise,
                randn(shape, generator, keypoints_2d.device),
                self.sampling_steps,
                eta=self.eta,
                as_published=self.sampler == "published",
                clip=self.clip,
                generator=generator,
            )
            for _ in range(self.hypotheses)
        ]
        return torch.stack(drawn).mean(dim=0) * self.get_buffer("pose_scale")

    @classmethod
    def upstream_hyperparameters(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        weights = _denoiser_part(state)
        return {
            **upstream_sizes(weights),
            "targets": "centre" if "weighted_mean.weight" in weights else "all",
            "time_embedding": "time_mlp.1.weight" in weights,
            "sampler": "published",
            "scale_over": "everything",
            **(_recognise_schedule(state["betas"]) if "betas" in state else {}),
        }

    def load_upstream(self, state: Mapping[str, Tensor]) -> None:
        load_exactly(self.denoiser, _denoiser_part(state), UPSTREAM_NAMES)


@in_float32
def denoising_loss(
    denoised: Tensor, poses: Tensor, weight: Tensor, supervised: Tensor, counted: Tensor | None = None
) -> Tensor:
    """Squared error of the supervised frames, weighted by how noisy the poses were; zero if none is supervised.

    denoised, poses: (batch, frames, joints, 3), divided by the pose scale. weight: (batch,). supervised: (batch,
    frames). counted: `supervised` of the whole batch, if the windows are a part of one. A scalar comes back.
    """
    counted = supervised if counted is None else counted
    per_frame = ((denoised - poses) ** 2).mean(dim=(-2, -1))
    return (weight[:, None] * supervised * per_frame).sum() / counted.sum().clamp(min=1)


def _denoiser_part(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a checkpoint, without the numbers that the published wrapper keeps beside them."""
    weights: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix("model.")
        if name in weights:
            raise ValueError(f"the checkpoint holds {name} twice, with and without model.")
        if key not in UPSTREAM_BUFFERS:
            weights[name] = value
    return weights


def _recognise_schedule(betas: Tensor) -> dict[str, Any]:
    """The schedule that a checkpoint was trained on."""
    names: tuple[Schedule, ...] = ("cosine", "linear", "logcosine")
    for schedule in names:
        if np.allclose(noise_schedule(len(betas), schedule), betas.double().numpy(), rtol=1e-4, atol=1e-7):
            return {"timesteps": len(betas), "schedule": schedule}
    raise ValueError("the checkpoint's betas are of no schedule known here (cosine, linear, logcosine)")
