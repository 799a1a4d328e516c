"""The log of runs: `tracker` says what any log can do; `mlflow_*` keeps one in MLflow, `null` keeps none."""
