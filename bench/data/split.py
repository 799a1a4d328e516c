"""The data of a benchmark by what they are for: to train on, to choose on, to test on."""

from __future__ import annotations

from dataclasses import dataclass

from bench.config import Protocol
from bench.data.pose_dataset import PoseDataset


@dataclass(frozen=True)
class Split:
    """Parts of one data set, or of two where a benchmark tests on other data than it trains on.

    everything: the data set that is trained on, all its subjects. validation: None where nothing is held out. testing:
    in the joints of the training data, whatever its own are.
    """

    everything: PoseDataset
    training: PoseDataset
    validation: PoseDataset | None
    testing: PoseDataset

    @classmethod
    def of(cls, protocol: Protocol, trained_on: PoseDataset, tested_on: PoseDataset | None = None) -> Split:
        """What a protocol says of its data sets. tested_on: None where it is the same one.

        Raises BenchError if a subject is not there.
        """
        testing = (tested_on or trained_on).subset(protocol.test_subjects)
        return cls(
            everything=trained_on,
            training=trained_on.subset(protocol.fitted_subjects),
            validation=trained_on.subset(protocol.validation_subjects) if protocol.validation_subjects else None,
            testing=testing.in_joints_of(trained_on.skeleton),
        )

    @property
    def crosses(self) -> bool:
        """Whether other data are tested on than are trained on."""
        return self.training.fingerprint != self.testing.fingerprint
