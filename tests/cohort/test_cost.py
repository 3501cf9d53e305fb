"""What ingest does once for many small pictures, or not at all. Calls are counted, because seconds vary."""

from __future__ import annotations

import cProfile
import pstats
import subprocess
import sys
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from gansweep.cohort.sources.find import find_sources
from tests.cohort.scans import cohort_of, write_picture

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def calls_in(work: Callable[[], Any]) -> Counter[str]:
    """Returns how often each function is called, by its name."""
    profile = cProfile.Profile()
    profile.runcall(work)
    calls: Counter[str] = Counter()
    for (_, _, name), (_, count, *_) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        calls[name] += count
    return calls


def write_table(folder: Path, files: int) -> None:
    folder.mkdir()
    rows = [f"{number}.png,{'ab'[number % 2]},p{number // 10}" for number in range(files)]
    (folder / "labels.csv").write_text("\n".join(["path,label,patient_id", *rows]) + "\n")
    for number in range(files):
        (folder / f"{number}.png").touch()


def test_a_file_is_found_with_few_calls(tmp_path: Path) -> None:
    found = []
    for files in (100, 300):
        write_table(tmp_path / str(files), files)
        found.append(calls_in(partial(find_sources, tmp_path / str(files))))
    few, many = found
    assert (many.total() - few.total()) / 200 < 600, "390 with Python 3.11"
    assert many["label_form"] == 2, "once for each label"
    assert many["realpath"] == few["realpath"], "no more than once for each folder"


def test_a_patient_is_spelled_once_for_all_images(tmp_path: Path) -> None:
    write_table(tmp_path / "source", 60)
    for number in range(60):
        write_picture(tmp_path / "source" / f"{number}.png", number)
    calls = calls_in(lambda: cohort_of(tmp_path / "source", tmp_path / "out", label_per="image"))
    assert calls["patient_spelling"] == 2 * 6, "for the hashes, and for the warning about several spellings"


def test_reading_pictures_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    write_picture(tmp_path / "1.png", 1)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from gansweep.cohort.ingest.grouping import Unit\n"
        "from gansweep.cohort.ingest.reading import read_unit\n"
        "from gansweep.cohort.ingest.settings import IngestSettings\n"
        "from gansweep.cohort.sources.source import Source\n"
        f"path = Path({str(tmp_path / '1.png')!r})\n"
        "for size in (20, 16, 32):\n"
        "    unit = Unit((Source(path, '1.png', 'a'),), {path: ''})\n"
        "    (picture,) = read_unit(unit, IngestSettings(size=size))\n"
        "    loaded = [name for name in ('torch', 'scipy.spatial', 'pandas') if name in sys.modules]\n"
        "    print(picture.pixels.shape[-1], *loaded)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert ran.stdout.splitlines() == ["20", "16", "32 torch"], "torch enlarges, and the other two are not for reading"
