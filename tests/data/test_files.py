"""Finding, checking and downloading data files, against a server on this machine."""

import gzip
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, ClassVar

import pooch
import pytest

from seedbed.core.errors import SeedbedError
from seedbed.data import files
from seedbed.data.files import FILES, RemoteFile, locate

BODY = bytes(range(256)) * 2000
OTHER = b"<html>not found, with status 200</html>"
NAME = "set/raw/part.bin"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/good, /cut (fewer bytes than announced), /unannounced (fewer, no length), /corrupt, /moody (cut once), /missing,
    /endless, /away (sent on to /good)."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        again = self.path in self.asked
        self.asked.append(self.path)
        self.send_response({"missing": 404, "away": 302}.get(kind, 200))
        if kind == "away":
            self.send_header("Location", "/good/part.bin")
        elif kind not in ("unannounced", "endless"):
            self.send_header("Content-Length", str(len(OTHER if kind == "corrupt" else BODY)))
        self.end_headers()
        body = {"good": BODY, "corrupt": OTHER, "missing": BODY, "away": b""}.get(kind, BODY[:100_000])
        try:
            while kind == "endless":
                self.wfile.write(BODY)
        except OSError:
            return
        self.wfile.write(BODY if kind == "moody" and again else body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Handler.asked.clear()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SEEDBED_DATA", raising=False)
    monkeypatch.setenv("SEEDBED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def remote(server: str, unused_port: int) -> Callable[..., RemoteFile]:
    """``remote("down", "good")``: a file with one mirror of each kind."""

    def build(*kinds: str) -> RemoteFile:
        bases = {"down": f"http://127.0.0.1:{unused_port}"}
        return RemoteFile(NAME, sha256(BODY), tuple(f"{bases.get(k, server)}/{k}/part.bin" for k in kinds))

    return build


@pytest.fixture
def unused_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        return httpd.server_port


def contents(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def put(folder: Path, content: bytes, name: str = NAME) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def refused(*args: object, **kwargs: object) -> str:
    """The one line with which ``locate`` refuses."""
    with pytest.raises(SeedbedError) as caught:
        locate(*args, **kwargs)  # pyright: ignore[reportArgumentType]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_good_download_is_kept(remote: Callable[..., RemoteFile], cache: Path) -> None:
    path = locate((remote("good"),), "set")
    assert path == cache / NAME and path.read_bytes() == BODY
    assert locate((remote("good"),), "set") == path
    assert len(Handler.asked) == 1 and contents(cache) == [path]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("cut", "ChunkedEncodingError"),
        ("unannounced", f"got {sha256(BODY[:100_000])[:16]}"),
        ("corrupt", f"(SHA-256 expected {sha256(BODY)[:16]}..., got {sha256(OTHER)[:16]}...)"),
        ("missing", "HTTP 404"),
        ("down", "ConnectionError"),
    ],
)
def test_bad_download_leaves_nothing(remote: Callable[..., RemoteFile], cache: Path, kind: str, reason: str) -> None:
    message = refused((remote(kind),), "set")
    assert NAME in message and "127.0.0.1" in message and reason in message and "SEEDBED_DATA" in message
    assert contents(cache) == []
    assert len(Handler.asked) == (0 if kind == "down" else files.ROUNDS)


@pytest.mark.parametrize("first", ["down", "missing", "cut", "unannounced", "corrupt"])
def test_next_mirror_delivers(remote: Callable[..., RemoteFile], cache: Path, first: str) -> None:
    assert locate((remote(first, "good"),), "set").read_bytes() == BODY
    assert contents(cache) == [cache / NAME]


def test_only_mirror_delivers_at_the_second_try(remote: Callable[..., RemoteFile], cache: Path) -> None:
    assert locate((remote("moody"),), "set").read_bytes() == BODY
    assert len(Handler.asked) == 2 and contents(cache) == [cache / NAME]


def test_a_download_has_bounds(remote: Callable[..., RemoteFile], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST", 1 << 20)
    assert "more than 1 MiB" in refused((remote("endless"),), "set")
    monkeypatch.setattr(files, "MOST", 1 << 30)
    monkeypatch.setattr(files, "LONGEST", 0.05)
    assert "not done after" in refused((remote("endless"),), "set")
    assert contents(cache) == []


def test_what_a_killed_download_left_is_swept(remote: Callable[..., RemoteFile], cache: Path) -> None:
    left = put(cache, b"half", f"set/raw/.part.bin.{'0' * 16}.part")
    kept = put(cache, b"mine", "set/raw/mine.part")
    locate((remote("good"),), "set")
    assert not left.exists() and kept.exists()


def test_https_is_tried_first_and_never_left(remote: Callable[..., RemoteFile], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(self: object, url: str, output_file: object, pooch: object) -> None:
        asked.append(url.split(":")[0])
        raise OSError("no")

    assert locate((remote("away"),), "set").read_bytes() == BODY  # from http to http
    response = SimpleNamespace(is_redirect=True, url="https://a/b", headers={"location": "http://c/d"})
    with pytest.raises(OSError, match="sent on to http, which is not https"):
        files._no_downgrade(response)
    response.headers["location"] = "/d"
    files._no_downgrade(response)
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", refuse)
    refused((RemoteFile("other", "0" * 64, ("http://a/x", "https://b/x")),), "set")
    assert asked == ["https", "http"] * files.ROUNDS


def test_every_mirror_is_named_when_all_fail(remote: Callable[..., RemoteFile], cache: Path) -> None:
    message = refused((remote("down", "missing", "corrupt"),), "set")
    assert message.count("127.0.0.1") == 3 and "ConnectionError" in message and "HTTP 404" in message
    assert contents(cache) == []


def test_interrupted_by_the_user_leaves_nothing(
    remote: Callable[..., RemoteFile], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: object, url: str, output_file: BinaryIO, pooch: object) -> None:
        output_file.write(BODY[:1000])
        assert len(contents(cache)) == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        locate((remote("good"),), "set")
    assert contents(cache) == []


def test_cache_below_a_file_is_refused(remote: Callable[..., RemoteFile], cache: Path) -> None:
    cache.write_bytes(b"")
    message = refused((remote("good"),), "set")
    assert str(cache) in message and "SEEDBED_CACHE" in message and Handler.asked == []


def test_read_only_cache_is_refused_but_read(remote: Callable[..., RemoteFile], cache: Path) -> None:
    kept = put(cache, BODY)
    cache.chmod(0o500)
    if os.access(cache, os.W_OK):
        pytest.skip("root may write anywhere")
    try:
        assert locate((remote("good"),), "set") == kept
        elsewhere = RemoteFile("new/part.bin", sha256(BODY), remote("good").urls)
        assert "SEEDBED_CACHE" in refused((elsewhere,), "set") and Handler.asked == []
    finally:
        cache.chmod(0o700)


def test_unwritable_cache_is_refused_but_read(
    remote: Callable[..., RemoteFile], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    kept = put(cache, BODY)
    monkeypatch.setattr("seedbed.core.temporary._created", denied)
    assert locate((remote("good"),), "set") == kept
    message = refused((RemoteFile("set/raw/other.bin", sha256(BODY), remote("good").urls),), "set")
    assert "Permission denied" in message and "SEEDBED_CACHE" in message and Handler.asked == []


def test_given_folder_then_environment_then_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forms = (RemoteFile(NAME, sha256(BODY)),)
    assert "not found and not downloadable" in refused(forms, "set")
    in_cache = put(cache, BODY)
    assert locate(forms, "set") == in_cache
    in_environment = put(tmp_path / "environment", BODY)
    monkeypatch.setenv("SEEDBED_DATA", str(tmp_path / "environment"))
    assert locate(forms, "set") == in_environment
    (tmp_path / "given").mkdir()
    assert locate(forms, "set", tmp_path / "given") == in_environment
    in_given = put(tmp_path / "given", BODY)
    assert locate(forms, "set", tmp_path / "given") == in_given
    assert "data_dir" in refused(forms, "set", tmp_path / "nowhere")
    monkeypatch.setenv("SEEDBED_DATA", str(tmp_path / "nowhere"))
    assert "SEEDBED_DATA" in refused(forms, "set")


def test_wrong_local_copy_is_an_error(remote: Callable[..., RemoteFile], cache: Path) -> None:
    path = put(cache, OTHER)
    message = refused((remote("good"),), "set")
    for part in (str(path), sha256(BODY)[:16], sha256(OTHER)[:16], "delete it", "`seedbed data fetch set`", "SEEDBED_DATA"):
        assert part in message
    assert Handler.asked == [] and path.read_bytes() == OTHER


def test_packed_and_unpacked_forms(cache: Path) -> None:
    ours = gzip.compress(BODY, 9, mtime=0)
    forms = (RemoteFile(f"{NAME}.gz", sha256(ours)), RemoteFile(NAME, sha256(BODY)))
    plain = put(cache, BODY)
    assert locate(forms, "set") == plain
    packed = put(cache, ours, f"{NAME}.gz")
    assert locate(forms, "set") == packed
    for good in (gzip.compress(BODY, 1, mtime=1), BODY):
        packed.write_bytes(good)
        assert locate(forms, "set") == packed
    for bad in (gzip.compress(OTHER), ours[:-5], ours[:-1000] + b"\xff" * 1000, b"", b"\x1f\x8b"):
        packed.write_bytes(bad)
        assert "is not the expected file" in refused(forms, "set")


def test_check_and_fetch(remote: Callable[..., RemoteFile], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "set", {"part": (remote("down", "good"),)})
    assert files.check("set") == [
        f"{NAME} not found; run `seedbed data fetch set` or set SEEDBED_DATA to a folder that holds it"
    ]
    assert Handler.asked == []
    assert files.fetch("set") == [cache / NAME]
    assert files.check("set") == []
    put(cache, OTHER)
    (problem,) = files.check("set")
    assert "is not the expected file" in problem
    with pytest.raises(SeedbedError, match="did you mean 'mnist-static'"):
        files.check("mnist-statik")


def test_every_registered_file_can_be_had() -> None:
    for parts in FILES.values():
        for forms in parts.values():
            assert any(form.urls for form in forms)
            for form in forms:
                assert len(bytes.fromhex(form.sha256)) == 32
                assert all(url.endswith("/" + Path(form.name).name) for url in form.urls)


def test_checking_needs_no_torch() -> None:
    command = "import sys, seedbed.data.files; sys.exit('torch' in sys.modules or 'pooch' in sys.modules)"
    assert (
        subprocess.run(
            [sys.executable, "-c", command], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ).returncode
        == 0
    )
