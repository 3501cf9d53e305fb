"""HTML page of a cohort: what the images look like, the numbers of images, and what was left out."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from gansweep.cohort.ingest.checks import patients_by_class
from gansweep.errors import CohortError
from gansweep.files import output_file, write_atomically
from gansweep.report.drawing import figure_of, name_axes
from gansweep.report.formatting import duration_text
from gansweep.report.fragments import data_uri, figure_fragment, packed_plotly, rendered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    import plotly.graph_objects as go
    from numpy.typing import NDArray

    from gansweep.cohort.dataset import Cohort
    from gansweep.report.space_fit import SpaceFit

__all__ = ["cohort_html", "write_cohort_page"]

SPLITS = ("train", "val", "test")
SHEET = 24  # images per class and split on a contact sheet
COLUMNS = 12
PAIRS = 24  # near-duplicate pairs shown
TILE = 72  # pixels per side
BINS = 64
FEW = 8  # different sizes or spacings that a table lists
DRAWN = 500  # images per class in a histogram


def write_cohort_page(
    cohort: Cohort, out: Path, *, spaces: Sequence[SpaceFit] = (), trial_s: float | None = None
) -> Path:
    """Writes the page of a cohort and replaces an existing one.

    Args:
        cohort: the cohort.
        out: file to write.
        spaces: shipped spaces that fit.
        trial_s: training time of one trial of the first space on this machine, in seconds; None: not measured.

    Returns:
        The absolute path of the file.

    Raises:
        CohortError: the destination is a folder, lies in the cohort, is another kind of file, or cannot be written.
    """
    target = output_file(out, "HTML page", reads=cohort.path, example="cohort.html", error=CohortError)
    page = cohort_html(cohort, spaces=spaces, trial_s=trial_s).encode()
    try:
        write_atomically(target, page)
    except OSError as error:
        fix = "name a file in a writable folder with --out"
        raise CohortError(f"cannot write here: {error.strerror}", where=str(target), fix=fix) from None
    return target


def cohort_html(cohort: Cohort, *, spaces: Sequence[SpaceFit] = (), trial_s: float | None = None) -> str:
    """Returns the page of a cohort as one self-contained HTML document. See `write_cohort_page` for the arguments."""
    info = cohort.info
    return rendered(
        "cohort.html.j2",
        {
            "name": cohort.path.name,
            "info": info,
            "facts": _facts(cohort),
            "splits": SPLITS,
            "table": _class_table(cohort.manifest, info.classes),
            "ranges": {name: info.ranges[name] for name in info.classes if name in info.ranges},
            "sheets": _sheets(cohort),
            "figures": [(title, figure_fragment(figure, title)) for title, figure in _figures(cohort).items()],
            "sizes": _sizes(cohort.manifest),
            "spacings": _spacings(cohort.manifest, info.classes),
            "pairs": _pairs(cohort),
            "left_out": info.left_out or _reasons(cohort.path),
            "spaces": spaces,
            "trial": None if trial_s is None else duration_text(trial_s),
            "plotlyjs": packed_plotly(),
        },
    )


def _facts(cohort: Cohort) -> dict[str, str]:
    info = cohort.info
    return {
        "images": str(len(cohort.manifest)),
        "patients": str(cohort.manifest["patient"].nunique()) + ("" if info.patients_known else " (not known)"),
        "modality": info.modality,
        "window": info.window,
        "size": f"{info.channels} x {info.size} x {info.size}",
        "positive class": info.positive_class,
        "split": "given" if info.split == "given" else ", ".join(f"{part:g}" for part in info.split),
        "content hash": info.content_hash[:12],
    }


def _class_table(manifest: pd.DataFrame, classes: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Returns the numbers of images and patients by class and split; a dash if there are none."""
    patients = patients_by_class(manifest["label"].tolist(), manifest["split"].tolist(), manifest["patient"].tolist())
    images = manifest.groupby(["label", "split"]).size().to_dict()
    table = []
    for name in classes:
        cells = []
        for split in SPLITS:
            count = images.get((name, split), 0)
            cells.append(f"{count} ({len(patients[name][split])})" if count else "-")
        table.append((name, cells))
    return table


def _sheets(cohort: Cohort) -> list[tuple[str, str, int, int, str]]:
    """Returns (class, split, shown, total, picture) for each class and split that has images."""
    labels = cohort.manifest["label"].to_numpy()
    splits = cohort.manifest["split"].to_numpy()
    sheets = []
    for name in cohort.info.classes:
        for split in SPLITS:
            rows = np.flatnonzero((labels == name) & (splits == split))
            if len(rows):
                chosen = _evenly_spaced(rows, SHEET)
                sheets.append((name, split, len(chosen), len(rows), _montage(cohort, chosen, COLUMNS)))
    return sheets


