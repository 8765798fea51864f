"""
Weights files that describe themselves.

A weights file is a safetensors file. Its metadata contain, under ``bgrem``, a JSON
header from which the network, its schedule and its options are rebuilt. Nothing in the
file is ever executed: it contains no pickles and no class names.
"""

import hashlib
import json
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from bgrem.checks import name_meant
from bgrem.files.atomic import atomic_path
from bgrem.weights.header import check_header
from bgrem.weights.registry import shipped_weights

__all__ = ['Weights', 'load_weights', 'save_weights']

_SUFFIX = '.safetensors'

# Networks are shared by all the Weights of a process: several threads that use
# the same weights hold one copy of them. A few are kept, so that a script that
# goes through many files does not fill the memory.
_N_CACHED_NETWORKS = 4
_networks = OrderedDict()
_networks_lock = threading.RLock()


def _renew_lock():
    # In a fork nobody would release what another thread of the parent holds.
    global _networks_lock
    _networks_lock = threading.RLock()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_renew_lock)


@dataclass(frozen=True)
class Weights:
    """
    The trained weights of one network, and how to use them.

    Instances come from `load_weights`. They are immutable, safe to share between
    threads, and small: a pickle contains the header and the path but not the tensors,
    so it can be loaded wherever the same file has the same path.

    Parameters
    ----------
    name : str
        The name of the weights.
    path : `~pathlib.Path`
        The absolute path of the file.
    sha256 : str
        The hexadecimal sha256 of the whole file.
    header_json : str
        The header as JSON.
    """

    name: str
    path: Path
    sha256: str
    header_json: str

    def __repr__(self):
        return (
            f'{self.__class__.__name__}(name={self.name!r}, '
            f'path={str(self.path)!r}, sha256={self.sha256[:12]!r}...)'
        )

    @property
    def header(self):
        """The header, a new dict at each access."""
        return json.loads(self.header_json)

    @property
    def config(self):
        """The configuration of the network (`bgrem.nn.UNetConfig`)."""
        from bgrem.nn import UNetConfig

        return UNetConfig.from_dict(self.header['network'])

    @property
    def is_for_counts(self):
        """Whether the network takes photon counts and their expected level."""
        return self.config.transfer == 'counts'

    @property
    def schedule(self):
        """The diffusion schedule (`bgrem.nn.CosineSchedule`)."""
        from bgrem.nn import CosineSchedule

        return CosineSchedule.from_dict(self.header['schedule'])

    @property
    def n_steps(self):
        """The default number of diffusion steps for these weights."""
        return self.header['n_steps']

    @property
    def normalization(self):
        """The normalization for which the weights were made: a name or a factor."""
        return self.header['normalization']

    @property
    def tile_size(self):
        """The side of the tiles in pixels."""
        return self.header['tile_size']

    @property
    def tile_overlap(self):
        """The overlap of neighboring tiles in pixels."""
        return self.header['tile_overlap']

    @property
    def calibration(self):
        """
        The calibration of the center logit, or `None` if there is none.

        A dict with the ascending ``'logit'`` and the corresponding ``'probability'``,
        both lists, and in newer files ``'correction'``, see
        `bgrem.evaluate.image_check.fit_correction`.
        """
        return self.header.get('calibration')

    def network(self, device='cpu'):
        """
        Return the network, in evaluation mode and float32.

        It is built at the first call and shared by the whole process: do not
        train it or move it to another device.

        Parameters
        ----------
        device : str or `torch.device`, optional
            The device for the network.

        Returns
        -------
        network : `bgrem.nn.AttentionUNet`
            The network, without gradients.

        Raises
        ------
        FileNotFoundError
            If the file has disappeared since the weights were loaded.
        ValueError
            If the file has changed since the weights were loaded.
        """
        key = (self.sha256, str(device))
        with _networks_lock:
            network = _networks.get(key)
            if network is None:
                content = _read_file(self.path)
                if _sha256(content) != self.sha256:
                    msg = f'weights file {self.path} has changed since it was loaded'
                    raise ValueError(msg)
                _, state = _unpack(content, self.path)
                network = _build_network(self.header, state, self.path).to(device)
                _networks[key] = network
                while len(_networks) > _N_CACHED_NETWORKS:
                    _networks.popitem(last=False)
            _networks.move_to_end(key)
        return network


