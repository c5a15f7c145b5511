"""Shakes hands with the proxy beside a service, again and again: TLS 1.3 with a certificate on both sides and
nothing resumed, and one request on each connection, whose answer shows that the certificate was accepted.

Prints `measuring` when handshakes begin to count, and then what was counted, as JSON.
"""

import argparse
import json
import pathlib
import socket
import ssl
import struct
import subprocess
import tempfile
import time

REQUEST = b"GET /items/1 HTTP/1.1\r\nhost: items\r\nconnection: close\r\n\r\n"


def named(authority, identity, folder):
    """A key, and the certificate that an authority of ours signs for it: file of both."""
    key, request = folder / "key.pem", folder / "request.der"
    subprocess.run(
        ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/",
         "-addext", f"subjectAltName=URI:{identity}", "-keyout", key, "-outform", "DER", "-out", request],
        check=True, capture_output=True)
    asked = json.dumps({"claim": {"id": identity, "request": request.read_bytes().hex()}}).encode()
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(authority)
        stream.sendall(struct.pack(">I", len(asked)) + asked)
        with stream.makefile("rb") as reading:
            (length,) = struct.unpack(">I", reading.read(4))
            answer = json.loads(reading.read(length))
    both = folder / "both.pem"
    both.write_text(answer["issued"]["chain"] + key.read_text())
    return both


def shake(context, port):
    """One handshake and one request; what is wrong with it, if anything."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(stream, server_hostname="items") as inside:
            inside.sendall(REQUEST)
            answer = inside.recv(65536)
            if inside.session_reused:
                return "resumed"
            return None if answer.startswith(b"HTTP/1.1 200") else repr(answer[:80])


def main():
    arguments = argparse.ArgumentParser()
    for number in ("--port", "--measure-ms", "--warm-up-ms"):
        arguments.add_argument(number, type=int, required=True)
    arguments.add_argument("--certificate", type=pathlib.Path)
    arguments.add_argument("--authority")
    arguments.add_argument("--identity")
    told = arguments.parse_args()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # Whom it talks to is known; what the proxy spends is measured, and that it verifies us.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    with tempfile.TemporaryDirectory() as folder:
        both = told.certificate or named(told.authority, told.identity, pathlib.Path(folder))
        context.load_cert_chain(both)
    counts_from = time.monotonic() + told.warm_up_ms / 1000
    while time.monotonic() < counts_from:
        shake(context, told.port)
    print("measuring", flush=True)
    began = time.monotonic()
    took, errors, first = [], 0, None
    while (start := time.monotonic()) < began + told.measure_ms / 1000:
        wrong = shake(context, told.port)
        took.append((time.monotonic() - start) * 1e6)
        errors += wrong is not None
        first = first or wrong
    seconds = time.monotonic() - began
    took.sort()
    print(json.dumps({
        "verified": len(took) - errors, "errors": errors, "firstError": first, "seconds": seconds,
        "p50Us": took[len(took) // 2], "p99Us": took[len(took) * 99 // 100],
    }), flush=True)


main()
