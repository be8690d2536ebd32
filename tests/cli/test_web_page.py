"""The page of `holdfast web` in a real browser: Chromium, without a window."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

import pytest
from interpreters import BOUND

from .running import until
from .serving import page

webdriver = pytest.importorskip("selenium.webdriver", reason="the tests of the page drive a browser with selenium")
pytest.importorskip("aiohttp", reason="the page needs the extra `web`")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="takes Chromium and its chromedriver on PATH"),
    pytest.mark.xdist_group("browser"),
]
FLAGS = [
    "--headless",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
]
HOSTILE = "<img src=x onerror=\"document.title='caught'\"><script>document.title='caught'</script>"
CROWD = """
import asyncio, sys, holdfast
hostile, names = sys.argv[1], int(sys.argv[2])

async def crossed(session, first, second, both):
    async with session.lock(first):
        await both.wait()
        async with session.lock(second):
            pass

async def main():
    async with holdfast.connect(name="<i>one</i>") as one, holdfast.connect(name="two") as two:
        await one.lock(hostile).acquire()
        both = holdfast.Barrier(3)
        for session, first, second in ((one, "alice", "bob"), (two, "bob", "alice")):
            asyncio.create_task(crossed(session, first, second, both), name=f"{first} to {second}")
        waiting = []
        for session in (two, one, two):
            waiting.append(asyncio.create_task(session.lock(hostile).acquire()))
            while sum(each.tasks for each in (await one.inspect(hostile)).waiters) < len(waiting):
                await asyncio.sleep(0.01)
        await both.wait()
        many = [two.lock(f"orders/{number:04}") for number in range(names)]
        await asyncio.gather(*(lock.acquire() for lock in many))
        waiting += [asyncio.create_task(one.lock(f"orders/{number:04}").acquire()) for number in range(0, names, 60)]
        while any(not found.waiters for found in await one.inspect_all() if found.name in ("alice", "bob")):
            await asyncio.sleep(0.01)
        print("in", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        waiting[0].cancel()
        print("given up", flush=True)
        await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


class Crowd:
    """Two sessions in a deadlock, three tasks that wait for one name, and more names."""

    def __init__(self, process):
        self._process = process
        assert process.stdout.readline() == "in\n"

    def let_one_give_up(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "given up\n"


@pytest.fixture
def crowd(request, directory):
    command = [sys.executable, "-c", CROWD, HOSTILE, str(request.param)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Crowd(process)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_page_load_timeout(BOUND)
    try:
        yield driver
    finally:
        driver.quit()


class Window:
    """What a person does with the page, and sees."""

    def __init__(self, driver, url):
        self.driver = driver
        self.url = url
        driver.get_log("browser")
        driver.get(url)
        until(lambda: self.all("#table tbody tr"), "rows")

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
        return self.driver.execute_script(script, selector)

    def names(self):
        return self.texts("#table tbody th")

    def focused(self):
        return self.driver.switch_to.active_element

    def press(self, selector, key):
        """A key while the element has the focus. It may be drawn anew at any time, and keeps the focus then."""
        self.driver.execute_script("document.querySelector(arguments[0]).focus()", selector)
        webdriver.ActionChains(self.driver).send_keys(key).perform()

    def sorts(self):
        return {each.text.split()[0]: each.get_attribute("aria-sort") for each in self.all("th[data-sort]")}

    def check(self):
        """Nothing came from elsewhere, no script of somebody else ran, and nothing failed."""
        script = "return performance.getEntriesByType('resource').map((each) => each.name)"
        origin = self.url.partition("?")[0]
        assert all(each.startswith(origin) for each in self.driver.execute_script(script))
        assert self.driver.current_url == origin, "the token is not in the URL any more"
        assert self.driver.title == "holdfast"
        assert self.driver.execute_script("return document.cookie") == "", "no script can read the token"
        assert self.driver.get_log("browser") == []


def red(texts):
    return [each for each in texts if "in a deadlock" in each]


@pytest.mark.parametrize("crowd", [0], indirect=True)
def test_three_names(chromium, crowd):
    with page() as served:
        window = Window(chromium, served.url)
        assert window.sorts() == dict.fromkeys(["name", "kind", "held", "for", "longest", "grants/s"], "none") | {
            "waiting": "descending"
        }
        until(lambda: len(red(window.texts("#table tbody tr.bad"))) == 2, "the deadlock")
        assert window.names()[0] == HOSTILE
        assert {*window.names()[1:]} == {"alice", "bob"}
        assert window.texts("#table tbody tr")[0].startswith(f"{HOSTILE}lock<i>one</i>")
        (story,) = window.texts("#deadlocks p")
        assert story.startswith("deadlock: task '")
        one, other = "task 'alice to bob' in '<i>one</i>'", "task 'bob to alice' in 'two'"
        assert f"{one} (<string>:8 in crossed) waits for lock 'bob', which {other.partition(' in ')[0]}" in story

        window.one("th[data-sort=name] button").click()
        assert window.names() == sorted(window.names())
        assert window.sorts()["name"] == "ascending"
        window.one("th[data-sort=name] button").click()
        assert window.names() == ["bob", "alice", HOSTILE]
        assert window.sorts()["name"] == "descending"

        # By the keyboard alone: down to a name, into its details, and back.
        first, *_ = window.all("#table tbody button")
        first.send_keys(Keys.ARROW_DOWN)
        assert window.focused().text == "alice"
        window.focused().send_keys(Keys.ARROW_DOWN)
        window.focused().send_keys(Keys.ENTER)
        until(lambda: window.texts("#detail-body td"), "details")
        assert window.focused().get_attribute("id") == "detail"
        assert window.texts("#detail-name") == [HOSTILE]
        people = window.texts("#detail-body tbody tr")
        assert [each[: each.index("pid")] for each in people] == [
            "holds<i>one</i>",
            "waitstwo",
            "waits<i>one</i>",
            "waitstwo",
        ]
        assert "3 under way0 seen to end since" in window.texts("#detail-body .legend")[0]
        crowd.let_one_give_up()
        until(lambda: "2 under way1 seen to end" in window.texts("#detail-body .legend")[0], "the end of a wait")
        window.focused().send_keys(Keys.ESCAPE)
        assert not window.one("#detail").is_displayed()
        assert window.focused().text == HOSTILE

        window.one("#show-graph").click()
        until(lambda: window.all("#graph svg .node"), "the picture")
        bad = {each.split("pid")[0].split("lock;")[0] for each in window.texts("#graph .node.bad title")}
        assert {each.strip() for each in bad} == {"alice", "bob", "<i>one</i>", "two"}
        assert len(window.all("#graph .edge.bad")) == 4
        assert len(window.all("#graph .edge")) == 4 + 3
        window.press("#graph summary", Keys.SPACE)
        assert "bob is held by two" in window.texts("#graph li")
        looked = window.texts("#moment")
        until(lambda: window.texts("#moment") != looked, "the next look")
        assert window.one("#graph details").get_attribute("open"), "what was opened stays so"
        window.press("#graph .node.name.bad", Keys.ENTER)
        until(lambda: window.texts("#detail-name") in (["alice"], ["bob"]), "the details of a name in the picture")
        window.check()

        shown = {}
        for scheme in ("light", "dark"):
            wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
            chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
            shown[scheme] = window.one("body").value_of_css_property("background-color")
        assert shown["light"] != shown["dark"]

        def looks_until_the_next_but_one():
            look = served.told("/api/overview")["look"]
            time.sleep(0.5)  # in which a page would have looked many times
            return served.told("/api/overview")["look"] - look

        first = chromium.current_window_handle
        assert looks_until_the_next_but_one() > 2
        chromium.switch_to.new_window("tab")
        until(lambda: looks_until_the_next_but_one() <= 1, "a page that nobody sees asks for nothing")
        chromium.close()
        chromium.switch_to.window(first)
        until(lambda: looks_until_the_next_but_one() > 2, "the page is seen again")
        chromium.get("about:blank")
        until(lambda: looks_until_the_next_but_one() <= 1, "the page was left")


@pytest.mark.parametrize("crowd", [3000], indirect=True)
def test_three_thousand_names(chromium, crowd):
    with page() as served:
        window = Window(chromium, served.url)
        assert len(window.names()) == 100
        assert window.one("#count").text.startswith("3,003 names: 1 to 100")
        window.one("th[data-sort=name] button").click()
        assert window.names()[:4] == [HOSTILE, "alice", "bob", "orders/0000"]
        window.one("#next").click()
        assert window.names()[0] == "orders/0097"
        assert window.one("#count").text.startswith("3,003 names: 101 to 200")
        window.one("#search").send_keys("orders/29")
        until(lambda: window.names() == [f"orders/29{number:02}" for number in range(100)], "what was searched for")
        window.one("#search").send_keys("99")
        until(lambda: window.names() == ["orders/2999"], "what was searched for")
        assert window.one("#count").text == "1 name; 3,002 of 3,003 names not shown"
        assert not window.one("#pages").is_displayed()
        until(lambda: window.all("#deadlocks button"), "the deadlock")
        window.one("#deadlocks button").click()
        until(lambda: window.texts("#detail-body tbody tr"), "the details of a name that is not in the table")
        window.one("#close").click()
        window.one("#show-graph").click()
        until(lambda: window.all("#graph svg .node"), "the picture")
        assert window.texts("#graph p")[0].startswith("Drawn: 20 of 53 names for which somebody waits, and 2 sessions.")
        assert len(window.all("#graph .node")) == 22
        assert len(window.all("#graph .edge.bad")) == 4, "a deadlock is never left out"
        window.check()
    until(lambda: window.texts("#trouble") == ["holdfast web does not answer; it may have ended"], "that it has ended")


CLOSES = """
import asyncio, holdfast
async def main():
    async with holdfast.connect() as session:
        await session.lock("deploy").close("<b>maintenance</b> until six")
asyncio.run(main())
"""


def test_what_is_closed_is_told_with_its_reason(chromium, directory):
    subprocess.run([sys.executable, "-c", CLOSES], check=True)
    with page() as served:
        window = Window(chromium, served.url)
        assert window.texts("#table tbody tr")[0].startswith("deploylockclosed: <b>maintenance</b> until six")
        window.one("#table tbody button").click()
        until(lambda: "closed: <b>maintenance</b> until six" in "".join(window.texts("#detail-body p")), "the details")
        window.check()
