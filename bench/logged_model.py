"""What the code in a logged model imports: `load_method` and `lift`.

This address is public and stays as it is: every model that was ever logged asks for it when it is loaded.
"""

from bench.method.logged_model import lift, load_method

__all__ = ["lift", "load_method"]
