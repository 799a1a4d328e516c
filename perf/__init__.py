"""Speed and memory of the suite beside plain references, as ratios: `make perf`. Nothing here is a test."""
