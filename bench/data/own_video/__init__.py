"""Keypoint files of one person's own videos."""
