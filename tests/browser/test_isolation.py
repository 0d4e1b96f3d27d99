"""The service worker that isolates the page, run by Node.js with a server in its place; needs no browser."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from segnet.exporting.browser.onnxruntime_web import PAGE

# What the worker listens to is called with a request; `fetch` is the server, and a redirect is opaque as in a browser.
PROGRAM = """
import { readFileSync } from "node:fs";
const [path, kind] = process.argv.slice(1);
const redirect = Object.create(Response.error(), { type: { value: "opaqueredirect" } });
const page = new Response("page", { headers: { "X-Own": "1" } });
globalThis.fetch = async () => (kind === "redirect" ? redirect : page);
const listeners = {};
const addEventListener = (name, listener) => (listeners[name] = listener);
globalThis.self = { addEventListener, location: { origin: "http://here" } };
new Function(readFileSync(path, "utf8"))();
let answer;
listeners.fetch({ request: { url: "http://here/page" }, respondWith: (response) => (answer = response) });
const given = await answer;
const headers = given === redirect ? {} : Object.fromEntries(given.headers);
console.log(JSON.stringify({ same: given === redirect, status: given.status, headers }));
"""


def answer_of(kind: str) -> dict[str, Any]:
    """What the worker answers to a request for the page."""
    command = ["node", "--input-type=module", "--eval", PROGRAM, str(PAGE / "isolation.js"), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_worker_adds_the_headers_of_an_isolated_page_and_keeps_all_others() -> None:
    answer = answer_of("page")
    assert answer["status"] == 200
    assert answer["headers"]["cross-origin-opener-policy"] == "same-origin"
    assert answer["headers"]["cross-origin-embedder-policy"] == "require-corp"
    assert answer["headers"]["x-own"] == "1"


def test_a_redirect_reaches_the_browser_as_it_is() -> None:
    """Servers send /site/index.html to /site/. An answer of status 0 cannot be made anew: the page would not load."""
    assert answer_of("redirect")["same"]