def load_weights(name_or_path):
    """
    Load weights by name or from a file, and check them completely.

    Parameters
    ----------
    name_or_path : str or path-like or `Weights`
        The name of weights in the package (see `list_weights`), or the path of a
        ``.safetensors`` file written by `save_weights`. A string is a path
        if it ends in ``.safetensors`` or contains a path separator. `Weights`
        are returned as they are.

    Returns
    -------
    weights : `Weights`
        The weights; the network has already been built and checked.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the name is unknown, the sha256 is not the registered one, or the
        file is not safetensors, is corrupted, has no header, has an unknown
        format version, or its tensors do not match its network configuration.
    TypeError
        If ``name_or_path`` is none of these types.

    Notes
    -----
    The file (about 5 MB for the default weights) is read once, which takes some tens of
    milliseconds. Tensors may be stored as float16, bfloat16 or float32; the network
    computes in float32.

    Examples
    --------
    >>> from bgrem.weights import load_weights
    >>> load_weights('no-such-weights')  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
        ...
    ValueError: weights 'no-such-weights' are not known ...
    """
    if isinstance(name_or_path, Weights):
        return name_or_path
    if not isinstance(name_or_path, (str, os.PathLike)):
        msg = (
            'weights must be the name of weights in the package or the path of a '
            f'{_SUFFIX} file, got {name_or_path!r}'
        )
        raise TypeError(msg)
    path, expected_sha256 = _resolve(name_or_path)
    content = _read_file(path)
    sha256 = _sha256(content)
    if expected_sha256 is not None and sha256 != expected_sha256:
        msg = (
            f'weights {name_or_path!r}: the sha256 of {path} is {sha256}, not '
            f'{expected_sha256} as registered; the file is damaged: install the '
            'package again'
        )
        raise ValueError(msg)
    header, _ = _unpack(content, path)
    weights = Weights(
        name=header['name'],
        path=path,
        sha256=sha256,
        header_json=json.dumps(header),
    )
    weights.network()
    return weights


