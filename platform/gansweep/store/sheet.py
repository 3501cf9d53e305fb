"""PNG pictures of real and generated images: by class, or each generated image with its nearest real images."""

from __future__ import annotations

import io
import math
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from gansweep.contracts import ImageSet

    Pixels = NDArray[np.uint8]

__all__ = ["growth_png", "nearest_png", "sheet_png"]

_ROWS = 2  # rows of images per class: a nearly square sheet stays legible when the dashboard shrinks it
_REAL = 4  # real images per class
_GENERATED = 8  # generated images per class
_CELL = 96  # smallest side of a cell in pixels; images are enlarged by whole factors, so no pixel is interpolated
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
        _Block(
            name=name,
            real=_pictures(real.images[(real.labels == label).nonzero().squeeze(1)[:_REAL]]),
            generated=_pictures(fake_images[fake_labels == label][:_GENERATED]),
        )
        for label, name in enumerate(classes)
    ]
    # A generated image with its mask beside it is wider than a real one.
    real_height, real_width = _cell_size(chain.from_iterable(block.real for block in blocks))
    fake_height, fake_width = _cell_size(chain.from_iterable(block.generated for block in blocks))
    height = max(real_height, fake_height)
    block_height = _ROWS * (height + _GAP) + 2 * _GAP
    real_left = _MARGIN + _LABEL
    divider = real_left + _REAL // _ROWS * (real_width + _GAP) + _BETWEEN // 2
    fake_left = divider + _BETWEEN // 2
    sheet_width = fake_left + _GENERATED // _ROWS * (fake_width + _GAP) + _MARGIN
    sheet = Image.new("RGB", (sheet_width, _HEADER + len(blocks) * block_height + _MARGIN), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=15)
    draw.text((real_left, 9), "real (training)", _INK, font)
    draw.text((fake_left, 9), "generated", _INK, font)
    draw.line([(divider, _HEADER), (divider, sheet.height - _MARGIN)], _FAINT, 2)
    for row, block in enumerate(blocks):
        top = _HEADER + row * block_height
        draw.text((_MARGIN, top + height - 8), _shortened(block.name, font), _INK, font)
        _paste(sheet, block.real, (real_left, top), (height, real_width))
        _paste(sheet, block.generated, (fake_left, top), (height, fake_width))
    return _encoded(sheet)


def growth_png(images: Tensor, labels: Tensor) -> bytes:
    """Draws one row of samples per class, one pixel of the picture for each pixel of a sample.

    The picture is small enough to be kept for every report.

    Args:
        images: generated images `[n, C, H, W]` in [-1, 1].
        labels: class indices `[n]`. Each class occurs equally often.

    Returns:
        The picture as a PNG.
    """
    rows = []
    for label in labels.unique():
        samples = _to_bytes(images[labels == label][:_GENERATED])
        rows.append(np.concatenate([_as_picture(sample) for sample in samples], axis=1))
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
    pictures = {heading: _pictures(images) for heading, images in columns.items()}
    height, width = _cell_size(chain.from_iterable(pictures.values()))
    lines_per_block = math.ceil(len(captions) / 2)
    block_width = _LABEL + len(columns) * (width + _GAP) + _BETWEEN
    sheet_size = (2 * block_width + _MARGIN, _HEADER + lines_per_block * (height + _GAP) + _MARGIN)
    sheet = Image.new("RGB", sheet_size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    for line, caption in enumerate(captions):
        block, row = divmod(line, lines_per_block)
        left = _MARGIN + block * block_width
        top = _HEADER + row * (height + _GAP)
        draw.text((left, top + height // 2 - 8), caption, _INK, font)
        left += _LABEL
        for heading, column in pictures.items():
            if row == 0:
                draw.text((left, 9), heading, _INK, font)
            sheet.paste(Image.fromarray(column[line]).convert("RGB"), (left, top))
            left += width + _GAP
    return _encoded(sheet)


class _Block(NamedTuple):
    """The pictures of one class."""

    name: str
    real: list[Pixels]
    generated: list[Pixels]


def _pictures(images: Tensor) -> list[Pixels]:
    """Converts images `[n, C, H, W]` in [-1, 1] to pictures that are large enough to see."""
    return [_enlarged(_as_picture(image)) for image in _to_bytes(images)]


def _to_bytes(images: Tensor) -> Pixels:
    """Converts images from [-1, 1] to bytes."""
    images = images.detach().cpu().float().clamp(-1, 1)
    pixels: Pixels = ((images + 1) * 127.5).round().byte().numpy()
    return pixels


def _as_picture(image: Pixels) -> Pixels:
    """Converts `[C, H, W]` to `[H, W]`, to `[H, W, 3]` or, for other channel counts, to `[H, C * W]`."""
    if len(image) == 3:
        return image.transpose(1, 2, 0)
    return np.concatenate(list(image), axis=1)


def _enlarged(picture: Pixels) -> Pixels:
    factor = math.ceil(_CELL / picture.shape[0])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _cell_size(pictures: Iterable[Pixels]) -> tuple[int, int]:
    """Returns the height and width of a cell that holds each of `pictures`."""
    sizes = [picture.shape[:2] for picture in pictures]
    if not sizes:
        return _CELL, _CELL
    heights, widths = zip(*sizes, strict=True)
    return max(heights), max(widths)


def _paste(sheet: Image.Image, pictures: list[Pixels], corner: tuple[int, int], cell: tuple[int, int]) -> None:
    """Pastes pictures column by column.

    Args:
        sheet: the picture to paste into.
        pictures: what to paste.
        corner: left and top of the first picture, in pixels.
        cell: height and width of the space for each picture, in pixels.
    """
    left, top = corner
    height, width = cell
    for index, picture in enumerate(pictures):
        column, row = divmod(index, _ROWS)
        place = (left + column * (width + _GAP), top + row * (height + _GAP))
        sheet.paste(Image.fromarray(picture).convert("RGB"), place)


def _shortened(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    short = name
    while font.getlength(short) > _LABEL - _GAP:
        short = short.removesuffix("…")[:-1] + "…"
    return short


def _encoded(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
