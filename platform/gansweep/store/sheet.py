"""PNG pictures of real and generated images: by class, or each generated image with its nearest real images."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from gansweep.contracts import ImageSet

    Pixels = NDArray[np.uint8]

__all__ = ["growth_png", "nearest_png", "sheet_png"]

_ROWS = 2  # of images per class: a nearly square sheet stays legible when the dashboard shrinks it
_REAL = 4
_GENERATED = 8  # images per class
_CELL = 96  # least side in pixels; images are enlarged by whole factors, so that no pixel is interpolated
_GAP = 4
_MARGIN = 12
_LABEL = 120
_HEADER = 34
_BETWEEN = 28
_BACKGROUND = (250, 250, 250)
_INK = (30, 30, 30)
_FAINT = (200, 200, 200)


def sheet_png(real: ImageSet, fake_images: Tensor, fake_labels: Tensor, classes: Sequence[str]) -> bytes:
    """Draws one block per class: real images on the left, generated images on the right.

    The picture contains only pixels and class names, never a patient hash or a file name.

    Args:
        real: training images to compare with.
        fake_images: generated images `[n, C, H, W]` in [-1, 1]. Channel counts other than 1 and 3 are shown side by
            side.
        fake_labels: labels `[n]`, as indices into `classes`.
        classes: class names.

    Returns:
        The picture as a PNG.
    """
    blocks = [
        (name, _pick(real.images, real.labels, label, _REAL), _pick(fake_images, fake_labels, label, _GENERATED))
        for label, name in enumerate(classes)
    ]
    # A generated image with its mask beside it is wider than a real one.
    of_real = _cell_size([cell for _, left, _ in blocks for cell in left])
    of_fake = _cell_size([cell for _, _, right in blocks for cell in right])
    height = max(of_real[0], of_fake[0])
    split = _MARGIN + _LABEL + _REAL // _ROWS * (of_real[1] + _GAP) + _BETWEEN // 2
    right_of = split + _BETWEEN // 2
    width = right_of + _GENERATED // _ROWS * (of_fake[1] + _GAP) + _MARGIN
    size = (width, _HEADER + len(blocks) * _block(height) + _MARGIN)
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    draw.text((_MARGIN + _LABEL, 9), "real (training)", _INK, font)
    draw.text((right_of, 9), "generated", _INK, font)
    draw.line([(split, _HEADER), (split, sheet.height - _MARGIN)], _FAINT, 2)
    for row, (name, left, right) in enumerate(blocks):
        top = _HEADER + row * _block(height)
        draw.text((_MARGIN, top + height - 8), _shortened(name, font), _INK, font)
        _paste(sheet, left, _MARGIN + _LABEL, top, (height, of_real[1]))
        _paste(sheet, right, right_of, top, (height, of_fake[1]))
    return _encoded(sheet)


def growth_png(images: Tensor, labels: Tensor) -> bytes:
    """Samples in native pixels, a row for each class: small enough to be kept at every report.

    Args:
        images: `[n, C, H, W]` in [-1, 1].
        labels: `[n]`, equally many of each.

    Returns:
        a PNG.
    """
    pictures = [_as_picture(image) for image in _grey(images)]
    rows = [
        np.concatenate([pictures[place] for place in np.flatnonzero(labels.numpy() == label)[:_GENERATED]], axis=1)
        for label in labels.unique().tolist()
    ]
    return _encoded(Image.fromarray(np.concatenate(rows, axis=0)))


def nearest_png(columns: Mapping[str, Tensor], captions: Sequence[str]) -> bytes:
    """Draws one line per generated image: a caption, the image, and the real images nearest to it.

    The picture shows real images unchanged, so store it only where patients' images may be stored. It contains no
    patient hash and no file name.

    Args:
        columns: images by column heading, `[n, C, H, W]` in [-1, 1] each. Row i of every column belongs to line i.
        captions: text to the left of each of the n lines.

    Returns:
        The picture as a PNG, with the lines in two blocks side by side.
    """
    pictures = [[_enlarged(_as_picture(image)) for image in _grey(images)] for images in columns.values()]
    height, width = _cell_size([picture for column in pictures for picture in column])
    lines = -(-len(captions) // 2)
    block = _LABEL + len(columns) * (width + _GAP) + _BETWEEN
    sheet = Image.new("RGB", (2 * block + _MARGIN, _HEADER + lines * (height + _GAP) + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    for line, caption in enumerate(captions):
        left = _MARGIN + line // lines * block
        top = _HEADER + line % lines * (height + _GAP)
        draw.text((left, top + height // 2 - 8), caption, _INK, font)
        for place, (heading, column) in enumerate(zip(columns, pictures, strict=True)):
            corner = (left + _LABEL + place * (width + _GAP), top)
            if line % lines == 0:
                draw.text((corner[0], 9), heading, _INK, font)
            sheet.paste(Image.fromarray(column[line]).convert("RGB"), corner)
    return _encoded(sheet)


def _block(height: int) -> int:
    """Returns the distance from one class to the next, in pixels."""
    return _ROWS * (height + _GAP) + 2 * _GAP


def _pick(images: Tensor, labels: Tensor, label: int, count: int) -> list[Pixels]:
    return [_enlarged(_as_picture(image)) for image in _grey(images[labels == label][:count])]


def _grey(images: Tensor) -> Pixels:
    """Converts images in [-1, 1] to bytes."""
    grey: Pixels = ((images.detach().cpu().float().clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
    return grey


def _as_picture(image: Pixels) -> Pixels:
    """Converts `[C, H, W]` to `[H, W]`, to `[H, W, 3]` or, for other channel counts, to `[H, C * W]`."""
    if len(image) == 3:
        return image.transpose(1, 2, 0)
    return np.concatenate(list(image), axis=1)


def _enlarged(picture: Pixels) -> Pixels:
    factor = -(-_CELL // picture.shape[0])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _cell_size(cells: list[Pixels]) -> tuple[int, int]:
    return max((cell.shape[0] for cell in cells), default=_CELL), max((cell.shape[1] for cell in cells), default=_CELL)


def _paste(sheet: Image.Image, pictures: list[Pixels], left: int, top: int, cell: tuple[int, int]) -> None:
    for place, picture in enumerate(pictures):
        row = place % _ROWS
        column = place // _ROWS
        corner = (left + column * (cell[1] + _GAP), top + row * (cell[0] + _GAP))
        sheet.paste(Image.fromarray(picture).convert("RGB"), corner)


def _shortened(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    short = name
    while font.getlength(short) > _LABEL - _GAP:
        short = short.removesuffix("…")[:-1] + "…"
    return short


def _encoded(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
