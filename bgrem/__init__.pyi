# The types of the public names, for type checkers and editors; what they mean is in
# the docstrings. photutils has no types, so what is inherited from it is listed here.
# A test holds the parameters to those of the code.

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Literal, TypeAlias, overload

from astropy.nddata import CCDData, NDData
from astropy.stats import SigmaClip
from astropy.wcs.wcsapi import BaseHighLevelWCS, BaseLowLevelWCS
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from photutils.background import Background2D
from photutils.segmentation import SegmentationImage, SourceCatalog

from bgrem.finder import SourceDetector
from bgrem.scale.arrays import SubtractedArrays
from bgrem.weights import Weights as _Weights

__all__ = [
    'DiffusionBackground',
    '__version__',
    'decode_detection_flags',
    'detect_file',
    'list_weights',
    'load_weights',
    'make_detection_mask',
    'subtract_array',
    'subtract_file',
]

__version__: str

_Image: TypeAlias = ArrayLike | NDData
# A Quantity, which is an array, where the data have a unit.
_Map: TypeAlias = NDArray[Any]
_Path: TypeAlias = str | PathLike[str]
_Weighting: TypeAlias = _Path | _Weights
_Size: TypeAlias = int | Sequence[int] | NDArray[Any]

# It is None where nothing is detected; "or Any" spares the many calls that know
# better a test for it.
_Segments: TypeAlias = SegmentationImage | Any
# Or Any, for the attributes that are columns of ours.
_Catalog: TypeAlias = SourceCatalog | Any

class DiffusionBackground(Background2D):
    def __init__(
        self,
        data: _Image,
        box_size: _Size | Literal['auto'] = 'auto',
        *,
        mask: ArrayLike | None = None,
        coverage_mask: ArrayLike | None = None,
        fill_value: float = 0.0,
        exclude_percentile: float = ...,
        filter_size: _Size = ...,
        filter_threshold: float | None = None,
        sigma_clip: SigmaClip | None = ...,
        bkg_estimator: Callable[..., Any] | None = None,
        bkg_rms_estimator: Callable[..., Any] | None = None,
        error: Any = None,
        exposure: Any = None,
        remove_stripes: bool = False,
        weights: _Weighting = 'optical',
        n_steps: int | None = None,
        n_symmetries: int = 1,
        normalization: Literal['local', 'global'] | float | NDArray[Any] = 'local',
        device: str = 'auto',
        batch_size: int | None = None,
        progress: bool = False,
        use_nddata_mask: bool = True,
        **options: Any,
    ) -> None: ...
    @property
    def background(self) -> _Map: ...
    @property
    def background_rms(self) -> _Map: ...
    @property
    def background_mesh(self) -> _Map: ...
    @property
    def background_rms_mesh(self) -> _Map: ...
    @property
    def background_median(self) -> Any: ...
    @property
    def background_rms_median(self) -> Any: ...
    @property
    def background_uncertainty(self) -> _Map: ...
    @property
    def n_pixels_mesh(self) -> NDArray[Any]: ...
    @property
    def n_pixels_map(self) -> NDArray[Any]: ...
    @property
    def source(self) -> _Map: ...
    @property
    def noise(self) -> _Map: ...
    @property
    def detection_probability(self) -> NDArray[Any]: ...
    @property
    def meta(self) -> dict[str, Any]: ...
    def subtract(
        self, data: _Image | None = None, *, denoise: bool = False, clip: bool = False
    ) -> _Map: ...
    def detection_mask(
        self,
        *,
        threshold: float | None = None,
        false_discovery_rate: float = 0.05,
        footprint: ArrayLike | None = None,
    ) -> NDArray[Any]: ...
    def detect(
        self,
        *,
        threshold: float | None = None,
        false_discovery_rate: float = 0.05,
        n_pixels: int = 1,
        deblend: bool = True,
    ) -> _Segments: ...
    def catalog(
        self,
        segmentation_image: SegmentationImage | None = None,
        *,
        threshold: float | None = None,
        false_discovery_rate: float = 0.05,
        effective_gain: Any = None,
        data: DiffusionBackground | _Image | None = None,
        error: Any = None,
        zero_point: float | None = None,
        aperture_radii: Sequence[float] | None = None,
        saturation: Any = None,
        aperture_correction: bool = False,
        wcs: BaseHighLevelWCS | BaseLowLevelWCS | None = None,
        **kwargs: Any,
    ) -> _Catalog: ...
    def finder(
        self,
        *,
        threshold: float | None = None,
        false_discovery_rate: float = 0.05,
        n_pixels: int = 1,
        deblend: bool = True,
    ) -> SourceDetector: ...
    def to_nddata(self) -> CCDData | NDData: ...
    def plot(self, **kwargs: Any) -> Figure: ...

