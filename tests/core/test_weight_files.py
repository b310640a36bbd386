"""Every weight file is opened in one place, which says what a file is instead of weights."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sam2act.core.weight_files import WeightFileError, read_weight_file

STATE = {"a.weight": torch.arange(600.0), "a.bias": torch.ones(3)}


def saved(**options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(STATE, stream, **options)
    return stream.getvalue()


def zipped(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, "x")
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"), io.BytesIO())
    return stream.getvalue()


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_all_forms_are_read_whatever_their_name(tmp_path: Path, form: str) -> None:
    path = tmp_path / "weights.bin"
    if form == "safetensors":
        save_file(STATE, path)
    else:
        path.write_bytes(saved(_use_new_zipfile_serialization=form == "zip"))
    content = read_weight_file(path)
    assert content.keys() == STATE.keys()
    assert all(torch.equal(content[name], STATE[name]) for name in STATE)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 600000000\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (LFS, "a pointer of Git LFS, not the weights themselves; run `git lfs pull`"),
        (b"<!DOCTYPE html><html>Not found</html>", "is a web page"),
        (b"\n <html lang=en>Log in</html>", "is a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>", "is a web page"),
        (b'{"error": "rate limit"}', 'a text, not weights; it begins with \'{"error": "rate'),
        ("Fichier introuvable: modèle".encode(), "a text, not weights; it begins with 'Fichier"),
        (bytes(4096), "filled with zeros"),
        (gzip.compress(saved()), "a gzip archive; unpack it first"),
        (tarred(), "a tar archive; unpack it first"),
        (zipped("model_49.pth"), "a zip archive of other files (model_49.pth), not weights"),
        (zipped("weights/arr_0.npy"), "a zip archive of other files (weights/arr_0.npy)"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"\x13\x37 nothing known \x00\xff", "no file of weights (19 bytes of an unknown form)"),
        (saved()[:900], "is cut off or damaged: its list of contents"),
        (saved()[:-5], "is cut off or damaged: its list of contents"),
        (saved(_use_new_zipfile_serialization=False)[:900], "is cut off or damaged"),
        (saved(_use_new_zipfile_serialization=False)[:20], "is cut off or damaged"),
        (b"\x80\x02garbage", "is cut off or damaged"),
    ],
)
def test_other_files_are_named_as_what_they_are(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(WeightFileError) as caught:
        read_weight_file(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and said in message
    assert "weights_only" not in message and "\n" not in message and len(message) < 400


def test_half_of_a_safetensors_file(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(WeightFileError, match=r"x\.safetensors is cut off or damaged"):
        read_weight_file(path)


class Runs:
    """An object whose reading calls a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("never",)


@pytest.mark.parametrize("new", [True, False])
def test_objects_are_not_read_and_no_unsafe_advice_is_given(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "model.pth"
    torch.save({"model_state": STATE, "x": Runs()}, path, _use_new_zipfile_serialization=new)
    with pytest.raises(WeightFileError) as caught:
        read_weight_file(path)
    message = str(caught.value)
    assert "mkdir" in message and "not read" in message
    assert "weights_only" not in message and "trust" not in message


def test_programs_are_read_only_where_they_are_expected(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    torch.jit.script(torch.nn.Linear(2, 3)).save(str(path))
    with pytest.raises(WeightFileError, match="TorchScript program"):
        read_weight_file(path)
    assert set(read_weight_file(path, torchscript=True)) == {"weight", "bias"}


def test_places_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(WeightFileError, match="is a folder; name a file in it"):
        read_weight_file(tmp_path)
    with pytest.raises(WeightFileError, match=r"none\.pth does not exist"):
        read_weight_file(tmp_path / "none.pth")


def test_changed_bytes_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    content = bytearray(saved())
    start = content.index(STATE["a.weight"].numpy().tobytes())
    content[start + 100 : start + 200] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(WeightFileError, match=r"damaged: the checksum of \S+ in it does not fit"):
        read_weight_file(path)
