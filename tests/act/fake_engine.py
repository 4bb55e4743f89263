"""An engine small enough to test with: /health after a while, vLLM's two gauges from a file, an obedient or stubborn end.

usage: fake_engine.py PORT CONTROL_FILE
The control file is JSON, read at each request: {"healthy": bool, "running": n, "waiting": n}. At the start it also says
"exit" (exit with this code at once), "stubborn" (ignore SIGTERM) and "worker" (have a child, as engines do).
"""

import json
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        said = told()
        if self.path == "/health":
            self.send_response(200 if said.get("healthy", True) else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        page = "".join(
            f'vllm:num_requests_{what}{{model_name="m",engine="0"}} {float(said.get(what, 0))}\n'
            for what in ("running", "waiting")
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *arguments):
        del arguments


def told():
    return json.loads(Path(sys.argv[2]).read_text())


first = told()
if "exit" in first:
    print("CUDA out of memory: tried to allocate 20 GiB", flush=True)
    sys.exit(first["exit"])
if first.get("stubborn"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if first.get("worker"):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
