"""From a trained method to numbers: predictions, scores, hypotheses, corruption, groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.system.lazy import lazily

if TYPE_CHECKING:
    from bench.evaluation.predictions import Predictions as Predictions
    from bench.evaluation.predictions import predict as predict
    from bench.evaluation.scores import Scores as Scores
    from bench.evaluation.scoring import evaluate as evaluate
    from bench.evaluation.scoring import score as score

_HOME = {
    "Predictions": "bench.evaluation.predictions",
    "Scores": "bench.evaluation.scores",
    "evaluate": "bench.evaluation.scoring",
    "predict": "bench.evaluation.predictions",
    "score": "bench.evaluation.scoring",
}

__all__ = sorted(_HOME)
__getattr__, __dir__ = lazily(__name__, _HOME)
