"""HTML page of a question that ended before any search: what the patients can show, and what the rivals are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gansweep.errors import StoreError
from gansweep.files import output_file
from gansweep.report.fragments import rendered
from gansweep.store.filesystem import Files

if TYPE_CHECKING:
    from gansweep.scoring.power import Power
    from gansweep.search.question import Found

__all__ = ["question_html", "write_question_page"]


def write_question_page(found: Found, name: str, out: Path) -> Path:
    """Writes the page of a question without a search and replaces an existing one.

    Args:
        found: result of `gansweep.search.question.answer_question`.
        name: name of the cohort.
        out: file to write.

    Returns:
        The absolute path of the file.

    Raises:
        StoreError: the destination cannot be written, or is another kind of file.
    """
    target = output_file(out, "HTML page", reads=None, example="answer.html", error=StoreError)
    Files(str(target.parent)).write_bytes(target.name, question_html(found, name).encode())
    return target


def question_html(found: Found, name: str) -> str:
    """Returns the page as one self-contained HTML document. See `write_question_page` for the arguments."""
    measures = list(found.rivals.scores["real"])
    return rendered(
        "question.html.j2",
        {
            "name": name,
            "answer": found.answer,
            "css": Path(__file__).with_name("report.css").read_text(encoding="utf-8"),
            "facts": _facts(found.power),
            "to_gain": found.power.needed is not None,
            "measures": measures,
            "arms": [
                (arm, [f"{100 * scores[measure]:.1f}" for measure in measures])
                for arm, scores in found.rivals.scores.items()
            ],
        },
    )


def _facts(power: Power) -> dict[str, str]:
    low, high = power.interval
    return {
        "validation patients": str(power.validation),
        "test patients": str(power.test),
        "accuracy of real images alone": f"{100 * power.accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)",
        "largest possible gain": f"{100 * power.gain:.1f} points",
        "smallest change that the test patients show": f"{100 * power.shown:.1f} points",
        "test patients that would show the largest gain": "none" if power.needed is None else str(power.needed),
    }
