"""One benchmark for monocular 3D human-pose lifters."""
