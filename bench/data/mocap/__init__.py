"""Motion capture as videos: reading it, making it up, filming it, detecting it."""
