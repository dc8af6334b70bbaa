"""The page in a real browser: headless Chromium over its debugging pipe, no driver, no network."""

import base64
import functools
import http.server
import io
import json
import os
import select
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
from PIL import Image

from seedbed.report.document import compose
from seedbed.report.files import write_report
from seedbed.report.stored import StoredRun

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = [
    "--headless",
    "--hide-scrollbars",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


class Browser:
    """One tab."""

    def __init__(self, profile):
        commands, answers = os.pipe(), os.pipe()
        # The browser reads its commands from descriptor 3 and answers on 4.
        script = f"exec {CHROMIUM} {' '.join(FLAGS)} --user-data-dir={profile} about:blank 3<&{commands[0]} 4>&{answers[1]}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["bash", "-c", script], pass_fds=(commands[0], answers[1]), **quiet)
        os.close(commands[0]), os.close(answers[1])
        self.write, self.read = commands[1], answers[0]
        self.buffer, self.count, self.events = b"", 0, []
        target = self.ask("Target.createTarget", url="about:blank", session=None)["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True, session=None)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def close(self):
        os.close(self.write), os.close(self.read)
        self.process.terminate()
        self.process.wait(20)

    def _next(self, seconds):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.read], [], [], seconds)
            if not ready:
                return None
            self.buffer += os.read(self.read, 1 << 20)
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def ask(self, method, session="own", **params):
        self.count += 1
        call = {"id": self.count, "method": method, "params": params}
        if session == "own":
            call["sessionId"] = self.session
        os.write(self.write, json.dumps(call).encode() + b"\0")
        while (answer := self._next(60)) is not None:
            if answer.get("id") == self.count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)
        raise TimeoutError(method)

    def open(self, url, width, height):
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.events.clear()
        started = time.monotonic()
        self.ask("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            event = self._next(60)
            assert event is not None
            self.events.append(event)
        return time.monotonic() - started

    def value(self, expression):
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def picture(self):
        data = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("L"))

    def complaints(self):
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [event["params"] for event in self.events if event.get("method") in kinds]

    def requests(self):
        sent = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]


@pytest.fixture
def browser(tmp_path):
    found = Browser(tmp_path / "profile")
    yield found
    found.close()


@pytest.fixture
def page(study, tmp_path):
    report = compose([StoredRun.read(path.parent) for path in sorted(study.rglob("run.json"))])
    return write_report(report, tmp_path / "out" / "report.html")[0]


