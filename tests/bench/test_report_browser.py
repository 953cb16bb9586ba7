"""The pages in a real browser: nothing wider than the window, on a phone and on a desk, and something to see."""

import re
import shutil
import subprocess

import pytest
from PIL import Image

from seeahead.bench.html import demo_page, report
from tests.bench.exchanges import asked, record
from tests.bench.made_record import made_record

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on PATH")

# A headless window is at least 500 wide, so the page is looked at through a frame of the wanted width. The frame says
# how wide its content is, which elements stick out, and how many sections the script has left to see.
FRAME = """<!doctype html><meta charset="utf-8"><style>body {{ margin: 0 }} iframe {{ border: 0 }}</style>
<iframe id="page" src="{page}.html" width="{width}" height="900"></iframe><pre id="found">not loaded</pre><script>
document.getElementById("page").addEventListener("load", (event) => {{
  const inner = event.target.contentDocument, root = inner.documentElement;
  const out = [...inner.body.querySelectorAll("*")].filter((element) => !element.closest(".scroll")
    && !element.closest("svg") && element.getBoundingClientRect().right > root.clientWidth + 1);
  const shown = [...inner.querySelectorAll("section.temperature")].filter((section) => !section.hidden).length;
  const first = inner.querySelector("svg, img").getBoundingClientRect().top;
  const silent = [...inner.querySelectorAll(".scroll")].filter((region) => region.scrollWidth > region.clientWidth + 1
    && !region.classList.contains("wider")).length;
  const found = [root.clientWidth, root.scrollWidth, out.length, shown, Math.round(first), silent];
  document.getElementById("found").textContent = found.join(" ");
}});
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(report(made_record()), encoding="utf-8")
    follow_up = asked("follow-up", "And then, what happens after that?", earlier=(("What is this?", "A cat."),))
    demo = record((asked(), {}), (follow_up, {"wrong_at": 4}), (asked("text only", "Why?", images=()), {}))
    (folder / "demo.html").write_text(demo_page(demo), encoding="utf-8")
    return folder


def browse(folder, *arguments):
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
        "--virtual-time-budget=5000",
        f"--user-data-dir={folder / 'profile'}",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize(("page", "num_sections"), [("report", 1), ("demo", 0)])
def test_nothing_is_wider_than_the_window(folder, width, page, num_sections):
    frame = folder / f"{page}{width}.html"
    frame.write_text(FRAME.format(width=width, page=page), encoding="utf-8")
    dumped = browse(folder, "--window-size=1400,1000", "--dump-dom", frame.as_uri())
    found = re.search(r'<pre id="found">([\d ]+)</pre>', dumped)
    assert found, dumped[-500:]
    inner, content, num_out, num_shown, first, num_silent = map(int, found[1].split())
    assert inner == width
    assert content <= width
    assert num_out == 0
    assert num_shown == num_sections, "the script shows one temperature at a time"
    assert first < (844 if width == 390 else 720), "at most one screen before the first picture"
    assert num_silent == 0, "a table that scrolls says so"


# Of the demo: how much longer one bar is than another beside how much longer it took (the worst of all pairs),
# and credits that lie over another. Of the report: charts of scenarios side by side, cells of a row that end apart.
LOOKED_AT = """<!doctype html><meta charset="utf-8">
<iframe id="page" src="{page}.html" width="{width}" height="900"></iframe>
<pre id="found">not loaded</pre><script>
document.getElementById("page").addEventListener("load", (event) => {{
  const inner = event.target.contentDocument, all = (what, where = inner) => [...where.querySelectorAll(what)];
  all("details").forEach((one) => {{ one.open = true; }});
  const box = (one) => one.getBoundingClientRect();
  const width = (one) => box(one).width;
  const bars = all(".took").map((one) => [width(one.querySelector("i")), parseFloat(one.textContent), width(one)]);
  const apart = bars.map(([long, seconds, most]) => bars.filter(([, , other]) => other === most)
    .map(([other, took]) => Math.abs(long / other - seconds / took)));
  const over = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const credits = all(".credits li").map(box);
  const lying = credits.filter((a, i) => credits.some((b, j) => i < j && over(a, b))).length;
  const rows = Math.max(0, ...all(".charts").map((one) => Math.max(...all("figure", one)
    .map((a) => all("figure", one).filter((b) => Math.abs(box(a).top - box(b).top) < 2).length))));
  all(".scroll").forEach((one) => {{ one.scrollLeft = 100; }});
  const torn = all("tbody tr").filter((row) => [...row.children].some((cell) =>
    Math.abs(box(cell).bottom - box(row.firstElementChild).bottom) > 1)).length;
  const worst = Math.max(0, ...apart.flat());
  document.getElementById("found").textContent = [worst, bars.length, credits.length, lying, rows, torn].join(" ");
}});
</script>"""


def looked_at(folder, page, width):
    frame = folder / f"look-{page}{width}.html"
    frame.write_text(LOOKED_AT.format(width=width, page=page), encoding="utf-8")
    dumped = browse(folder, "--window-size=1400,1000", "--dump-dom", frame.as_uri())
    found = re.search(r'<pre id="found">([\d. ]+)</pre>', dumped)
    assert found, dumped[-500:]
    return map(float, found[1].split())


@pytest.mark.parametrize("width", [390, 1280])
def test_a_line_is_as_long_as_an_answer_took_and_credits_stand_apart(folder, width):
    worst, num_bars, num_credits, num_lying, _, _ = looked_at(folder, "demo", width)
    assert num_bars > 2
    assert worst < 0.3, "of seconds that are shown with one decimal"
    assert num_credits > 0
    assert num_lying == 0


def test_charts_stand_side_by_side_and_rows_are_whole(folder):
    *_, num_beside, num_torn = looked_at(folder, "report", 1280)
    assert num_beside >= 3
    assert num_torn == 0


def test_paper_has_what_is_folded(folder):
    """Folded parts are pages of their own on paper: without them the report would be shorter."""

    def num_pages(text):
        (folder / "paper.html").write_text(text, encoding="utf-8")
        browse(folder, f"--print-to-pdf={folder / 'paper.pdf'}", (folder / "paper.html").as_uri())
        return len(re.findall(rb"/Type /Page\b", (folder / "paper.pdf").read_bytes()))

    page = (folder / "report.html").read_text(encoding="utf-8")
    without = re.sub(r'<details class="fold".*?</summary>.*?</details>', "", page, flags=re.DOTALL)
    assert num_pages(page) > num_pages(without)


@pytest.mark.parametrize("page", ["report", "demo"])
def test_there_is_something_to_see(folder, page):
    shot = folder / f"{page}.png"
    browse(folder, "--window-size=1200,2400", f"--screenshot={shot}", (folder / f"{page}.html").as_uri())
    with Image.open(shot) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=2**24)
    assert len(colours) > 50
    assert max(count for count, _ in colours) < 0.97 * sum(count for count, _ in colours)
