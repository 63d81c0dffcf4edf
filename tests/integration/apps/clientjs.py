"""``apps/centrifuge.py`` with a page at ``/page/``, in which antiphon's own client is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import antiphon

from . import centrifuge

__all__ = ["app"]

_HTML = b"""<!doctype html>
<script type="module">
  import * as antiphon from "./client.js";
  import { prepare } from "./page.mjs";
  prepare(antiphon, { timeout: 2000 });
  globalThis.isReady = true;
</script>
"""
_STATIC = Path(antiphon.__file__).parent / "django" / "static" / "antiphon"
_FILES = {
    "/page/": (_HTML, b"text/html"),
    "/page/client.js": ((_STATIC / "client.js").read_bytes(), b"text/javascript"),
    "/page/page.mjs": ((Path(__file__).parents[1] / "node" / "client_js_page.mjs").read_bytes(), b"text/javascript"),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Serve the page's files, and all else as the other application does."""
    file = _FILES.get(scope.get("path", "")) if scope["type"] == "http" else None
    if file is None:
        await centrifuge.app(scope, receive, send)
        return
    body, kind = file
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})
