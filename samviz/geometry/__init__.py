"""What is measured: eigenpairs, trace, alignment, landscape slices, each with its evidence."""

from samviz.geometry.alignment import Alignment, alignment
from samviz.geometry.eigenpairs import Eigenpairs, top_eigenpairs
from samviz.geometry.landscape import Landscape, Plane, hessian_plane, landscape, pca_plane, random_plane, slices
from samviz.geometry.trace import Trace, hessian_trace

__all__ = [
    "Alignment",
    "Eigenpairs",
    "Landscape",
    "Plane",
    "Trace",
    "alignment",
    "hessian_plane",
    "hessian_trace",
    "landscape",
    "pca_plane",
    "random_plane",
    "slices",
    "top_eigenpairs",
]
