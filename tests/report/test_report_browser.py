"""The report in a real browser: no error, no request, every plot draws, tables sort, hovering works.

Needs selenium, and chromium with its driver on the PATH; skips without them.
"""

import json
import shutil
import time

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: pip install '.[test]'")
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium and chromedriver on the PATH")

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking "
    "--disable-component-update --disable-sync --no-first-run --enable-unsafe-swiftshader"
)
LAPTOP, PHONE = (1280, 900), (390, 800)
PATIENCE = 60  # seconds, for a machine with much else to do


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(PATIENCE)
    yield driver
    driver.quit()


def show(driver, path, size=LAPTOP, scheme="light", scripts=True):
    """Open a page and wait until it can draw."""
    command = driver.execute_cdp_cmd
    command(
        "Emulation.setEmulatedMedia", {"media": "", "features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size is PHONE}
    command("Emulation.setDeviceMetricsOverride", metrics)
    command("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    driver.get_log("browser"), driver.get_log("performance")
    driver.get(path.as_uri())
    if not scripts:
        return
    until(driver, "return !!window.braggscale")
    driver.execute_script("document.querySelectorAll('details.fold').forEach((fold) => { fold.open = true; })")


def draw_all(driver):
    done = "const done = arguments[0]; braggscale.drawAll().then(() => done('drawn'), (e) => done(String(e.stack)))"
    assert driver.execute_async_script(done) == "drawn"


def drawn(driver, name):
    """Scroll to a plot and wait until it is there."""
    plot = driver.find_element("css selector", f"[data-figure='{name}']")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", plot)
    until(driver, f"return document.querySelector(\"[data-figure='{name}']\").dataset.drawn === 'yes'")
    return plot


def until(driver, question):
    end = time.monotonic() + PATIENCE
    while not (found := driver.execute_script(question)):
        assert time.monotonic() < end, f"waited in vain for: {question}; {driver.get_log('browser')}"
        time.sleep(0.05)
    return found


def requests(driver):
    """Requests since the page was opened, except the page itself and data inside it."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith(("data:", "blob:"))]


def complaints(driver):
    """Errors of the page, without messages of the graphics driver about its speed."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.parametrize(("size", "scheme"), [(LAPTOP, "light"), (PHONE, "dark")], ids=["laptop", "phone"])
def test_every_plot_draws_without_errors_or_requests(browser, example_run, size, scheme):
    page = example_run / "scale.html"
    show(browser, page, size, scheme)
    draw_all(browser)
    empty = """return [...document.querySelectorAll(".plot")].filter((plot) => {
      const box = plot.getBoundingClientRect();
      const drawn = plot.querySelector(".trace, .heatmaplayer image, .barlayer path, .gl-container canvas");
      return plot.dataset.drawn !== "yes" || !drawn || box.width < 200 || box.height < 200;
    }).map((plot) => plot.dataset.figure)"""
    assert browser.execute_script(empty) == []
    assert browser.execute_script("return braggscale.plots") > 30
    assert complaints(browser) == []
    assert requests(browser) == [page.as_uri()]
    # nothing is wider than the screen
    assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
    assert browser.execute_script("return document.getElementById('notice').hidden")


def test_sections_are_folded_and_a_link_opens_them(browser, example_run):
    """Folded the page is a few screens long; what a link points to is shown."""
    show(browser, example_run / "scale.html")
    browser.execute_script("document.querySelectorAll('details.fold').forEach((fold) => { fold.open = false; })")
    assert browser.execute_script("return document.documentElement.scrollHeight") < 6000
    browser.execute_script("document.querySelector(\"nav a[href='#outliers']\").click()")
    until(browser, "return document.querySelector('#outliers details').open")
    folded = "return [...document.querySelectorAll('details.fold')].filter((d) => d.open).length"
    assert browser.execute_script(folded) == 1


def test_tables_sort(browser, example_run):
    show(browser, example_run / "scale.html")
    column = """const table = document.getElementById("table-images");
      const heads = [...table.tHead.rows[0].cells], k = heads.findIndex((h) => h.textContent.startsWith("R_merge"));
      if (arguments[0]) heads[k].querySelector("button").click();
      return [heads[k].getAttribute("aria-sort"), [...table.tBodies[0].rows].map((r) => r.cells[k].textContent)]"""
    before = browser.execute_script(column, False)[1]
    state, falling = browser.execute_script(column, True)
    assert state == "descending"
    numbers = [float(v) for v in falling if v != "–"]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) > 80
    assert falling[len(numbers) :] == ["–"] * (len(falling) - len(numbers))
    state, rising = browser.execute_script(column, True)
    assert state == "ascending" and sorted(rising) == sorted(before)
    numbers = [float(v) for v in rising if v != "–"]
    assert numbers == sorted(numbers)


def test_a_heading_sorts_from_the_keyboard_and_the_total_stays_last(browser, example_run):
    from selenium.webdriver.common.keys import Keys

    show(browser, example_run / "scale.html")
    button = browser.find_element("css selector", "#table-resolution th:nth-child(3) button")
    last = "return document.querySelector('#table-resolution tbody tr:last-child').className"
    assert browser.execute_script(last) == "total"
    button.send_keys(Keys.ENTER)
    sort = "return document.querySelector('#table-resolution th:nth-child(3)').getAttribute('aria-sort')"
    assert browser.execute_script(sort) == "descending"
    assert browser.execute_script(last) == "total"


def test_hovering_names_data_set_image_and_batch(browser, example_run):
    from selenium.webdriver import ActionChains

    show(browser, example_run / "scale.html")
    plot = drawn(browser, "image-r_merge")
    point = """const plot = arguments[0], trace = plot.data[0], k = trace.y.findIndex((v) => v !== null);
      const full = plot._fullLayout, area = plot.querySelector(".nsewdrag").getBoundingClientRect();
      const box = plot.getBoundingClientRect();
      return [area.left - box.left - box.width / 2 + full.xaxis.l2p(trace.x[k]),
              area.top - box.top - box.height / 2 + full.yaxis.l2p(trace.y[k]), trace.text[k]]"""
    x, y, text = browser.execute_script(point, plot)
    ActionChains(browser).move_to_element_with_offset(plot, round(x), round(y)).perform()
    shown = until(browser, "return document.querySelector(\"[data-figure='image-r_merge'] .hoverlayer\").textContent")
    for word in ("data set 0", "image 1", "batch 1", "R_merge"):
        assert word in shown
    assert text.startswith("data set 0<br>image 1")


def test_another_data_set_can_be_chosen(browser, example_run):
    show(browser, example_run / "scale.html")
    drawn(browser, "model-scale")
    state = """const select = document.querySelector("select[data-of='model-scale']");
      const plot = document.querySelector("[data-figure='model-scale']");
      if (arguments[0]) { select.value = arguments[0]; select.dispatchEvent(new Event("change")); }
      return [select.options.length, plot.data.length, plot.data.some((t) => t.name === "parameters")]"""
    n, _, knots = browser.execute_script(state, None)
    assert n == 3 and not knots  # all together, then each
    browser.execute_script(state, "2")
    chosen = "document.querySelector(\"[data-figure='model-scale']\").data.some((t) => t.name === 'parameters')"
    until(browser, f"return {chosen}")
    assert complaints(browser) == []


def test_colours_follow_the_scheme(browser, example_run):
    page, colour = example_run / "scale.html", "return document.querySelector('.plot').data[0].line.color"
    show(browser, page)
    drawn(browser, "cc-half")
    light = browser.execute_script(colour)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
    until(browser, f"{colour} !== '{light}'")


CONTRAST = """
const linear = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const parse = (text) => {
  const v = text.match(/[\\d.]+/g).map(Number);
  return v.length > 3 && v[3] === 0 ? null : v.slice(0, 3);
};
const behind = (node) => { for (; node; node = node.parentElement) {
  const found = parse(getComputedStyle(node).backgroundColor); if (found) return found; } return [255, 255, 255]; };
const poor = [];
const texts = "h1, h2, h3, p, dt, dd, td, th, a, summary, code, li span, button, caption";
for (const node of document.querySelectorAll(texts)) {
  if (!node.offsetParent || !node.textContent.trim()) continue;
  const [a, b] = [luminance(parse(getComputedStyle(node).color)), luminance(behind(node))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(node.tagName + " " + node.textContent.slice(0, 40));
}
return [...new Set(poor)]"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(browser, example_run, scheme):
    """WCAG 2.1, level AA: 4.5 to 1."""
    show(browser, example_run / "scale.html", scheme=scheme)
    assert browser.execute_script(CONTRAST) == []


def test_plots_have_names_and_controls_can_be_reached(browser, example_run):
    show(browser, example_run / "scale.html")
    nameless = "return [...document.querySelectorAll('.plot')].filter((p) => !p.getAttribute('aria-label')).length"
    assert browser.execute_script(nameless) == 0
    mute = """return [...document.querySelectorAll("button, select, a[href], summary")].filter((e) => e.tabIndex < 0 ||
      !(e.textContent.trim() || e.closest("label") || e.getAttribute("aria-label"))).length"""
    assert browser.execute_script(mute) == 0


def test_readable_without_scripts(browser, example_run):
    show(browser, example_run / "scale.html", scripts=False)
    found = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    text = browser.find_element("tag name", "body").text
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "Plots need JavaScript" in text and "By resolution" in text and "What to try" in text
    assert found["width"] <= LAPTOP[0]


def test_readable_where_plots_cannot_be_unpacked(browser, example_run, tmp_path):
    text = (example_run / "scale.html").read_text()
    page = tmp_path / "old.html"
    page.write_text(text.replace('"use strict";', '"use strict"; delete window.DecompressionStream;', 1))
    browser.get(page.as_uri())
    notice = until(browser, "const n = document.getElementById('notice'); return !n.hidden && n.textContent")
    assert "cannot unpack the plots" in notice
    assert browser.execute_script("return document.querySelector('.plot').offsetParent === null")


def test_it_prints(browser, example_run):
    import base64

    show(browser, example_run / "scale.html", scheme="dark")
    printed = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"])
    assert printed.startswith(b"%PDF") and len(printed) > 100_000
    assert complaints(browser) == []
