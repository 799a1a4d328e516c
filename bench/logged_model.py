"""What the code in a logged model imports: `load_method` and `lift`.

This import path must not change: every model logged so far imports it when it is loaded.
"""

from bench.method.logged_model import lift, load_method

__all__ = ["lift", "load_method"]
