"""A server of one file and a counter of uploads, by the standard library."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = bytes(it * 7 % 251 for it in range(100_000))


class Peer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        first, last, status = 0, len(FILE) - 1, 200
        if asked := self.headers.get("Range"):
            first, last = (int(it) for it in asked.removeprefix("bytes=").split("-"))
            status = 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(FILE)}")
        self.reply(FILE[first : last + 1])

    def do_PUT(self):
        count = 0
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline(), 16):
                count += len(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
        else:
            count = len(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.reply(str(count).encode())

    def reply(self, body):
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer.request_queue_size = 128
server = ThreadingHTTPServer(("127.0.0.1", 0), Peer)
print(server.server_address[1], flush=True)
server.serve_forever()
