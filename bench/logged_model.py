"""The address of `bench.method.logged_model` in models that earlier versions logged."""

from bench.method.logged_model import lift, load_method

__all__ = ["lift", "load_method"]
