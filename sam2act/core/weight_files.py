"""Opening files of weights: the one place that does.

A file is looked at before torch reads it, so that the message says what it really is: a pointer of
Git LFS, a web page, an archive of something else, the first half of a download. Only tensors and
plain containers are ever read, because a pickle can run any code.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from sam2act.core.errors import UserError
from sam2act.core.files import replacing
from sam2act.core.unread_objects import Unpickler

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
HEAD_BYTES = 512
LARGEST_SAFETENSORS_HEADER = 100_000_000  # bytes, the limit of that format
PICKLE, ZIP = b"\x80", b"PK\x03\x04"
OTHER_FORMATS = {  # first bytes -> what the file is
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ\x00": "an xz archive; unpack it first",
    b"(\xb5/\xfd": "a Zstandard archive; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"Rar!": "a rar archive; unpack it first",
    b"PK\x05\x06": "an empty zip archive",
    b"\x89HDF": "an HDF5 file, not weights of PyTorch",
    b"\x93NUMPY": "a NumPy array, not weights of PyTorch",
    b"GGUF": "a GGUF file, not weights of PyTorch",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"\x7fELF": "a program (ELF)",
}


class WeightFileError(UserError):
    """A file is no readable file of weights; the message names it and says what it is."""


def read_weight_file(
    path: str | Path, *, torchscript: bool = False, mapped: bool = False, objects: bool = False
) -> Any:
    """The content of a file of weights, on the CPU: of torch.save, old or new, or safetensors.

    Args:
        path: the file; its form is taken from its bytes, not from its name.
        torchscript: a TorchScript archive is welcome too and gives its state dict.
        mapped: leave the values of a file of torch.save on the disk until they are used. Their
            checksums are not compared then, which would read all of them.
        objects: a file of torch.save may hold other objects beside tensors and plain containers;
            they become `unread_objects.Unread`.

    Raises:
        WeightFileError: absent, damaged, or something else than weights; the message names the
            file and says what it is.
    """
    path = Path(path)
    if path.is_dir():
        raise WeightFileError(f"{path} is a folder; name a file in it")
    try:
        with open(path, "rb") as stream:
            head = stream.read(HEAD_BYTES)
        return _content(path, head, torchscript, mapped, objects)
    except FileNotFoundError as error:
        raise WeightFileError(f"{path} does not exist") from error
    except OSError as error:
        raise WeightFileError(f"{path} cannot be read ({error.strerror or error})") from error


def _content(path: Path, head: bytes, torchscript: bool, mapped: bool, objects: bool) -> Any:
    if head.startswith(ZIP):
        if _is_torchscript(path, compare=not mapped):
            return _read_torchscript(path, torchscript)
        return _read_with_objects(path) if objects else _read_torch(path, mapped)
    if _is_safetensors(head):
        return _read_safetensors(path)
    complaint = _what_else(head, path.stat().st_size)
    if complaint:
        raise WeightFileError(f"{path} is {complaint}")
    return _read_torch(path)  # the form of torch before 1.6, a plain pickle


def _what_else(head: bytes, size: int) -> str:
    """What the file is instead of weights; "" if it may be some."""
    if not head:
        return "empty (0 bytes); fetch or write it again"
    if head.startswith(LFS_POINTER):
        return (
            "a pointer of Git LFS, not the weights themselves; run `git lfs pull` in its "
            "repository, or download the file itself"
        )
    for first, description in OTHER_FORMATS.items():
        if head.startswith(first):
            return description
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if not any(head):
        return "filled with zeros; it was never written completely, fetch it again"
    text = _text(head)
    if re.match(r"\s*<(!doctype html|html|head|body|\?xml|!--)", text, re.IGNORECASE):
        return "a web page, not weights; the download got a page instead of the file"
    if text:
        return f"a text, not weights; it begins with {text.strip()[:40]!r}"
    if not head.startswith(PICKLE):
        return f"no file of weights ({size:,} bytes of an unknown form)"
    return ""


def _text(head: bytes) -> str:
    """The beginning of a text; "" if the bytes are none."""
    text = head.lstrip(b"\xef\xbb\xbf").decode("utf-8", "ignore")
    complete = len(text.encode()) >= len(head) - 6  # a mark, and a letter cut in two, are missing
    return text if complete and all(x.isprintable() or x.isspace() for x in text) else ""


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors to a file of safetensors, whole or not at all.

    Each gets memory of its own in the file, also where several names stand for one tensor here.
    """
    from safetensors.torch import save_file

    own = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with replacing(path) as partial:
        save_file(own, partial, metadata={"format": "pt"})


# ---------------------------------------------------------------------------------------- forms
def _is_safetensors(head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    return head[8:9] == b"{" and 2 <= length <= LARGEST_SAFETENSORS_HEADER


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _is_torchscript(path: Path, compare: bool) -> bool:
    """Whether a zip archive is TorchScript rather than a file of torch.save.

    Raises:
        WeightFileError: it is cut off, or an archive of neither.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            # torch reads past checksums that do not fit
            changed = archive.testzip() if compare else None
    except (zipfile.BadZipFile, EOFError) as error:
        raise WeightFileError(
            f"{path} is cut off or damaged: its list of contents, which stands at the end, is "
            f"missing ({path.stat().st_size:,} bytes are there)"
        ) from error
    if changed:
        raise WeightFileError(
            f"{path} is damaged: the checksum of {changed} in it does not fit; fetch or write it "
            "again"
        )
    inside = {name.partition("/")[2] for name in names}
    if "data.pkl" not in inside:
        examples = ", ".join(names[:3]) or "nothing"
        raise WeightFileError(
            f"{path} is a zip archive of other files ({examples}), not weights; unpack it first"
        )
    return "constants.pkl" in inside


def _read_torchscript(path: Path, wanted: bool) -> Any:
    if not wanted:
        raise WeightFileError(
            f"{path} is a TorchScript program, not a file of weights; save the model's state_dict"
        )
    try:
        with warnings.catch_warnings():  # the original file of CLIP exists in this form only
            warnings.simplefilter("ignore", DeprecationWarning)
            return torch.jit.load(str(path), map_location="cpu").state_dict()
    except (RuntimeError, ValueError) as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path, mapped: bool = False) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError:
        raise
    except Exception as error:  # a broken pickle can raise anything
        # torch's own text is not passed on: it advises to read the file unsafely.
        name = re.search(r"\bGLOBAL (\S+)|\b[Uu]nsupported (?:class|global) (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and name:
            raise WeightFileError(
                f"{path} holds objects other than tensors and plain containers "
                f"({name[1] or name[2]}). They could run any code and are not read: save the file "
                "again with the tensors only"
            ) from None
        raise _damaged(path, error) from None


def _read_with_objects(path: Path) -> Any:
    module = SimpleNamespace(__name__="unread_objects", Unpickler=Unpickler)
    try:
        return torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    except OSError:
        raise
    except Exception as error:  # a broken pickle can raise anything
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> WeightFileError:
    first = (str(error).splitlines() or [""])[0].split(". ")[0]
    reason = type(error).__name__
    if first and "weights_only" not in first and "Weights only" not in first:
        reason += f": {first[:120]}"
    return WeightFileError(f"{path} is cut off or damaged ({reason})")
