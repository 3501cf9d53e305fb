"""The options of the commands. The command line, submitted jobs, `sweep.json` and the library share these models.

Each field is an option under its own name (`wait_for_nodes` is `--wait-for-nodes`), with its description as the help.
A new field needs no further code: it reaches the command line, submitted jobs, the library and `sweep.json`. The help
lists a command's own options first, then those that it shares with others through a base model.
"""

from gansweep.options.generators import (
    Attribution,
    GenerateOptions,
    JobOptions,
    ReaderStudyOptions,
    ScoreOptions,
    TrainOptions,
)
from gansweep.options.search import (
    AblateOptions,
    ClusterOptions,
    Placement,
    RepeatOptions,
    ReplayOptions,
    RetrainingOptions,
    SweepOptions,
    TrainingOptions,
)
from gansweep.options.verdict import AnswerOptions, ConfirmOptions, ConfirmSettings

__all__ = [
    "AblateOptions",
    "AnswerOptions",
    "Attribution",
    "ClusterOptions",
    "ConfirmOptions",
    "ConfirmSettings",
    "GenerateOptions",
    "JobOptions",
    "Placement",
    "ReaderStudyOptions",
    "RepeatOptions",
    "ReplayOptions",
    "RetrainingOptions",
    "ScoreOptions",
    "SweepOptions",
    "TrainOptions",
    "TrainingOptions",
]
