"""A WebSocket server and its client, by the stock library.

`websocket_peer.py serve PORT` echoes until it is ended; `websocket_peer.py call PORT` talks to it and ends with
0, or with what was wrong."""

import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve


def echo(socket):
    for message in socket:
        if message == "end":
            socket.close(4001, "as you say")
            return
        elif message == "who":
            socket.send(socket.subprotocol + " " + socket.request.headers["Host"])
        else:
            socket.send(message)


def equal(found, expected, what):
    assert found == expected, f"{what}: {str(found)[:80]} is not {str(expected)[:80]}"


def call(port):
    url = f"ws://127.0.0.1:{port}/chat?room=1"
    with connect(url, subprotocols=["v2.chat"], max_size=None) as socket:
        assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        socket.send("who")
        equal(socket.recv(10), f"v2.chat 127.0.0.1:{port}", "subprotocol and Host")
        for size in (0, 1, 125, 126, 65_536, 1 << 20):
            socket.send(b"\xfe" * size)
            equal(socket.recv(10), b"\xfe" * size, f"{size} bytes")
        socket.send(["in ", "three ", "fragments"])
        equal(socket.recv(10), "in three fragments", "text")
        assert socket.ping().wait(10), "no pong"
        socket.send("end")
        try:
            socket.recv(10)
        except ConnectionClosed as closed:
            equal((closed.rcvd.code, closed.rcvd.reason), (4001, "as you say"), "close")
        else:
            raise AssertionError("it was not closed")


if sys.argv[1] == "serve":
    with serve(echo, "127.0.0.1", 0, subprotocols=["v2.chat"], max_size=None) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()
else:
    call(int(sys.argv[2]))
