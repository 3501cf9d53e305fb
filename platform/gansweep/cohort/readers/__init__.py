"""Reads DICOM, NIfTI and raster files into slices."""
