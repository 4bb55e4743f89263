"""An engine that notes that it was started: `counted_engine.py PORT REPLICA STARTS_FILE`. It answers /health and /metrics."""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGE = (Path(__file__).parent / "observe" / "recorded" / "vllm-0.32.0-v1.prom").read_bytes()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"" if self.path == "/health" else PAGE
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        del arguments


port, replica, starts = sys.argv[1:]
handle = os.open(starts, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(handle, f"{os.getpid()} {replica} {port}\n".encode())
ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
