"""Takes the picture of the page of `holdfast web` that docs/cli.md shows: `make pictures`.

python docs/_ext/photograph_page.py BROWSER

It takes Chromium, and its chromedriver on PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

FILE = Path(__file__).parents[1] / "screens" / "holdfast-web.png"
SIZE = 1200, 480
PATIENCE = 60
BANK = """
import asyncio
import socket

socket.gethostname = lambda: "web1"

import holdfast


async def transfer(session, source, target):
    async with session.lock(source):
        await asyncio.sleep(1)
        async with session.lock(target):
            ...


async def main():
    one, two, three = (holdfast.connect(name=name) for name in ("bank:1", "bank:2", "report"))
    async with one, two, three:
        await three.lock("nightly").acquire()
        async with asyncio.TaskGroup() as group:
            group.create_task(transfer(one, "account/alice", "account/bob"), name="alice to bob")
            group.create_task(transfer(two, "account/bob", "account/alice"), name="bob to alice")
            await asyncio.sleep(2)
            group.create_task(transfer(three, "account/alice", "account/carol"), name="alice to carol")
            group.create_task(transfer(one, "nightly", "account/carol"), name="report")
            print("in", flush=True)


asyncio.run(main())
"""


def photograph(browser: str) -> None:
    """Start the programs and the page, open it, and write what it looks like."""
    with tempfile.TemporaryDirectory(prefix="locks-") as folder:
        environment = os.environ | {"HOLDFAST_URL": f"sqlite://{folder}/state"}
        Path(folder, "bank.py").write_text(BANK, encoding="utf-8")
        commands = ["bank.py"], ["-m", "holdfast", "web", "--port", "0"]
        processes = []
        try:
            for command in commands:
                started = subprocess.Popen(
                    [sys.executable, *command], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
                )
                processes.append(started)
                assert started.stdout is not None
                line = started.stdout.readline()
            driver = opened(browser)
            try:
                see(driver, line.strip())
                FILE.parent.mkdir(exist_ok=True)
                driver.save_screenshot(str(FILE))
            finally:
                driver.quit()
        finally:
            for started in processes:
                started.kill()
                started.communicate()


def opened(browser: str) -> WebDriver:
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def see(driver: WebDriver, url: str) -> None:
    """Open the picture of who waits for whom, with the deadlock in it."""
    width, height = SIZE
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    light = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", light)
    driver.get(url)
    driver.find_element(By.ID, "show-graph").click()
    wait = WebDriverWait(driver, PATIENCE)
    wait.until(lambda page: len(page.find_elements(By.CSS_SELECTOR, "#graph .edge.bad")) == 4)
    time.sleep(0.5)  # until it is painted


if __name__ == "__main__":
    photograph(sys.argv[1])
