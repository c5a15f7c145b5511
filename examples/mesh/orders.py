"""A service of anybody: orders, which asks stock through its own door. The standard library only.

PORT is where it listens, STOCK the door behind which stock is found."""

import json
import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

served = 0


class Orders(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        global served
        if self.path == "/count":
            return self.answer(200, {"orders": served})
        item = self.path.removeprefix("/orders/")
        try:
            with urllib.request.urlopen(os.environ["STOCK"] + "/stock/" + item) as reply:
                stock = json.load(reply)
        except urllib.error.HTTPError as error:
            return self.answer(error.code, {"stock said": error.code})
        served += 1
        self.answer(200, {"item": item, "left": stock["left"], "told by": stock["instance"]})

    def answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Orders).serve_forever()
