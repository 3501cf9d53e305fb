"""One picture of a sweep, to be shown: the answer, and what the best trial of each family draws beside real images."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from gansweep.errors import StoreError
from gansweep.files import output_file
from gansweep.report.comparison import folded
from gansweep.report.leaderboard import leaderboard
from gansweep.report.pictures import kept_picture
from gansweep.scoring.metrics.formatting import score_text
from gansweep.search.answer import answer
from gansweep.store.artifacts import sheet_path
from gansweep.store.filesystem import Files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gansweep.report.rows import LeaderboardRow
    from gansweep.store.store import Store

__all__ = ["picture_png", "write_picture"]

_FAMILIES = 3  # at most
_MARGIN = 16
_BACKGROUND = (250, 250, 250)
_INK = (30, 30, 30)
_FAINT = (90, 90, 90)


def write_picture(store: Store, out: Path) -> Path:
    """Writes `picture_png` of a sweep to a file, replacing an earlier one.

    Returns:
        The absolute path of the file.

    Raises:
        StoreError: no trial has a sample sheet; or the destination cannot be written, lies in the store, or is another
            kind of file.
    """
    target = output_file(out, "PNG", reads=store.local, example="picture.png", error=StoreError)
    Files(str(target.parent)).write_bytes(target.name, picture_png(store))
    return target


def picture_png(store: Store) -> bytes:
    """The answer, and under it the sample sheet of the best trial of each family, at most three.

    The sheets show training images beside generated ones: a picture of patients is to be kept as they are.

    Args:
        store: the sweep.

    Returns:
        a PNG.

    Raises:
        StoreError: no trial has a sample sheet.
    """
    names = [objective.name for objective in store.info.objectives]
    best: dict[str, tuple[str, Image.Image]] = {}
    for row in folded(leaderboard(store)):
        if row.config.family in best or len(best) == _FAMILIES:
            continue
        sheet = kept_picture(store, sheet_path(row.trial_id))
        if sheet:
            best[row.config.family] = (_caption(row, names), Image.open(io.BytesIO(sheet)))
    if not best:
        raise StoreError("no trial has a sample sheet yet, so there is nothing to draw", where=store.info.name)
    return _drawn(answer(store).text, list(best.values()))


def _caption(row: LeaderboardRow, objectives: Sequence[str]) -> str:
    scores = ", ".join(f"{name} {score_text(name, row.scores.get(name))}" for name in objectives)
    return f"Trial {row.trial_id}, {row.config.family}, rank {row.rank}: {scores}"


def _drawn(title: str, blocks: Sequence[tuple[str, Image.Image]]) -> bytes:
    heading = ImageFont.load_default(size=20)
    font = ImageFont.load_default(size=16)
    width = max(sheet.width for _, sheet in blocks) + 2 * _MARGIN
    lines = _wrapped(title, heading, width - 2 * _MARGIN)
    top = _MARGIN + 28 * len(lines)
    height = top + sum(sheet.height + 44 for _, sheet in blocks) + _MARGIN
    picture = Image.new("RGB", (width, height), _BACKGROUND)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((_MARGIN, _MARGIN + 28 * number), line, _INK, heading)
    for caption, sheet in blocks:
        draw.text((_MARGIN, top + 16), caption, _FAINT, font)
        picture.paste(sheet.convert("RGB"), (_MARGIN, top + 40))
        top += sheet.height + 44
    data = io.BytesIO()
    picture.save(data, format="PNG", optimize=True)
    return data.getvalue()


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """`text` in lines of at most `width` pixels; a longer word stands alone."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
