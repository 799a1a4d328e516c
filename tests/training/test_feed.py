"""Batches from a data set on a device are those that are gathered on the CPU, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from samples import toy_dataset

from bench.data import windows
from bench.data.windows import gather, train_windows
from bench.method import Window
from bench.system import device
from bench.training import feed
from bench.training.feed import Feed

CPU = torch.device("cpu")
WINDOWS = [Window(9), Window(27), Window(9, "centre"), Window(9, "centre", step=2), Window(9, "last"), Window(1)]


@pytest.fixture(scope="module")
def dataset():
    return toy_dataset()


def as_on_a_gpu(block: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The lookup of other devices, on a tensor of the CPU."""
    return block.index_select(0, rows.flatten()).reshape(*rows.shape, *block.shape[1:])


@pytest.mark.parametrize("lookup", [windows.taken, as_on_a_gpu])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("resident", [True, False])
def test_batches_are_those_that_are_gathered(dataset, monkeypatch, window, flip, lookup, resident):
    monkeypatch.setattr(feed, "taken", lookup)
    for layout in ("tail", "centred"):
        table = train_windows(dataset.lengths, window, layout)
        source = Feed(dataset, table, window, CPU, flip=flip, resident=resident)
        assert source.windows == len(table) * (2 if flip else 1)
        order = np.random.default_rng(0).permutation(source.windows)
        batches = list(source.batches(order, 5))
        assert [len(batch) for batch in batches] == [len(order[first : first + 5]) for first in range(0, len(order), 5)]
        for number, batch in enumerate(batches):
            chosen = order[5 * number : 5 * number + 5]
            expected = gather(dataset, table[chosen % len(table)], window, flipped=chosen >= len(table))
            assert torch.equal(batch.keypoints_2d, expected.keypoints_2d)
            assert torch.equal(batch.poses_3d, expected.poses_3d)
            assert torch.equal(batch.supervised, expected.supervised)


def test_batches_are_copies(dataset):
    """A method may change its batch; the data stay as they are."""
    window = Window(9)
    source = Feed(dataset, train_windows(dataset.lengths, window), window, CPU, flip=False)
    (first, *_), before = source.batches(np.arange(4), 4), dataset.poses_3d.clone()
    first.poses_3d.zero_()
    assert torch.equal(dataset.poses_3d, before)


def test_data_stay_on_a_gpu_if_they_take_a_quarter_of_what_is_free(monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (4_000, 10_000))
    assert device.fits(1_000, gpu)
    assert not device.fits(1_001, gpu)
    assert device.fits(device.COPIES, CPU)
    assert not device.fits(device.COPIES + 1, CPU)


def test_a_data_set_that_does_not_fit_is_not_copied(dataset, monkeypatch):
    monkeypatch.setattr(feed, "fits", lambda size, device: size < 1000)
    window = Window(9)
    assert not Feed(dataset, train_windows(dataset.lengths, window), window, CPU, flip=True).resident
