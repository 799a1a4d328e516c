"""The log of runs: MLflow behind a tracker."""
