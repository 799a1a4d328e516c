"""Skeletons and cameras."""
