"""One training step: the losses and gradients of a batch, in parts if it is split, and the update of the weights.

Nothing here changes what is learnt, up to rounding: splitting a batch, computing activations twice and compiling trade
time and memory. Except for what a method draws from torch's global generator (dropout, stochastic depth), which a part
draws after the one before it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.config.schema import Recipe
from bench.data.batch import Batch
from bench.method.base import Method, checked_loss
from bench.system.device import resolved_precision
from bench.system.errors import BenchError
from bench.system.progress import duration, say

COMPILER = "inductor"


class Steps:
    """The steps of a training. micro_batch: windows per part of a batch, less after memory ran out; None: not split.

    Raises BenchError if the method does not allow what the recipe asks for.
    """

    def __init__(
        self, method: Method, optimizer: torch.optim.Optimizer, recipe: Recipe, device: torch.device, label: str
    ) -> None:
        check_options(method, recipe)
        self.micro_batch = recipe.micro_batch
        self._method, self._optimizer, self._recipe, self._device = method, optimizer, recipe, device
        self._label = label
        self._mixed = resolved_precision(recipe.precision, device) == "bfloat16"
        self._compiles = recipe.compile

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Networks compiled, and transformer blocks recomputed, as the recipe says; as they were at the end."""
        recipe, method = self._recipe, self._method
        with ExitStack() as stack:
            if recipe.compile:
                stack.enter_context(_compiled(method))
            if recipe.checkpoint_activations:
                stack.enter_context(_recomputed(method))
            yield

    def take(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Learn from a batch. Returns its losses, which are still on the device. generator: of the method's loss."""
        started = time.monotonic()
        losses = self._gradients(batch, generator)
        if self._recipe.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self._method.parameters(), self._recipe.gradient_clip)
        self._optimizer.step()
        if self._compiles:
            self._compiles = False
            say(f"{self._label}: compiled; the first step took {duration(time.monotonic() - started)}")
        return losses

    def _gradients(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """The losses of a batch, and their gradients in the parameters. Parts are halved until they fit into memory."""
        before = _random_state(generator, self._device)
        while True:
            self._optimizer.zero_grad(set_to_none=True)
            try:
                return self._backward(batch, generator)
            except torch.OutOfMemoryError as error:
                reason = str(error).split(". ")[0]
            self._halve(len(batch), reason)  # outside of `except`, whose traceback keeps activations alive
            _restore(before, generator, self._device)

    def _backward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        if self.micro_batch is None or self.micro_batch >= len(batch):
            return self._backward_one(batch, generator)
        sums: dict[str, Tensor] = {}
        drawn = generator.get_state()
        for part in batch.parts(self.micro_batch):
            generator.set_state(drawn)  # every part draws the numbers of the whole batch
            for name, value in self._backward_one(part, generator).items():
                sums[name] = sums[name] + value if name in sums else value
        return sums

    def _backward_one(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        with torch.autocast(self._device.type, dtype=torch.bfloat16) if self._mixed else nullcontext():
            losses = checked_loss(self._method, batch, generator)
        losses["total"].backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() for name, value in losses.items()}

    def _halve(self, windows: int, reason: str) -> None:
        """Raises BenchError if a batch of so many windows cannot be split further."""
        held = min(self.micro_batch or windows, windows)
        refusal = split_refusal(self._method)
        if held == 1 or refusal:
            advice = "Lower the model's sizes" if held == 1 else f"It cannot be split: {refusal}. Lower batch_windows"
            raise BenchError(f"{self._label}: no memory for a step of {held} windows ({reason}). {advice}")
        self.micro_batch = -(-held // 2)
        torch.cuda.empty_cache()
        say(f"{self._label}: no memory for {held} windows at a time; going on with {self.micro_batch}")


def check_options(method: Method, recipe: Recipe) -> None:
    """Raises BenchError if a method does not allow what a recipe asks for."""
    refusal = split_refusal(method)
    if recipe.micro_batch is not None and refusal:
        raise BenchError(f"{method.name}: recipe.micro_batch cannot split its batches: {refusal}. Leave it out")
    if recipe.checkpoint_activations and not _recomputable(method):
        raise BenchError(
            f"{method.name}: recipe.checkpoint_activations has no effect: none of its modules says recomputable = "
            "True. Leave it out"
        )


def split_refusal(method: Method) -> str | None:
    """Why the gradients of the parts of a batch would not add up to those of the whole; None if they do."""
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in method.modules()):
        return "its batch norms would see the statistics of the parts"
    if not method.parts_add_up:
        return "its losses do not add up (parts_add_up is not set)"
    return None


def _recomputable(method: Method) -> list[nn.Module]:
    return [module for module in method.modules() if getattr(module, "recomputable", False)]


@contextmanager
def _recomputed(method: Method) -> Iterator[None]:
    """Activations within blocks are not held for the gradients, but computed again, with the same random numbers."""
    blocks = _recomputable(method)
    for block in blocks:
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


@contextmanager
def _compiled(method: Method) -> Iterator[None]:
    """Networks are compiled in place, so that names of weights stay the same; PyTorch keeps the code for next time."""
    for network in method.networks():
        network.compile(backend=COMPILER)
    try:
        yield
    finally:
        for network in method.networks():
            network._compiled_call_impl = None  # validation and tests run as written


State = tuple[Tensor, Tensor, Tensor | None]


def _random_state(generator: torch.Generator, device: torch.device) -> State:
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return generator.get_state(), torch.get_rng_state(), on_gpu


def _restore(state: State, generator: torch.Generator, device: torch.device) -> None:
    own, on_cpu, on_gpu = state
    generator.set_state(own)
    torch.set_rng_state(on_cpu)
    if on_gpu is not None:
        torch.cuda.set_rng_state(on_gpu, device)
