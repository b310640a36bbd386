"""Downloads, against a server on this machine."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from sam2act.core import assets
from sam2act.core.assets import Asset, AssetError, UnreachableError, fetch

CONTENT = bytes(range(256)) * 700
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the server sends, how it behaves, and which ranges were asked for."""

    content: bytes = CONTENT
    cut_after: int = 0  # bytes after which it breaks off; 0 = never
    honours_range: bool = True
    ranges: list[str] = field(default_factory=list)
    url: str = ""


def make_handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/file.pt":
                self.send_error(404)
                return
            asked = self.headers.get("Range", "")
            server.ranges.append(asked)
            start = int(asked[6:-1]) if asked and server.honours_range else 0
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = server.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: server.cut_after] if server.cut_after else body)

        def log_message(self, *arguments: object) -> None:
            """Keeps quiet."""

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(state))
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_address[1]}/file.pt"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def asset_of(server: Server, sha256: str = "") -> Asset:
    return Asset("thing", "testing", "file.pt", 1, server.url, sha256, "https://example.org/page")


def checksums(folder: Path) -> dict[str, str]:
    return json.loads((folder / assets.CHECKSUMS_NAME).read_text())


def test_download_is_verified_recorded_and_renamed(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(asset_of(server), tmp_path / "new", lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert checksums(tmp_path / "new") == {"file.pt": DIGEST}
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert not list(path.parent.glob("*.part"))


def test_present_file_is_checked_but_not_downloaded_again(server: Server, tmp_path: Path) -> None:
    path = fetch(asset_of(server), tmp_path)
    fetch(asset_of(server), tmp_path)
    assert len(server.ranges) == 1
    path.write_bytes(b"damaged")
    with pytest.raises(AssetError, match="expected " + DIGEST):
        fetch(asset_of(server), tmp_path)
    assert path.read_bytes() == b"damaged"


def test_broken_download_is_continued(server: Server, tmp_path: Path) -> None:
    server.cut_after = 1000
    with pytest.raises(UnreachableError, match="1000"):
        fetch(asset_of(server), tmp_path)
    assert (tmp_path / "file.pt.part").stat().st_size == 1000
    assert not (tmp_path / "file.pt").exists()
    server.cut_after = 0
    assert fetch(asset_of(server), tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["", "bytes=1000-"]


def test_server_without_ranges_sends_everything_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.pt.part").write_bytes(b"x" * 10)
    server.honours_range = False
    assert fetch(asset_of(server), tmp_path).read_bytes() == CONTENT


def test_complete_part_is_accepted(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.pt.part").write_bytes(CONTENT)
    assert fetch(asset_of(server), tmp_path).read_bytes() == CONTENT


def test_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.pt.part").write_bytes(CONTENT + b"more")
    with pytest.raises(UnreachableError):
        fetch(asset_of(server), tmp_path)
    assert fetch(asset_of(server), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "published"])
def test_wrong_content_is_refused(server: Server, tmp_path: Path, recorded: bool) -> None:
    wrong = "0" * 64
    if recorded:
        (tmp_path / assets.CHECKSUMS_NAME).write_text(json.dumps({"file.pt": wrong}))
    with pytest.raises(AssetError, match=wrong):
        fetch(asset_of(server, "" if recorded else wrong), tmp_path)
    assert not list(tmp_path.glob("file.pt*"))


def test_full_disk_is_noticed_before_writing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = assets.shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(assets.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(AssetError, match="free") as caught:
        fetch(asset_of(server), tmp_path)
    assert not isinstance(caught.value, UnreachableError)


@pytest.fixture
def script() -> ModuleType:
    return import_module("sam2act.cli.assets")


def use(monkeypatch: pytest.MonkeyPatch, script: ModuleType, *entries: Asset) -> None:
    monkeypatch.setattr(assets, "ASSETS", entries)
    monkeypatch.setattr(script, "ASSETS", entries)


def test_command_downloads(
    server: Server,
    tmp_path: Path,
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    use(monkeypatch, script, asset_of(server))
    assert script.main(["thing", "--output", str(tmp_path)]) == 0
    assert "verified" in capsys.readouterr().out
    (tmp_path / "file.pt").write_bytes(b"damaged")
    assert script.main(["thing", "--output", str(tmp_path)]) == 2


@pytest.mark.parametrize("fault", ["no server", "no file", "no address"])
def test_command_says_what_to_place_where(
    fault: str,
    server: Server,
    tmp_path: Path,
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = {"no server": "http://127.0.0.1:1/file.pt", "no file": server.url + "x", "no address": ""}
    entry = Asset("thing", "testing", "file.pt", 1, url[fault], page="https://example.org/page")
    use(monkeypatch, script, entry)
    assert script.main(["thing", "--output", str(tmp_path)]) == 2
    text = capsys.readouterr().out
    assert str(tmp_path / "file.pt") in text
    assert (url[fault] or entry.page) in text


def test_list_names_everything(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--list"]) == 0
    text = capsys.readouterr().out
    for asset in assets.ASSETS:
        assert asset.name in text and (asset.url or asset.page) in text


def test_unknown_name_lists_the_known_ones(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        script.main(["sam3"])
    assert "sam2-base-plus" in capsys.readouterr().err


def test_known_assets_are_well_formed() -> None:
    for asset in assets.ASSETS:
        assert asset.url or asset.page
        assert not asset.url or asset.url.startswith("https://")
        assert not asset.sha256 or re.fullmatch("[0-9a-f]{64}", asset.sha256)
    assert len({asset.name for asset in assets.ASSETS}) == len(assets.ASSETS)


def test_progress_shows_share_and_remaining_time(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    clock = iter([0.0, 0.0, 10.0])
    monkeypatch.setattr(script, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    show = script.progress_bar("thing")
    show(1_000_000, 4_000_000)
    show(2_000_000, 4_000_000)
    assert " 50% 20 s left" in capsys.readouterr().out
