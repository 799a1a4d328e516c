"""The code of a logged model ("models from code"): MLflow runs it to load the model, in place of a pickle.

It is copied into each logged model, so it imports only `bench.logged_model` of the suite, whose path never changes.
"""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np

from bench.logged_model import lift, load_method


class Lifter(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow has no types
    """From keypoints to poses, as `bench.logged_model.lift`."""

    def load_context(self, context: Any) -> None:
        self.method = load_method(context.artifacts["weights"])

    def predict(
        self,
        context: Any,
        model_input: np.ndarray,  # MLflow warns of an array type that says more
        params: dict[str, Any] | None = None,
    ) -> Any:
        return lift(self.method, model_input, **(params or {}))


mlflow.models.set_model(Lifter())
