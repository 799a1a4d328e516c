"""Motion capture as videos: file readers, synthetic motion, simulated cameras and a simulated detector."""
