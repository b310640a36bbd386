"""Public weights and data: where they are, how large, and how they are fetched and verified.

`scripts/download_assets.py` is the command. What has a stable file address is downloaded;
for the rest the project page and the destination are named.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sam2act.core.errors import UserError
from sam2act.core.files import naming, replacing, sha256_of

CHECKSUMS_NAME = "checksums.json"
CHUNK = 1 << 20  # bytes per read
TIMEOUT = 30.0  # seconds without a byte
PARTIAL, RANGE_NOT_SATISFIABLE = 206, 416  # HTTP status codes
SAM2_ADDRESS = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"
CLIP_SHA256 = "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"
Progress = Callable[[int, int], None]


class AssetError(UserError):
    """A download or a verification failed; the message names the file and the remedy."""


class UnreachableError(AssetError):
    """The server could not be reached, or does not have the file."""


@dataclass(frozen=True)
class Asset:
    """A public file; without `url` it must be fetched by hand from `page`.

    `place` is relative to the output folder, `megabytes` approximate, `sha256` empty unless the
    publisher states it.
    """

    name: str
    purpose: str
    place: str
    megabytes: int = 0
    url: str = ""
    sha256: str = ""
    page: str = ""


def _sam2(size: str, megabytes: int, purpose: str) -> Asset:
    file = f"sam2.1_hiera_{size}.pt"
    return Asset(
        f"sam2-{size.replace('_', '-')}",
        purpose,
        file,
        megabytes,
        SAM2_ADDRESS + file,
        page="https://github.com/facebookresearch/sam2",
    )


ASSETS = (
    _sam2("tiny", 156, "image encoder, smallest"),
    _sam2("small", 184, "image encoder, small"),
    _sam2("base_plus", 324, "image encoder of the published configuration"),
    _sam2("large", 898, "image encoder, largest"),
    Asset(
        "sam-vit-b",
        "image encoder of SAM-E",
        "sam_vit_b_01ec64.pth",
        375,
        "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        page="https://github.com/facebookresearch/segment-anything",
    ),
    Asset(
        "dinov2-vit-b",
        "image encoder of an ablation",
        "dinov2_vitb14_pretrain.pth",
        346,
        "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitb14/dinov2_vitb14_pretrain.pth",
        page="https://github.com/facebookresearch/dinov2",
    ),
    Asset(
        "depth-anything-v2-base",
        "image encoder of an ablation; the weights are non-commercial",
        "depth_anything_v2_vitb.pth",
        390,
        "https://huggingface.co/depth-anything/Depth-Anything-V2-Base/resolve/main/"
        "depth_anything_v2_vitb.pth",
        page="https://huggingface.co/depth-anything/Depth-Anything-V2-Base",
    ),
    Asset(
        "clip-rn50",
        "encoding new instructions",
        "RN50.pt",
        256,
        f"https://openaipublic.azureedge.net/clip/models/{CLIP_SHA256}/RN50.pt",
        CLIP_SHA256,
        "https://github.com/openai/CLIP",
    ),
    Asset(
        "rlbench-demos",
        "training on the 18 RLBench tasks; unpack to <split>/<task>/all_variations/episodes",
        "../data",
        page="https://github.com/peract/peract (section on pre-generated data sets)",
    ),
    Asset(
        "memorybench-demos",
        "training on MemoryBench; unpack to <split>/<task>/all_variations/episodes",
        "../data_memory",
        page="https://sam2act.github.io (link to MemoryBench on Hugging Face)",
    ),
    Asset(
        "sam2act-checkpoints",
        "published SAM2Act and SAM2Act+ weights with their exp_cfg.yaml and mvt_cfg.yaml",
        "../runs/<name>",
        page="https://sam2act.github.io (link to the checkpoints on Hugging Face)",
    ),
)


def select(names: list[str]) -> list[Asset]:
    """The assets of these names, in the order given.

    Raises:
        AssetError: a name is unknown.
    """
    known = {asset.name: asset for asset in ASSETS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise AssetError(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return [known[name] for name in names]


def instructions(asset: Asset, output: Path) -> str:
    """What to fetch by hand and where to put it."""
    target = Path(os.path.normpath(output / asset.place))
    source = f"download {asset.url}" if asset.url else f"see {asset.page}"
    return f"{asset.name}: {source}\n    and place it at {target} ({asset.purpose})"


def fetch(asset: Asset, output: Path, progress: Progress = lambda done, total: None) -> Path:
    """The verified file of `asset`, downloaded unless it is there already.

    A broken download is continued where it stopped. The first verified copy records its SHA-256 in
    `checksums.json`; later ones must agree with it.

    Args:
        asset: must have a `url`.
        output: folder of all assets.
        progress: told bytes so far and bytes altogether (0 if unknown).

    Raises:
        UnreachableError: no network, or the server does not have the file.
        AssetError: the content differs from the recorded or the stated checksum.
    """
    target = output / asset.place
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        _download(asset, part, progress)
        try:
            verify(asset, part, output)
        except AssetError:
            part.unlink()
            raise
        part.replace(target)
    else:
        verify(asset, target, output)
    return target


def verify(asset: Asset, path: Path, output: Path) -> None:
    """Compares the SHA-256 of `path` with the stated or recorded one, recording it on first use.

    Raises:
        AssetError: they differ.
    """
    record = output / CHECKSUMS_NAME
    known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    expected = asset.sha256 or known.get(asset.place, "")
    actual = sha256_of(path)
    if expected and actual != expected:
        raise AssetError(
            f"{path}: SHA-256 is {actual}, expected {expected}; delete the file and download it "
            f"again, or remove its entry from {record} if the publisher has replaced it"
        )
    if known.get(asset.place) != actual:
        text = json.dumps({**known, asset.place: actual}, indent=2, sort_keys=True) + "\n"
        with replacing(record) as part:
            part.write_text(text, encoding="utf-8")


def _download(asset: Asset, part: Path, progress: Progress) -> None:
    """Fetches what `part` lacks; keeps what has arrived if the connection breaks."""
    present = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(asset.url, headers={"User-Agent": "sam2act"})
    if present:
        request.add_header("Range", f"bytes={present}-")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            total = _receive(response, part, present, progress)
    except urllib.error.HTTPError as error:
        if error.code == RANGE_NOT_SATISFIABLE and _is_complete(error, present):
            return
        if error.code == RANGE_NOT_SATISFIABLE:
            part.unlink()  # not a beginning of this file: the next attempt starts anew
        raise UnreachableError(f"{asset.url}: {error}") from error
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise  # of the disk, not of the network
        raise UnreachableError(f"{asset.url}: {error}") from error
    size = part.stat().st_size
    if total and size != total:
        raise UnreachableError(
            f"{asset.url}: connection closed after {size} of {total} bytes; run again to continue"
        )


def _receive(
    response: http.client.HTTPResponse, part: Path, present: int, progress: Progress
) -> int:
    """Writes the answer to `part` and gives the size of the whole file, 0 if unknown."""
    if response.status != PARTIAL:
        present = 0  # the server sends the file from its beginning
    length = response.headers.get("Content-Length")
    total = present + int(length) if length else 0
    _check_space(part, total - present)
    with part.open("ab" if present else "wb") as file:
        while chunk := response.read(CHUNK):
            with naming(part):
                file.write(chunk)
            present += len(chunk)
            progress(present, total)
    return total


def _is_complete(error: urllib.error.HTTPError, present: int) -> bool:
    """Whether the server refused a range because `present` bytes are all there are."""
    return str(error.headers.get("Content-Range", "")).endswith(f"*/{present}")


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise AssetError(f"{part.parent}: {needed >> 20} MiB needed, {free >> 20} MiB free")
