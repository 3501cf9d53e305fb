"""The suffixes of file names that a message may show.

What follows the last dot of a name may be a name, too: `scan.Meier`, `MRT vom 3.4. Weiss`.
"""

from __future__ import annotations

from pathlib import PurePath

__all__ = ["known_suffix"]

_IMAGES = """
dcm dicom ima nii gz img hdr png jpg jpeg jpe jfif webp tif tiff bmp gif ico svg psd pgm ppm pnm pbm pam tga exr
jp2 j2k jpx jpf jpc jls jxl jxr heic heif avif eps wmf emf raw dng cr2 nef arw
mha mhd nrrd nhdr mgz mgh mnc minc mif par rec fdf v3d vti vtk vtp vtu stl obj ply gii surf annot label
svs ndpi scn mrxs vms vmu czi lif lsm nd2 oib oif qptiff bif zvi ets fits fit acr ge xif
avi mp4 mov mkv wmv mpg mpeg m4v webm flv
"""
_OTHERS = """
zip tar tgz bz2 xz 7z rar zst lz lz4 lzma iso dmg cab
txt md rst pdf doc docx rtf odt ppt pptx odp xls xlsx xlsm ods html htm css js log tex bib
csv tsv json jsonl ndjson xml yaml yml toml ini cfg conf db sqlite sql
py ipynb pyc m r sh bat ps1 exe dll so jar java c cpp h
npy npz mat pkl pickle h5 hdf5 hdf he5 nc zarr parquet feather arrow avro orc tfrecord tfrecords record lmdb mdb
pt pth ckpt onnx pb safetensors bin dat data part tmp temp bak old orig copy swp lock
bval bvec trk tck tractx sha1 sha256 sha512 md5 sig asc
wav mp3 ogg flac url lnk desktop eml msg
"""
_KNOWN = frozenset(f".{word}" for word in f"{_IMAGES} {_OTHERS}".split())


def known_suffix(name: str) -> str:
    """Returns the suffix of a file name as it is written, or "" if it is no well-known one."""
    suffix = PurePath(name).suffix
    return suffix if suffix.casefold() in _KNOWN else ""
