"""Package, the service of Drone Delivery, once more: in Python, with its standard library only.

`up` tells PORT and SKEIN_DATA. An operation of a transaction comes with a key,
"<saga>/<step>/<do|undo>/<revision>", and takes effect once: its row and its effect are one commit."""

import hashlib
import json
import os
import signal
import sqlite3
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TABLES = """
CREATE TABLE IF NOT EXISTS packages (id TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS uses (package TEXT, delivery TEXT, PRIMARY KEY (package, delivery));
CREATE TABLE IF NOT EXISTS operations (operation TEXT PRIMARY KEY, epoch INTEGER NOT NULL,
    done TEXT, undone TEXT);
"""
database = sqlite3.connect(os.path.join(os.environ["SKEIN_DATA"], "package-python.db"),
                           isolation_level=None, check_same_thread=False)
database.execute("PRAGMA journal_mode = WAL")
database.execute("PRAGMA synchronous = FULL")
database.executescript(TABLES)
alone = threading.Lock()


class Refused(Exception):
    """A status, a code, and whether the same may work later. Nothing of it is kept."""


def put(package, query, body):
    said = json.loads(body or b"null") or {}
    if not isinstance(said, dict):
        raise Refused(400, "invalid_request")
    document = {"id": package, "size": said.get("size") or "Small",
                "weight": said.get("weight") or 0, "tag": said.get("tag") or ""}
    found = database.execute("SELECT 1 FROM packages WHERE id = ?", [package]).fetchone()
    database.execute("REPLACE INTO packages VALUES (?, ?)", [package, json.dumps(document)])
    database.execute("INSERT OR IGNORE INTO uses VALUES (?, ?)",
                     [package, said.get("deliveryId") or ""])
    return (204, None) if found else (201, document)


def delete(package, query, body):
    delivery = query.get("deliveryId", [""])[0]
    database.execute("DELETE FROM uses WHERE package = ? AND delivery = ?", [package, delivery])
    database.execute("DELETE FROM packages WHERE id = ?1 AND NOT EXISTS "
                     "(SELECT 1 FROM uses WHERE package = ?1)", [package])
    return 204, None


def get(package, query, body):
    row = database.execute("SELECT document FROM packages WHERE id = ?", [package]).fetchone()
    if row is None:
        raise Refused(404, "not_found")
    return 200, json.loads(row[0])


def once(key, epoch, body, effect):
    """The effect, or the reply that it had; see docs/guides/join-from-another-language.md."""
    parts = key.strip('"').rsplit("/", 3)
    if len(parts) < 4 or parts[2] not in ("do", "undo"):
        return effect(), False
    saga, step, direction, revision = parts
    name = f"{saga}/{step}/{revision}"
    row = database.execute("SELECT epoch, done, undone FROM operations WHERE operation = ?",
                           [name]).fetchone()
    seen, done, undone = row or (0, None, None)
    if epoch is not None and int(epoch) < seen:
        raise Refused(409, "stale_epoch")
    if direction == "do" and undone:
        raise Refused(409, "undone")
    kept = done if direction == "do" else undone
    if kept:
        status, document, digest = json.loads(kept)
        if digest != hashlib.sha256(body).hexdigest():
            raise Refused(422, "body_mismatch")
        database.execute("UPDATE operations SET epoch = max(epoch, ?) WHERE operation = ?",
                         [int(epoch or 0), name])
        return (status, document), True
    reply = effect()
    kept = json.dumps([*reply, hashlib.sha256(body).hexdigest()])
    done, undone = (kept, undone) if direction == "do" else (done, kept)
    database.execute("REPLACE INTO operations VALUES (?, ?, ?, ?)",
                     [name, max(int(epoch or 0), seen), done, undone])
    return reply, False


class Package(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_call(self, work):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path, _, query = self.path.partition("?")
        if path in ("/readyz", "/livez"):
            return self.answer(200, {"status": "ok"})
        if self.headers.get("skein-deadline-ms") == "0":
            return self.problem(504, "deadline_expired")
        package = urllib.parse.unquote(path.removeprefix("/api/packages/"))
        if path == package or not package:
            return self.problem(404, "not_found")
        key, epoch = self.headers.get("idempotency-key") or "", self.headers.get("skein-epoch")
        with alone:
            database.execute("BEGIN IMMEDIATE")
            try:
                effect = lambda: work(package, urllib.parse.parse_qs(query), body)
                (status, document), again = once(key, epoch, body, effect)
                database.execute("COMMIT")
            except Exception as error:
                database.execute("ROLLBACK")
                if isinstance(error, ValueError):
                    return self.problem(400, "invalid_request")
                return self.problem(*(error.args if isinstance(error, Refused) else (500, "internal")))
        self.answer(status, document, {"idempotent-replayed": "true"} if again else {})

    def do_PUT(self):
        self.handle_call(put)

    def do_DELETE(self):
        self.handle_call(delete)

    def do_GET(self):
        self.handle_call(get)

    def problem(self, status, code):
        document = {"status": status, "code": code, "title": code, "retryable": status == 504}
        self.answer(status, document, {"content-type": "application/problem+json"})

    def answer(self, status, document, headers={}):
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Package).serve_forever()
