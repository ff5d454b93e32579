"""The report as a reader sees it: in a browser without network, on a desk and on a telephone."""

import html
import json
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nearsight.studies import Run
from study_runs import finished_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")]
pytestmark += [pytest.mark.xdist_group("holstein")]

PROBE = """
<script>
const errors = [];
addEventListener("error", e => errors.push(String(e.message || e.target.src || e.target.href)), true);
addEventListener("load", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
  const boxes = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE"].includes(node.parentElement.tagName)) continue;
    const range = document.createRange(); range.selectNodeContents(node);
    for (const r of range.getClientRects()) if (r.width > 1 && r.height > 1) {
      boxes.push({text: node.textContent.trim().slice(0, 60), x: r.left, y: r.top, X: r.right, Y: r.bottom,
                  small: ["SUB", "SUP"].includes(node.parentElement.tagName)});
    }
  }
  const over = [];
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
    const a = boxes[i], b = boxes[j];
    if (a.small || b.small) continue;  // an index may touch the line above
    const w = Math.min(a.X, b.X) - Math.max(a.x, b.x), h = Math.min(a.Y, b.Y) - Math.max(a.y, b.y);
    if (w > 2 && h > 0.35 * Math.min(a.Y - a.y, b.Y - b.y)) over.push([a.text, b.text]);
  }
  const wide = [...document.images].filter(i => i.getBoundingClientRect().right > innerWidth + 1).length;
  const found = {errors, over, wide, boxes: boxes.length, images: document.images.length,
    blank: [...document.images].filter(i => !i.naturalWidth).length, width: innerWidth,
    page: document.documentElement.scrollWidth,
    loaded: performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:"))};
  const out = document.createElement("pre"); out.id = "found"; out.textContent = JSON.stringify(found);
  document.body.append(out);
});
</script>
"""


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    return finished_run("holstein", tmp_path_factory.mktemp("runs"))


def seen(page: Path, folder: Path, width: int) -> dict:
    """What a window of this width shows of a page."""
    assert CHROMIUM is not None
    probed = folder / "probed.html"
    probed.write_text(page.read_text(encoding="utf-8").replace("<head>", f"<head>{PROBE}", 1), encoding="utf-8")
    frame = folder / "frame.html"  # no window of a headless browser is narrower than 500 pixels; a frame may be
    frame.write_text(f'<iframe src="probed.html" style="width:{width}px;height:900px;border:0"></iframe>')
    script = """<script>addEventListener("load", () => setTimeout(() => {
      document.body.append(document.querySelector("iframe").contentDocument.getElementById("found").cloneNode(true));
    }, 500));</script>"""
    frame.write_text(frame.read_text() + script)
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    words += ["--virtual-time-budget=5000", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(folder)))  # files tell of no loads
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/frame.html"
    done = subprocess.run([CHROMIUM, *words, address], capture_output=True, text=True, timeout=300)
    server.shutdown()
    server.server_close()
    console = re.findall(r"CONSOLE.*", done.stderr)
    match = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match, done.stderr[-2000:]
    answer = json.loads(html.unescape(match[1]))
    return answer | {"console": console}


@pytest.mark.parametrize("width", [1280, 375])
def test_a_report_is_whole_and_nothing_covers_anything(finished, tmp_path, width):
    found = seen(finished.path / "report.html", tmp_path, width)
    assert found["width"] == width and found["boxes"] > 100 and found["images"] > 5
    assert not found["errors"] and not found["console"] and not found["loaded"]
    assert not found["blank"] and not found["wide"] and found["page"] <= width
    assert not found["over"], found["over"][:5]


def test_the_probe_sees_what_is_wrong(tmp_path):
    page = tmp_path / "page.html"
    (tmp_path / "style.css").write_text("p { color: red; }")
    page.write_text(
        """<!DOCTYPE html><html><head><link rel="stylesheet" href="style.css"></head><body>
        <p>one line of words</p><p style="margin-top:-2.2em">and another</p>
        <img src="nowhere.png"><script>undefined.x</script><div style="width:900px">wide</div></body></html>"""
    )
    found = seen(page, tmp_path, 375)
    assert found["over"] == [["one line of words", "and another"]]
    assert {name.rsplit("/", 1)[-1] for name in found["loaded"]} == {"style.css", "nowhere.png"}
    assert len(found["errors"]) == 2 and found["console"]  # a picture that is not there, and the script
    assert found["blank"] == 1 and found["page"] > 375
