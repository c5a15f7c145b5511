"""A gRPC server and its client, by the stock library: messages are bytes, so that nothing is generated.

`grpc_peer.py serve PORT` serves until it is ended; `grpc_peer.py call TARGET` asks in every way there is and
ends with 0, or with what was wrong."""

import sys
import threading
import time
from concurrent import futures

import grpc

SERVICE = "peers.Echo"
MUCH = b"\0" * (1 << 20)


class Echo(grpc.GenericRpcHandler):
    def __init__(self):
        self.cancelled = threading.Event()

    def service(self, details):
        method = details.method.rsplit("/", 1)[1]
        made = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "ServerStream": grpc.unary_stream_rpc_method_handler(self.server_stream),
            "ClientStream": grpc.stream_unary_rpc_method_handler(self.client_stream),
            "Bidi": grpc.stream_stream_rpc_method_handler(self.bidi),
            "Refuse": grpc.unary_unary_rpc_method_handler(self.refuse),
            "RefuseLate": grpc.unary_stream_rpc_method_handler(self.refuse_late),
            "TimeLeft": grpc.unary_unary_rpc_method_handler(self.time_left),
            "Hang": grpc.unary_stream_rpc_method_handler(self.hang),
            "WasCancelled": grpc.unary_unary_rpc_method_handler(self.was_cancelled),
            "Compressed": grpc.unary_unary_rpc_method_handler(self.compressed),
        }
        return made.get(method)

    def unary(self, request, context):
        sent = dict(context.invocation_metadata())
        context.send_initial_metadata((("first", sent.get("asked", "")),))
        context.set_trailing_metadata((("last-bin", b"\0\xff"),))
        return request[::-1]

    def server_stream(self, request, context):
        for number in range(int(request)):
            yield str(number).encode()

    def client_stream(self, requests, context):
        return str(sum(len(it) for it in requests)).encode()

    def bidi(self, requests, context):
        for request in requests:
            yield request.upper()

    def refuse(self, request, context):
        context.set_trailing_metadata((("why", "because"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: ä%")

    def refuse_late(self, request, context):
        yield b"one"
        context.abort(grpc.StatusCode.DATA_LOSS, "the rest is gone")

    def time_left(self, request, context):
        return str(context.time_remaining()).encode()

    def hang(self, request, context):
        context.add_callback(self.cancelled.set)
        yield b"begun"
        while context.is_active():
            time.sleep(0.01)

    def was_cancelled(self, request, context):
        return b"yes" if self.cancelled.wait(10) else b"no"

    def compressed(self, request, context):
        assert len(request) == len(MUCH), len(request)
        context.set_compression(grpc.Compression.Gzip)
        return request


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(16))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


def equal(found, expected, what):
    assert found == expected, f"{what}: {found!r} is not {expected!r}"


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it was not refused")


class Calls:
    def __init__(self, channel):
        self.channel = channel

    def of(self, kind, method):
        return getattr(self.channel, kind)(f"/{SERVICE}/{method}")

    def unary(self):
        call = self.of("unary_unary", "Unary")
        for size in (0, 5, 70_000):
            reply, end = call.with_call(b"ab" * size, metadata=(("asked", "x"),))
            equal(reply, b"ba" * size, "reply")
            equal(dict(end.initial_metadata())["first"], "x", "initial metadata")
            equal(dict(end.trailing_metadata())["last-bin"], b"\0\xff", "trailing metadata")

    def server_stream(self):
        found = list(self.of("unary_stream", "ServerStream")(b"500"))
        equal(found, [str(it).encode() for it in range(500)], "messages")

    def client_stream(self):
        pieces = (b"x" * 1000 for _ in range(300))
        equal(self.of("stream_unary", "ClientStream")(pieces), b"300000", "bytes")

    def bidi(self):
        # Each message is sent when the one before was answered: nothing may be held back on the way.
        answered = threading.Semaphore(1)

        def asked():
            for number in range(50):
                assert answered.acquire(timeout=10), "no answer before the next message"
                yield f"m{number}".encode()

        found = []
        for reply in self.of("stream_stream", "Bidi")(asked()):
            found.append(reply)
            answered.release()
        equal(found, [f"M{it}".encode() for it in range(50)], "messages")

    def refused(self):
        error = code_of(lambda: self.of("unary_unary", "Refuse")(b""))
        equal(error.code(), grpc.StatusCode.NOT_FOUND, "code")
        equal(error.details(), "no such thing: ä%", "details")
        equal(dict(error.trailing_metadata())["why"], "because", "trailing metadata")
        error = code_of(lambda: self.of("unary_unary", "Nowhere")(b""))
        equal(error.code(), grpc.StatusCode.UNIMPLEMENTED, "code of an unknown method")

    def refused_late(self):
        found = []
        error = code_of(lambda: [found.append(it) for it in self.of("unary_stream", "RefuseLate")(b"")])
        equal((found, error.code()), ([b"one"], grpc.StatusCode.DATA_LOSS), "messages and code")
        equal(error.details(), "the rest is gone", "details")

    def deadline(self):
        left = float(self.of("unary_unary", "TimeLeft")(b"", timeout=5))
        assert 0 < left < 5, f"{left} s of 5 are left"
        began = time.monotonic()
        error = code_of(lambda: list(self.of("unary_stream", "Hang")(b"", timeout=0.5)))
        equal(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED, "code")
        assert time.monotonic() - began < 5, "it was held longer than its caller waits"

    def cancel(self):
        call = self.of("unary_stream", "Hang")(b"")
        equal(next(call), b"begun", "first message")
        call.cancel()
        equal(self.of("unary_unary", "WasCancelled")(b""), b"yes", "the server was told")

    def compression(self):
        call = self.of("unary_unary", "Compressed")
        equal(call(MUCH, compression=grpc.Compression.Gzip), MUCH, "reply")


def main():
    if sys.argv[1] == "serve":
        serve()
        return
    _, _, target, check = sys.argv
    with grpc.insecure_channel(target) as channel:
        getattr(Calls(channel), check)()


main()
