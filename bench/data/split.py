"""The data of a benchmark, split into training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.config.schema import Protocol
from bench.data import dataset_named, load_dataset
from bench.data.pose_dataset import PoseDataset


@dataclass(frozen=True)
class Split:
    """Parts of one data set, or of two if a benchmark tests on other data than it trains on.

    everything: all subjects of the training data set. validation: None if nothing is held out. testing: converted to
    the joints of the training data set.
    """

    everything: PoseDataset
    training: PoseDataset
    validation: PoseDataset | None
    testing: PoseDataset

    @classmethod
    def load(cls, protocol: Protocol, data: str | Path | None = None) -> Split:
        """The data of a protocol, read once. data: the folder of their files, as `load_dataset`.

        Raises MissingDataError if files are missing, BenchError if their content is invalid.
        """
        trained_on = load_dataset(protocol.trained_on.dataset, data, protocol.trained_on.keypoints)
        return cls.of(protocol, trained_on, _tested_on(protocol, data) if protocol.crosses else None)

    @classmethod
    def of(cls, protocol: Protocol, trained_on: PoseDataset, tested_on: PoseDataset | None = None) -> Split:
        """Split loaded data sets by a protocol. tested_on: None if it is the same data set.

        Raises BenchError if a subject is missing.
        """
        return cls(
            everything=trained_on,
            training=trained_on.subset(protocol.fitted_subjects),
            validation=trained_on.subset(protocol.validation_subjects) if protocol.validation_subjects else None,
            testing=testing_part(protocol, tested_on or trained_on),
        )

    @property
    def crosses(self) -> bool:
        """Whether the benchmark tests on another data set than it trains on."""
        return self.training.fingerprint != self.testing.fingerprint


def load_testing(protocol: Protocol, data: str | Path | None = None) -> PoseDataset:
    """The test data of a protocol, without its training data. data and errors: as `Split.load`."""
    return testing_part(protocol, _tested_on(protocol, data))


def testing_part(protocol: Protocol, tested_on: PoseDataset) -> PoseDataset:
    """The test subjects of the data set that is tested on, in the joints of the one that is trained on."""
    testing = tested_on.subset(protocol.test_subjects)
    return testing.in_joints_of(dataset_named(protocol.trained_on.dataset).skeleton) if protocol.crosses else testing


def _tested_on(protocol: Protocol, data: str | Path | None) -> PoseDataset:
    return load_dataset(protocol.tested_on.dataset, data, protocol.tested_on.keypoints)