def make_detection_mask(
    bkg_or_data: DiffusionBackground | _Image,
    box_size: _Size | Literal['auto'] = 'auto',
    *,
    threshold: float | None = None,
    false_discovery_rate: float = 0.05,
    footprint: ArrayLike | None = None,
    **options: Any,
) -> NDArray[Any]: ...
def subtract_array(
    array: Any,
    *,
    mask: Any = None,
    weights: _Weighting = 'optical',
    n_steps: int | None = None,
    n_symmetries: int = 1,
    device: str = 'auto',
    batch_size: int | None = None,
    block_size: Sequence[int] | None = None,
    parallel: Literal['current-scheduler'] | bool | int = 'current-scheduler',
    return_type: Literal['numpy', 'dask'] | None = None,
) -> SubtractedArrays: ...
def subtract_file(
    input_path: _Path,
    output_path: _Path,
    *,
    hdu: int | str | None = None,
    plane: Sequence[int] | None = None,
    mask: _Path | tuple[_Path, int | str | None] | None = None,
    mask_bits: int | str | None = None,
    error: _Path | tuple[_Path, int | str | None] | None = None,
    error_type: Literal['std', 'var', 'ivar'] = 'std',
    weights: _Weighting = 'optical',
    n_steps: int | None = None,
    n_symmetries: int = 1,
    device: str = 'auto',
    batch_size: int | None = None,
    catalog: bool = True,
    threshold: float | None = None,
    false_discovery_rate: float = 0.05,
    zero_point: float | None = None,
    aperture_correction: bool = False,
    effective_gain: float | str | None = None,
    progress: bool | str = False,
    overwrite: bool = False,
) -> list[dict[str, Any]]: ...
def detect_file(
    input_path: _Path,
    output_path: _Path,
    *,
    hdu: int | str | None = None,
    plane: Sequence[int] | None = None,
    mask: _Path | tuple[_Path, int | str | None] | None = None,
    mask_bits: int | str | None = None,
    error: _Path | tuple[_Path, int | str | None] | None = None,
    error_type: Literal['std', 'var', 'ivar'] = 'std',
    weights: _Weighting = 'optical',
    n_steps: int | None = None,
    n_symmetries: int = 1,
    device: str = 'auto',
    batch_size: int | None = None,
    threshold: float | None = None,
    false_discovery_rate: float = 0.05,
    zero_point: float | None = None,
    aperture_correction: bool = False,
    effective_gain: float | str | None = None,
    progress: bool | str = False,
    overwrite: bool = False,
) -> list[dict[str, Any]]: ...
@overload
def decode_detection_flags(
    flags: int, *, return_bit_values: Literal[False] = False
) -> list[str]: ...
@overload
def decode_detection_flags(
    flags: int, *, return_bit_values: Literal[True]
) -> list[int]: ...
@overload
def decode_detection_flags(
    flags: ArrayLike, *, return_bit_values: bool = False
) -> list[Any]: ...
def list_weights() -> list[str]: ...
def load_weights(name_or_path: _Weighting) -> _Weights: ...
