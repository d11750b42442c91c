"""A headless Chromium, driven by the DevTools protocol over two pipes: no driver and no package is needed.

https://chromedevtools.github.io/devtools-protocol/; each message is JSON, and ends with a zero byte.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page. `requests` are the addresses that it and its workers have asked for."""

    def __init__(self, profile, *arguments):
        self.profile, self.arguments = profile, arguments
        self.requests, self.problems = [], []
        self.number, self.waiting, self.buffer = 0, {}, b""

    def __enter__(self):
        told, self.tell = os.pipe()
        self.hear, said = os.pipe()

        def pipes():
            # Its end of each: 3 to hear from, 4 to speak to. Out of the way first, for either may have one of these numbers.
            ends = [os.dup2(told, 100), os.dup2(said, 101)]
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        self.process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic", "--disable-sync",
             "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
             "--lang=en-US", f"--user-data-dir={self.profile}", *self.arguments, "about:blank"],
            preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(told)
        os.close(said)
        # It may take a while until there is a page.
        for _ in range(100):
            pages = [t for t in self.call("Target.getTargets", session=None)["targetInfos"] if t["type"] == "page"]
            if pages:
                break
            time.sleep(0.1)
        attached = self.call("Target.attachToTarget", session=None, targetId=pages[0]["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ["Page", "Runtime", "DOM", "Log"]:
            self.call(f"{domain}.enable")
        self.listen(self.session)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.tell)
        os.close(self.hear)

    def listen(self, session):
        """To the requests of a page or a worker, and of those that it starts."""
        self.send("Network.enable", session)
        self.send("Target.setAutoAttach", session, autoAttach=True, waitForDebuggerOnStart=False, flatten=True)

    def send(self, method, session, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.tell, data):]
        return self.number

    def call(self, method, session="", **params):
        number = self.send(method, self.session if session == "" else session, **params)
        until = time.monotonic() + 60
        while number not in self.waiting:
            self.read(until - time.monotonic(), method)
        answer = self.waiting.pop(number)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def read(self, seconds, what):
        while b"\0" not in self.buffer:
            assert seconds > 0 and select.select([self.hear], [], [], seconds)[0], f"Chromium does not answer to {what}"
            part = os.read(self.hear, 1 << 20)
            assert part, "Chromium has ended"
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(message)
        if "id" in message:
            self.waiting[message["id"]] = message
            return
        params = message["params"]
        match message["method"]:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Target.attachedToTarget":
                self.listen(params["sessionId"])
            case "Runtime.exceptionThrown":
                self.problems.append(params["exceptionDetails"])
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.problems.append(params["entry"])

    def run(self, script):
        """The value of an expression in the page; a promise is waited for."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def until(self, script, seconds=30):
        """Waits until the expression is true in the page."""
        end = time.monotonic() + seconds
        while True:
            try:
                if self.run(script):
                    return
            except AssertionError:
                # Between two pages there is nothing to ask.
                if time.monotonic() > end:
                    raise
            assert time.monotonic() < end, f"never: {script}"
            time.sleep(0.02)

    def open(self, address):
        self.call("Page.navigate", url=address)

    def choose(self, selector, file):
        """As a person chooses a file."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def screen(self, width, height, dark=False, touch=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self, file, whole=False):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))