def _evenly_spaced(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Returns at most `most` of the rows, from the first to the last."""
    places = np.linspace(0, len(rows) - 1, min(most, len(rows)))
    chosen: NDArray[np.int64] = rows[places.astype(int)]
    return chosen


def _montage(cohort: Cohort, rows: Sequence[int] | np.ndarray[Any, Any], columns: int) -> str:
    """Returns a montage of the images in some rows of the manifest, as the source of an `img` element."""
    from PIL import Image

    lines = math.ceil(len(rows) / columns)
    columns = min(columns, len(rows))
    pitch = TILE + 2
    # The gaps between the images are transparent, because the page may be light or dark.
    mode = "LA" if cohort.info.channels == 1 else "RGBA"
    sheet = Image.new(mode, (columns * pitch, lines * pitch))
    for index, row in enumerate(rows):
        pixels = np.asarray(cohort.images[row], np.float32) / cohort.info.scale
        pixels = np.round(np.moveaxis(pixels, 0, -1) * 255).astype(np.uint8)
        tile = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        tile = tile.resize((TILE, TILE), Image.Resampling.BILINEAR).convert(mode)
        line, column = divmod(index, columns)
        sheet.paste(tile, (column * pitch, line * pitch))
    data = io.BytesIO()
    sheet.save(data, format="PNG", optimize=True)
    return data_uri(data.getvalue())


def _figures(cohort: Cohort) -> dict[str, go.Figure]:
    """Returns figures of the intensities by class and, if there are too many for a table, of the pixel spacings."""
    import plotly.graph_objects as go

    labels = cohort.manifest["label"].to_numpy()
    intensities = figure_of(320)
    edges = np.linspace(0, 1, BINS + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    for name in cohort.info.classes:
        chosen = _evenly_spaced(np.flatnonzero(labels == name), DRAWN)
        pixels = np.asarray(cohort.images[chosen], np.float32) / cohort.info.scale
        counts, _ = np.histogram(pixels, edges)
        fractions = counts / max(int(counts.sum()), 1)
        intensities.add_trace(go.Scatter(x=centres, y=fractions, mode="lines", name=name))
    intensities.update_yaxes(type="log", dtick=1)  # one tick per power of ten; more would crowd the axis
    name_axes(intensities, x="intensity as stored (0 to 1)", y="fraction of the pixels")
    figures = {"Intensities by class": intensities}
    spacings = cohort.manifest["spacing_mm"]
    if spacings.nunique() > FEW:
        figure = figure_of(280)
        for name in cohort.info.classes:
            figure.add_trace(go.Histogram(x=spacings[(labels == name) & spacings.notna()], name=name))
        figure.update_layout(barmode="group")
        name_axes(figure, x="pixel spacing of the originals (mm)", y="images")
        figures["Spacings by class"] = figure
    return figures


def _sizes(manifest: pd.DataFrame) -> list[tuple[str, int]]:
    """Returns the most common sizes of the original images, `rows x columns`, with their numbers."""
    counts = Counter(zip(manifest["rows"].tolist(), manifest["cols"].tolist(), strict=True))
    shown = [(f"{rows} x {columns}", count) for (rows, columns), count in counts.most_common(FEW)]
    rest = len(manifest) - sum(count for _, count in shown)
    if rest:
        shown.append((f"{len(counts) - FEW} other sizes", rest))
    return shown


def _spacings(manifest: pd.DataFrame, classes: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Returns the images of each class by pixel spacing in mm; none if no spacing is known or there are too many."""
    spacings = manifest["spacing_mm"]
    if not 0 < spacings.nunique() <= FEW:
        return []
    ordered = manifest.sort_values("spacing_mm")  # missing spacings last
    texts = [f"{spacing:.3g}" if np.isfinite(spacing) else "not known" for spacing in ordered["spacing_mm"]]
    counts = Counter(zip(texts, ordered["label"], strict=True))
    return [(text, [counts[text, name] for name in classes]) for text in dict.fromkeys(texts)]


def _pairs(cohort: Cohort) -> dict[str, Any]:
    """Returns the number of equal and near-duplicate pairs and the first of them. Pairs across splits come first."""
    path = cohort.path / "duplicates.csv"
    if not path.is_file():
        return {"count": 0, "crossing": 0, "shown": []}
    with path.open(newline="", encoding="utf-8") as file:
        pairs = list(csv.DictReader(file))
    pairs.sort(key=lambda pair: pair["first_split"] == pair["second_split"])
    crossing = sum(pair["first_split"] != pair["second_split"] for pair in pairs)
    shown = []
    for pair in pairs[:PAIRS]:
        first = f"{pair['first_label']}, {pair['first_split']}"
        second = f"{pair['second_label']}, {pair['second_split']}"
        picture = _montage(cohort, [int(pair["first_image"]), int(pair["second_image"])], 2)
        kind = "equal" if pair["kind"] == "pixels" else "near"
        shown.append({"kind": kind, "text": f"{first} | {second}", "picture": picture})
    return {"count": len(pairs), "crossing": crossing, "shown": shown}


def _reasons(folder: Path) -> dict[str, int]:
    """Returns the number of rejected files by reason, for cohorts that do not record it."""
    import pandas as pd

    path = folder / "rejected.parquet"
    if not path.is_file():
        return {}
    try:
        return dict(Counter(pd.read_parquet(path, columns=["reason"])["reason"]).most_common())
    except (OSError, ValueError, KeyError):  # pyarrow's errors of damaged files are ValueErrors
        raise CohortError("is no table of the files left out", where=str(path), fix="ingest again") from None
