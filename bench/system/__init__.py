"""What every room stands on: errors, paths, progress, stopping, devices, provenance."""
