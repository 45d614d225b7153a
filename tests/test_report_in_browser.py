"""The page of the default run in a real browser, as people open it: from disk, without a network.

Needs Debian's chromium and chromium-driver; screenshots are kept in pytest's folder.
"""

import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "results/report.html"
MEASUREMENTS = ROOT / "results/measurements.csv"
WIDE, NARROW = 1280, 390  # pixels
HEIGHT = 1000
MOST_BYTES = 10e6
VALUE = 5  # the column of values

pytestmark = [
    pytest.mark.default_run,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no Chromium with its driver"
    ),
]


@pytest.fixture(scope="module")
def chromium():
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium):
    """The page, freshly opened, light and wide."""
    show(chromium, WIDE, "light")
    chromium.get(PAGE.as_uri())
    return chromium


def show(browser, width: int, scheme: str) -> None:
    screen = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width == NARROW}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    preference = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preference})


def column(page, number: int) -> list[str]:
    """What the rows shown of the table of measurements have in a column."""
    cells = page.find_elements(By.CSS_SELECTOR, f"#measurements tbody td:nth-child({number + 1})")
    return [cell.text for cell in cells]


def press(page, element) -> None:
    """A click by script: the element may lie outside of what is shown."""
    page.execute_script("arguments[0].click()", element)


def test_the_page_is_small():
    assert PAGE.stat().st_size < MOST_BYTES


def test_nothing_is_asked_of_a_network_and_the_console_is_empty(page):
    time.sleep(1)
    events = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert PAGE.as_uri() in asked
    assert [url for url in asked if not url.startswith(("data:", "blob:", PAGE.as_uri()))] == []
    assert page.get_log("browser") == []


def test_every_figure_shows(page):
    widths = page.execute_script("return Array.from(document.images, image => image.naturalWidth)")
    plots = list((ROOT / "results").glob("digits_*/plots/*.png"))
    assert len(widths) == len(plots) > 0
    assert min(widths) > 0


def test_the_table_holds_every_measurement_and_is_sorted_by_number(page):
    rows = pd.read_csv(MEASUREMENTS)
    information = page.find_element(By.CSS_SELECTOR, ".dt-info").text
    assert f"{len(rows):,} entries" in information
    arrow = page.find_elements(By.CSS_SELECTOR, "#measurements thead .dt-column-order")[VALUE]
    press(page, arrow)
    press(page, arrow)
    shown = [float(text) for text in column(page, VALUE)]
    largest = rows.value.sort_values(ascending=False).head(len(shown))
    assert shown == pytest.approx(list(largest), rel=1e-5)


def test_the_table_is_filtered_by_column(page):
    rows = pd.read_csv(MEASUREMENTS)
    field = page.find_elements(By.CSS_SELECTOR, "#measurements thead input")[4]
    field.send_keys("hessian_trace")
    information = page.find_element(By.CSS_SELECTOR, ".dt-info").text
    assert f"of {(rows.metric == 'hessian_trace').sum()} entries" in information
    assert set(column(page, 4)) == {"hessian_trace"}


def test_a_card_opens_by_keyboard_and_shows_its_drawing(page):
    summary = page.find_element(By.CSS_SELECTOR, "details summary")
    page.execute_script("arguments[0].focus()", summary)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    drawing = page.find_element(By.CSS_SELECTOR, "details[open] svg")
    assert drawing.size["width"] > 200
    assert drawing.size["height"] > 100


def test_the_first_stop_of_the_keyboard_leads_to_the_findings(page):
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("href").endswith("#found")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_fits_the_screen_and_is_readable(page, width, scheme, tmp_path):
    show(page, width, scheme)
    time.sleep(0.3)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    text, ground = (
        page.execute_script(f"return getComputedStyle(document.body).{name}")
        for name in ("color", "backgroundColor")
    )
    assert contrast(text, ground) > 7  # WCAG 2.2, level AAA
    assert (brightness(ground) > 0.5) == (scheme == "light")
    page.save_screenshot(str(tmp_path / f"{width}_{scheme}.png"))


def brightness(colour: str) -> float:
    """The relative luminance of 'rgb(r, g, b)' (WCAG 2.2)."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted([brightness(one), brightness(other)])
    return (light + 0.05) / (dark + 0.05)


def test_it_prints_with_everything_open(page):
    pdf = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"]
    assert len(pdf) > 1e6
    closed = page.execute_script("return document.querySelectorAll('details:not([open])').length")
    assert closed == 0
