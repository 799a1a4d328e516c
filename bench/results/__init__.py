"""What a run leaves: records (the truth), statistics, sweeps, and the log of the tracker."""