def save_weights(path, state_dict, header):
    """
    Write weights to a safetensors file that describes itself.

    The file is written beside its final location and then renamed, so that a
    partial file is never read. The result is checked against the network
    configuration before it is written.

    Parameters
    ----------
    path : path-like
        The file, ending in ``.safetensors``; replaced if it exists.

    state_dict : dict of str to `torch.Tensor`
        All tensors of the network. Floating-point tensors may be float16, bfloat16
        or float32 and are stored as they are.

    header : dict
        What is needed to use the weights: ``format_version`` (1), ``name``,
        ``network`` and ``schedule`` (the ``to_dict`` of the network's
        configuration and of its schedule), ``n_steps``, ``normalization``
        (``'local'``, ``'global'`` or a factor), ``tile_size`` and
        ``tile_overlap`` in pixels; and optionally ``calibration`` (a dict
        of ``logit`` and ``probability``, both strictly ascending; or `None`)
        and ``training`` (anything that JSON can represent). ``sha256_state`` is
        computed here.

    Raises
    ------
    ValueError
        If the header or the tensors are invalid.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> from bgrem.weights import load_weights, save_weights
    >>> weights = load_weights('optical')
    >>> state = weights.network().state_dict()
    >>> save_weights('mine.safetensors', state, weights.header)  # doctest: +SKIP
    """
    import safetensors.torch

    path = Path(path)
    if path.suffix != _SUFFIX:
        msg = f'path of weights must end in {_SUFFIX}, got {str(path)!r}'
        raise ValueError(msg)
    header = dict(header)
    check_header(header, path)
    # Tensors may share memory or be strided views, which the format refuses.
    state = {key: value.detach().cpu().clone() for key, value in state_dict.items()}
    state = {key: value.contiguous() for key, value in state.items()}
    _build_network(header, state, path)
    header['sha256_state'] = _sha256(_tensor_bytes(safetensors.torch.save(state)))
    metadata = {'bgrem': json.dumps(header)}
    content = safetensors.torch.save(state, metadata=metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _resolve(name_or_path):
    """Return the absolute path, and the sha256 that it must have or `None`."""
    text = os.fspath(name_or_path)
    is_path = not isinstance(name_or_path, str) or text.endswith(_SUFFIX)
    if is_path or os.sep in text or (os.altsep is not None and os.altsep in text):
        return Path(text).absolute(), None
    table = shipped_weights()
    if text not in table:
        known = ', '.join(map(repr, table)) or 'none'
        meant = name_meant(text, table)
        hint = f' (did you mean {meant!r}?)' if meant else ''
        msg = (
            f'weights {text!r} are not known{hint}; the names in the package are: '
            f'{known}; the path of a {_SUFFIX} file is also accepted'
        )
        raise ValueError(msg)
    return table[text].path, table[text].sha256


def _read_file(path):
    try:
        if path.exists() and not path.is_file():  # a pipe would wait for its writer
            what = 'a directory' if path.is_dir() else 'not a regular file'
            msg = f'weights file {path} is {what}'
            raise ValueError(msg)
        return path.read_bytes()
    except FileNotFoundError:
        msg = f'weights file {path} does not exist'
        raise FileNotFoundError(msg) from None
    except OSError as exc:
        msg = f'weights file {path} cannot be read: {exc.strerror or exc}'
        raise type(exc)(msg) from exc


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def _tensor_bytes(content):
    """Return the part of a safetensors file that follows its own header."""
    return memoryview(content)[8 + int.from_bytes(content[:8], 'little') :]


def _unpack(content, path):
    """Split the content of a weights file into checked header and tensors."""
    import safetensors
    import safetensors.torch

    try:
        state = safetensors.torch.load(content)
        start = 8 + int.from_bytes(content[:8], 'little')
        metadata = json.loads(content[8:start]).get('__metadata__', {})
    except Exception as exc:
        # Of damaged bytes there are a dozen kinds, RecursionError among them.
        msg = (
            f'weights file {path} is not a safetensors file, or is corrupted or '
            f'truncated: {" ".join(str(exc).split())}'
        )
        raise ValueError(msg) from exc
    if 'bgrem' not in metadata:
        msg = f"weights file {path} has no 'bgrem' header; it was not made by bgrem"
        raise ValueError(msg)
    try:
        header = json.loads(metadata['bgrem'])
    except (ValueError, RecursionError) as exc:
        msg = f"weights file {path}: its 'bgrem' header is not JSON: {exc}"
        raise ValueError(msg) from exc
    check_header(header, path)
    expected = header.get('sha256_state')
    if expected is not None and _sha256(_tensor_bytes(content)) != expected:
        msg = f'weights file {path} is corrupted: its tensors fail their checksum'
        raise ValueError(msg)
    return header, state


def _build_network(header, state, path):
    """Build the network of a header and load checked tensors into it."""
    import torch

    from bgrem.nn import AttentionUNet, CosineSchedule, UNetConfig

    try:
        part = 'network'
        config = UNetConfig.from_dict(header['network'])
        part = 'schedule'
        CosineSchedule.from_dict(header['schedule'])
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as exc:
        msg = f'weights file {path}: bad {part} in its header: {exc}'
        raise ValueError(msg) from exc
    if header['tile_size'] % config.size_multiple:
        msg = (
            f'weights file {path}: tile_size must be a multiple of '
            f'{config.size_multiple} for this network, got {header["tile_size"]}'
        )
        raise ValueError(msg)
    # The header can promise any size: no memory is taken before the tensors fit.
    _check_tensors(state, _expected_tensors(config, len(state), path), path)
    # The initial values are overwritten: the user's random state is not touched.
    with torch.random.fork_rng(devices=[]):
        network = AttentionUNet(config)
    own = network.state_dict()
    network.load_state_dict({key: state[key].to(own[key].dtype) for key in own})
    # As its features lie in memory, or every convolution would reorder them.
    network.to(memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)


def _expected_tensors(config, n_tensors, path):
    """Return the tensors that a network has, without memory behind them."""
    import torch

    from bgrem.nn import AttentionUNet

    try:
        if len(config.widths) > n_tensors:
            msg = f'{len(config.widths)} widths for {n_tensors} tensors'
            raise ValueError(msg)
        with torch.device('meta'):
            return AttentionUNet(config).state_dict()
    except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as exc:
        text = ' '.join(str(exc).split())
        msg = f'weights file {path}: there is no such network: {text}'
        raise ValueError(msg) from exc


def _check_tensors(state, own, path):
    """Raise a `ValueError` that names the first tensor that does not fit."""

    def fail(problem):
        msg = f'weights file {path}: {problem}'
        raise ValueError(msg)

    if missing := sorted(set(own) - set(state)):
        fail(f'tensor {missing[0]!r} is missing ({len(missing)} are)')
    if unknown := sorted(set(state) - set(own)):
        fail(f'tensor {unknown[0]!r} is not of this network ({len(unknown)} are not)')
    for key, tensor in state.items():
        expected = own[key]
        if tensor.shape != expected.shape:
            fail(
                f'tensor {key!r} must have shape {tuple(expected.shape)}, got '
                f'{tuple(tensor.shape)}'
            )
        # Of the 8-bit floats torch itself can do next to nothing.
        same_kind = tensor.is_floating_point() == expected.is_floating_point()
        if not same_kind or (tensor.is_floating_point() and tensor.itemsize < 2):
            fail(f'tensor {key!r} has type {tensor.dtype}, not {expected.dtype}')
        if not tensor.isfinite().all():
            fail(f'tensor {key!r} holds values that are not finite')
