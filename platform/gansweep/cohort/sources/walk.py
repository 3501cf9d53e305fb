"""Lists the images below a folder, and other files that may have been intended as images."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gansweep.cohort.sources.source import Rejected, format_of
from gansweep.cohort.sources.suffixes import known_suffix

__all__ = ["is_hidden", "is_plain", "leaves", "real_path", "walk"]

# Folders that operating systems, tools and network drives add: macOS archives, thumbnails, bins, snapshots, caches.
_TOOLS = {
    *("__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    *("#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@tmp", "@sharebin", "recycler", "recycled"),
    *("_gsdata_", "network trash folder", "temporary items", "thumbnails", "thumbs", "icon\r"),
}
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")
# Files that accompany images. Nobody expects them in a cohort, so they are not reported.
_DOCUMENTS = (
    *(".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".rtf", ".odt", ".html", ".htm", ".css", ".js", ".log"),
    *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".json", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".db"),
    *(".py", ".ipynb", ".m", ".r", ".sh", ".bib", ".bval", ".bvec", ".sha256", ".md5", ".parquet"),
)
_NOTES = {"dicomdir", "readme", "license", "licence", "changes", "changelog", "authors", "version", "makefile"}
_ANNEX = (".git", "annex", "objects")  # where git-annex keeps the content of files


def walk(root: Path) -> tuple[list[Path], list[Rejected]]:
    """Returns all images below a folder.

    Hidden files and folders are skipped silently. Archives are never opened. Links to folders are not followed, nor are
    links to files outside the folder.

    Args:
        root: the folder; it may be a link itself.

    Returns:
        (images in the order of their paths, other files that may be or contain images).
    """
    images: list[Path] = []
    others: list[Rejected] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        links = [name for name in folders if Path(folder, name).is_symlink()]
        others += [_left_out(root, Path(folder, name), "a link to a folder, which is not followed") for name in links]
        for name in sorted(files):
            if is_hidden(name):
                continue
            path = Path(folder, name)
            reason = _obstacle(path, root)
            if not reason and format_of(path):
                images.append(path)
                continue
            reason = reason or _unreadable_kind(path)
            if reason:
                others.append(_left_out(root, path, reason))
    return sorted(images), others


def is_hidden(name: str) -> bool:
    """Returns whether a file or folder is hidden, or belongs to a tool."""
    return name.startswith(".") or name.casefold() in _TOOLS


def is_plain(path: Path) -> bool:
    """Returns whether a path is a regular file and no link. Most files are, and one look at the disk tells it."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def real_path(path: Path) -> Path:
    """Returns a path without links. Unlike `Path.resolve`, it accepts links that lead in a circle in every Python."""
    return Path(os.path.realpath(path))


def leaves(path: Path, folders: tuple[Path, ...], real: Path | None = None) -> bool:
    """Returns whether a path is a link out of all of `folders`, or leads through one.

    The content of a git-annex repository belongs to each folder in it: DataLad replaces files by links there.

    A path that is itself outside, such as `../other/1.png`, only leaves if the file is a link.

    Args:
        path: the path.
        folders: folders that may be read.
        real: `real_path(path)`, if it is known.
    """
    real = real_path(path) if real is None else real
    inside = [real_path(folder) for folder in folders]
    if any(real.is_relative_to(folder) for folder in inside):
        return False
    if _ANNEX[-1] in real.parts and any(real.is_relative_to(annex) for annex in map(_annex_of, inside) if annex):
        return False
    written = _without_dots(path)
    below = any(written.is_relative_to(folder) for folder in [*inside, *map(_without_dots, folders)])
    return below or path.is_symlink()


def _annex_of(folder: Path) -> Path | None:
    """Returns the folder with the content of the git-annex repository that a folder is in, or None.

    Only the innermost repository counts. If one of the folders of its annex is a link, the content lies elsewhere and
    is no part of the repository.

    Args:
        folder: a path without links.
    """
    for above in (folder, *folder.parents):
        if not Path(above, ".git").exists():
            continue
        annex = _git_of(above).joinpath(*_ANNEX[1:])
        return annex if annex.is_dir() and real_path(annex) == annex else None
    return None


def _git_of(repository: Path) -> Path:
    """Returns the folder `.git` of a repository. That of a submodule is a link into the repository around it."""
    git = repository / _ANNEX[0]
    real = real_path(git)
    modules = [above / _ANNEX[0] / "modules" for above in repository.parents]
    return real if any(real.is_relative_to(folder) for folder in modules) else git


def _without_dots(path: Path) -> Path:
    """Returns an absolute path without `..`, but with links."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps `..`


def _obstacle(path: Path, root: Path) -> str:
    """Returns why a file must not or cannot be opened, or ""."""
    if is_plain(path):
        return ""
    if path.is_symlink():
        if leaves(path, (root,)):
            return "a link out of the folder, which is not followed"
        if not path.exists():
            fetch = "; datalad get fetches its content" if "annex/objects/" in str(path.readlink()) else ""
            return f"a link that leads to no file{fetch}"
    return "" if path.is_file() else "not a regular file"


def _unreadable_kind(path: Path) -> str:
    """Returns which kind a file is that is not an image, or "" if it accompanies images."""
    name = path.name.casefold()
    if name in _NOTES or name.endswith(_DOCUMENTS):
        return ""
    if name.endswith(_ARCHIVES):
        return "an archive, which is not opened"
    kind = known_suffix(name) or ("an unknown suffix" if path.suffix else "no suffix")
    return f"files of this kind are not read ({kind})"


def _left_out(root: Path, path: Path, reason: str) -> Rejected:
    return Rejected(str(path.relative_to(root)), reason, bad=False, path=path)