@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_renders_without_a_complaint_or_a_request(browser, page, width):
    url = page.as_uri()
    seconds = browser.open(url, width, 900)
    assert browser.complaints() == [] and browser.requests() == [url]
    assert seconds < 5
    paint = browser.value("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0")
    assert paint < 1000
    assert browser.value("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert browser.value("[...document.images].every(i => i.complete && i.naturalWidth > 20)")
    assert (
        browser.value("Math.min(...[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().width || 999))")
        > 250
    )
    seen = browser.picture()
    assert seen.shape[1] == width and seen.shape[0] >= 900
    assert 0.01 < (seen < 128).mean() < 0.3 and seen.std() > 10  # dark ink on a light page, neither blank nor flooded


def test_the_axis_switch_the_seeds_and_the_legend(browser, page):
    browser.open(page.as_uri(), 1280, 900)
    shown = (
        "[...document.querySelectorAll('svg.curves')].filter(s => s.getBoundingClientRect().width).map(s => s.dataset.axis)"
    )
    assert set(browser.value(shown)) == {"step"}
    browser.value("document.querySelector('label[for=by-time]').click()")
    assert set(browser.value(shown)) == {"time"}
    browser.value("document.querySelector('label[for=by-step]').click()")
    read = "document.querySelector('svg.curves').closest('figure').querySelector('.readout').textContent"
    browser.value("document.querySelector('svg.curves').scrollIntoView()")
    box = browser.value(
        "(b => [b.left, b.top, b.width, b.height])(document.querySelector('svg.curves').getBoundingClientRect())"
    )
    spot = {"x": box[0] + 0.7 * box[2], "y": box[1] + 0.8 * box[3]}
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", **spot)
    text = browser.value(read)
    assert "seed " in text and "last 0." in text and " at step " in text
    assert browser.value("document.querySelectorAll('.seed.on').length") == 1
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=5, y=5)
    assert browser.value(read) == ""
    browser.open(page.as_uri(), 1280, 900)
    browser.value("document.querySelector('svg.curves').focus()")
    for _ in range(2):
        browser.ask("Input.dispatchKeyEvent", type="keyDown", key="ArrowRight")
    assert "seed 1" in browser.value(read)
    browser.value("document.querySelector('.legend button').click()")
    assert browser.value("getComputedStyle(document.querySelector('svg.curves .run')).display") == "none"
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [1280, 390])
def test_texts_are_read_as_they_were_written(browser, tmp_path, write, width):
    text = "\nSpeak,  speak.\n\tAll:\n" + "x" * 90 + "<script>document.title='owned'</script>\u202e \u05d0"
    letters = sorted(set(text))
    tokens = np.array([letters.index(letter) for letter in text])[None].repeat(4, 0)
    folder = write(tmp_path / "runs", "gru", metric="nll_nats", arrays=False, lost=(4,))
    folder.save_arrays("samples", range(6), {"tokens": tokens[None].repeat(6, 0)})
    folder.save_reference({"tokens": tokens, "vocabulary": np.array(letters)})
    page = write_report(compose([StoredRun.read(folder.path)], title="safe"), tmp_path / "report.html")[0]
    browser.open(page.as_uri(), width, 900)
    assert browser.complaints() == [] and browser.value("document.title") == "safe"
    assert browser.value("[...document.querySelectorAll('samp')].map(s => s.textContent)") == [text] * (4 + 4 * 3)
    assert browser.value("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    assert browser.value("[...document.querySelectorAll('samp')].every(s => s.scrollWidth <= s.clientWidth)")
    # Each line break is one: as tall as its lines, and none of them narrower than a few words.
    height = "getComputedStyle(document.querySelector('samp'))"
    assert browser.value(f"parseFloat({height}.height) >= 5 * parseFloat({height}.lineHeight)")
    assert browser.value("Math.min(...[...document.querySelectorAll('samp')].map(s => s.clientWidth))") > 220
    columns = "new Set([...document.querySelectorAll('.model:last-child .text figure')].map(f => f.offsetLeft)).size"
    assert browser.value(columns) == (4 if width > 1000 else 1)


def test_links_lead_to_what_they_say_over_http(browser, page):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=page.parent)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}/"
        browser.open(root + page.name, 1280, 900)
        assert browser.requests() == [root + page.name], "not even an icon is asked for"
        links = browser.value("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
        assert all((page.parent / link).is_file() for link in links if not link.startswith("#"))
        assert browser.value("[...document.querySelectorAll('a[href^=\"#\"]')].every(a => document.querySelector(a.hash))")
        browser.value("document.querySelector('a[href=\"#convergence\"]').click()")
        top = browser.value("document.querySelector('#convergence').getBoundingClientRect().top")
        assert 0 <= top < 200
        server.shutdown()


def test_it_prints(browser, page):
    browser.open(page.as_uri(), 1280, 900)
    data = base64.b64decode(browser.ask("Page.printToPDF", printBackground=False)["data"])
    assert data.startswith(b"%PDF") and 3 <= data.count(b"/Type /Page\n") + data.count(b"/Type /Page ") <= 40


def test_an_injected_name_runs_no_script(browser, tmp_path, write):
    name = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    write(tmp_path / "runs", "vae", experiment=f"toy/rings/{name}")
    page = write_report(
        compose([StoredRun.read(tmp_path / "runs/toy/rings/vae/abc12345")], title="safe"), tmp_path / "report.html"
    )[0]
    browser.open(page.as_uri(), 1280, 900)
    assert browser.value("document.title") == "safe" and browser.complaints() == []
    assert name in browser.value("document.body.textContent")
