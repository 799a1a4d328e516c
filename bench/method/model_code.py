"""The Python file in a logged model ("models from code"): what MLflow runs to load it, in place of a pickle."""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np

from bench.method.logged_model import lift, load_method


class Lifter(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # mlflow has no types
    """Keypoints in, poses out, as `bench.method.logged_model.lift`."""

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
