"""Measurements of a loss: eigenpairs, trace, alignment, sharpness and landscape slices, each with its evidence."""

from samviz.geometry.density import SpectralDensity, spectral_density
from samviz.geometry.eigenpairs import Alignment, Eigenpairs, alignment, top_eigenpairs
from samviz.geometry.hessian import NormalSpace, Trace, hessian_trace, normal_space, third_derivative
from samviz.geometry.landscape import (
    Landscape,
    Plane,
    Trajectory,
    hessian_plane,
    landscape,
    landscape_of,
    pca_plane,
    plane_through,
    projected,
    random_plane,
    slices,
)
from samviz.geometry.sharpness import (
    Regularizer,
    Sharpness,
    ascent_direction_sharpness,
    average_direction_sharpness,
    limiting_regularizer,
    worst_direction_sharpness,
)

__all__ = [
    "Alignment",
    "Eigenpairs",
    "Landscape",
    "NormalSpace",
    "Plane",
    "Regularizer",
    "Sharpness",
    "SpectralDensity",
    "Trace",
    "Trajectory",
    "alignment",
    "ascent_direction_sharpness",
    "average_direction_sharpness",
    "hessian_plane",
    "hessian_trace",
    "landscape",
    "landscape_of",
    "limiting_regularizer",
    "normal_space",
    "pca_plane",
    "plane_through",
    "projected",
    "random_plane",
    "slices",
    "spectral_density",
    "third_derivative",
    "top_eigenpairs",
    "worst_direction_sharpness",
]
