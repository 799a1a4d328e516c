"""Keypoint files of a user's own videos."""
