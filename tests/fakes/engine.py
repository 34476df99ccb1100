"""A stand-in for vLLM's process, for faults: `python engine.py PORT MODE`."""

import http.server
import subprocess
import sys
import time

port, mode = int(sys.argv[1]), sys.argv[2]
if mode == "dies":
    raise SystemExit(3)
if mode == "child":
    # Like vLLM's engine core: a process of its own in the same group.
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(600)  # {port}"])
answered = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global answered
        answered += 1
        if mode == "hangs" and answered > 2:
            time.sleep(600)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
