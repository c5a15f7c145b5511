#!/usr/bin/env python3
"""Tries stock clients of Kafka's protocol against our broker, and writes what each could do as a table.

    run.py PROGRAM [--quick] [--client NAME]… [--document FILE]

Ends with 1 when a client could not do what it can do elsewhere. `cargo xtask test-clients` runs it.
"""
import argparse
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import stock
from stock import CLIENTS, Cannot

BROKER = 92  # What the log's port is above the first.


class Broker:
    """The log of our program, in a directory of its own."""

    def __init__(self, program):
        self.program, self.process = program, None
        self.data = tempfile.mkdtemp(prefix="clients-")
        self.first = free_ports()
        with open(os.path.join(self.data, "settings.json"), "w") as file:
            # No clients of others here have an identity: they are tried in plain text.
            json.dump({"port_base": self.first, "tls": "off"}, file)
        self.address = f"127.0.0.1:{self.first + BROKER}"
        self.log = open(os.path.join(self.data, "output"), "ab")

    def start(self):
        command = [self.program, "--data", self.data, "role", "broker", "--instance", "broker-1"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self.log, stderr=self.log)
        wait_for("the broker listens", self.answers, 30)

    def answers(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the broker ended: {open(self.log.name).read()[-500:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.first + BROKER)) == 0

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def remove(self):
        self.kill()
        self.log.close()
        shutil.rmtree(self.data)


def free_ports():
    """A first port whose broker's port nobody has."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if 10_000 < port < 60_000:
            return port - BROKER


def wait_for(what, holds, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = holds()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def plain(*values):
    return [(None, value, [], None) for value in values]


def new_topic(what):
    return f"{what}-{uuid.uuid4().hex[:8]}"


def make(topic, partitions, address):
    from confluent_kafka.admin import AdminClient, NewTopic
    admin = AdminClient({"bootstrap.servers": address})
    list(admin.create_topics([NewTopic(topic, partitions, 1)]).values())[0].result(10)


def equal(found, expected, what):
    assert found == expected, f"{what}: {str(found)[:160]} instead of {str(expected)[:160]}"


# The checks. Each gets a client and the broker; what it returns is said in the table.

def compression(client, broker):
    values = [(b"%d" % it) * 50 for it in range(40)]
    for codec in client.codecs:
        topic = new_topic(codec)
        make(topic, 1, broker.address)
        client.send(topic, plain(*values), codec)
        equal([it[1] for it in client.read(topic, 40)], values, codec)
        # What one client compressed another reads.
        equal([it[1] for it in stock.Confluent(broker.address).read(topic, 40)], values, f"{codec}, read by librdkafka")
    return ", ".join(client.codecs)


def idempotence(client, broker):
    topic = new_topic("once")
    make(topic, 1, broker.address)
    values, failed = [b"%05d" % it * client.width for it in range(client.many)], []

    def send():
        try:
            client.send(topic, plain(*values), "none", True, None, 60)
        except Exception as error:  # noqa: BLE001: told by the thread that waits
            failed.append(error)
    sender = threading.Thread(target=send)
    sender.start()
    wait_for("the first records are there", lambda: end_of(topic, broker) > 0 or failed, 30)
    cut = end_of(topic, broker)
    assert sender.is_alive() and cut < len(values), "all was sent before the broker could be killed"
    broker.kill()
    time.sleep(0.3)
    broker.start()
    sender.join(90)
    if failed:
        raise failed[0]
    equal(end_of(topic, broker), len(values), "records")
    equal([it[1] for it in stock.Confluent(broker.address).read(topic, len(values))], values, "order")
    return f"killed after {cut} of {len(values)}"


def end_of(topic, broker):
    """The offset that comes next."""
    from confluent_kafka import Consumer, TopicPartition
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "unused", "log_level": 0})
    _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
    consumer.close()
    return end


def groups(client, broker):
    if client.name == "kcat":
        client.member(None, None, None, None)
    topic, group = new_topic("shared"), new_topic("group")
    make(topic, 6, broker.address)
    from confluent_kafka import Producer
    producer = Producer({"bootstrap.servers": broker.address})
    for at in range(300):
        producer.produce(topic, b"%d" % at, partition=at % 6)
    producer.flush(10)
    seen, lock, members = {}, threading.Lock(), []

    def begin(static="0"):
        here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stock.py")
        process = subprocess.Popen([sys.executable, here, client.name, broker.address, topic, group, static],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

        def hear():
            for line in process.stdout:
                partition, offset = map(int, line.split())
                with lock:
                    seen.setdefault((partition, offset), []).append(process.pid)
        threading.Thread(target=hear, daemon=True).start()
        members.append(process)
        return process

    def by(process):
        with lock:
            return sum(process.pid in it for it in seen.values())
    try:
        first = begin()
        wait_for("the first member works", lambda: by(first) > 20, 30)
        second, third = begin(), begin()
        wait_for("all records are seen", lambda: len(seen) == 300, 60)
        more = lambda: [producer.produce(topic, b"more", partition=it % 6) for it in range(60)] and producer.flush(10)
        more()
        wait_for("each of three has a share", lambda: by(second) > 0 and by(third) > 0 or more(), 40)
        first.kill()
        before = len(seen)
        for _ in range(5):
            more()
        wait_for("the others go on without it", lambda: len(seen) >= before + 300, 60)
        time.sleep(0.2)
        with lock:
            twice = sum(len(it) > 1 for it in seen.values())
        for process in members:
            process.kill()
            process.wait()
        # A member that comes back finds what was committed.
        known = len(seen)
        make_more = begin()
        more()
        wait_for("it resumes", lambda: len(seen) >= known + 60, 60)
        with lock:
            again = sum(make_more.pid in it and len(it) > 1 for it in seen.values())
        assert again <= 12, f"{again} records came again after a restart"
        return f"{twice} of {known} records came twice"
    finally:
        for process in members:
            process.kill()
            process.wait()


def seek(client, broker):
    topic = new_topic("times")
    make(topic, 1, broker.address)
    base = 1_700_000_000_000
    stamped = [(None, b"%d" % it, [], base + it) for it in (2, 4, 6, 8)]
    try:
        client.send(topic, stamped)
    except Cannot:
        stock.Confluent(broker.address).send(topic, stamped)
    equal([client.at_time(topic, base + it) for it in (1, 2, 3, 6, 8)], [0, 0, 1, 2, 3], "offsets of times")


def octets(client, broker):
    topic = new_topic("bytes")
    make(topic, 1, broker.address)
    records = [(b"\xff\x00\xfe", b"\x00\x80", [("a", b"\xff\x00")], None), (b"k", None, [("b", b"")], None), (b"", b"", [], None)]
    client.send(topic, records)
    equal([it[:3] for it in client.read(topic, 3)], [it[:3] for it in records], "records")


def large(client, broker):
    topic = new_topic("large")
    make(topic, 1, broker.address)
    big = os.urandom(450_000).hex().encode()
    client.send(topic, plain(big))
    equal([it[1] for it in client.read(topic, 1)], [big], "900 kB")


def administration(client, broker):
    client.administer(new_topic("admin"))


CHECKS = [("compression", compression), ("binary keys, null values, headers", octets), ("900 kB message", large),
          ("seek by time", seek), ("administration", administration), ("idempotence over kill -9 of the broker", idempotence),
          ("groups of 1–3, kill -9, resume", groups)]
QUICK = {"compression", "binary keys, null values, headers", "900 kB message", "seek by time", "administration"}


def versions():
    from importlib.metadata import version
    known = {it: version(it) for it in ("confluent-kafka", "aiokafka", "kafka-python")}
    node = os.path.join(os.path.dirname(os.path.dirname(sys.executable)), "node", "node_modules", "kafkajs", "package.json")
    if os.path.exists(node):
        known["kafkajs"] = json.load(open(node))["version"]
    if shutil.which("kcat"):
        known["kcat"] = subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout.split("Version ")[1].split()[0]
    return known


def try_one(check, client, broker):
    began = time.monotonic()
    try:
        said, ended = check(client, broker), "yes"
    except Cannot as reason:
        said, ended = str(reason), "cannot"
    except Exception as error:  # noqa: BLE001: a check that fails is what this program tells
        said, ended = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300], "no"
    if broker.process.poll() is not None:
        broker.start()
    return ended, said or "", time.monotonic() - began


def table(rows, clients, known):
    lines = ["| | " + " | ".join(f"{it} {known[it]}" for it in clients) + " |", "|---|" + "---|" * len(clients)]
    notes = []
    for name, results in rows:
        cells = []
        for client in clients:
            ended, said, _ = results[client]
            if ended != "yes":
                notes.append(f"- {client}, {name}: {said}")
            cells.append(ended if ended != "yes" or name != "compression" else said)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines), "\n".join(notes)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--quick", action="store_true", help="without restarts and groups")
    parser.add_argument("--client", action="append")
    parser.add_argument("--check", action="append")
    parser.add_argument("--document")
    asked = parser.parse_args()
    # What clients say about a broker that was killed is no news.
    logging.disable(logging.CRITICAL)
    known = versions()
    chosen = [it for it in CLIENTS if it.name in known and (not asked.client or it.name in asked.client)]
    for missing in (it.name for it in CLIENTS if it.name not in known):
        print(f"not installed, not tried: {missing}")
    broker = Broker(os.path.abspath(asked.program))
    broker.start()
    rows, began = [], time.monotonic()
    try:
        for name, check in CHECKS:
            if asked.quick and name not in QUICK or asked.check and name not in asked.check:
                continue
            results = {}
            for client in chosen:
                results[client.name] = try_one(check, client(broker.address), broker)
                ended, said, took = results[client.name]
                print(f"{client.name:16} {name:40} {ended:7} {took:5.1f} s  {said}", flush=True)
            rows.append((name, results))
    finally:
        broker.remove()
    lines, notes = table(rows, [it.name for it in chosen], known)
    print(f"\n{lines}\n\n{notes}\n\n{time.monotonic() - began:.0f} s")
    if asked.document:
        with open(asked.document, "w") as file:
            file.write(DOCUMENT.format(table=lines, notes=notes))
    return any(it[0] == "no" for _, results in rows for it in results.values())


DOCUMENT = """# Stock clients
What clients of Kafka's protocol that others wrote can do with our log. Written by `cargo xtask test-clients`, which
starts the log, lets each client send and read, and ends with 1 when one could not do what it can do elsewhere.

{table}

What did not go, or what the client itself does not have:
{notes}
- kafka-python, zstd: it takes a log that speaks no Fetch 10 for one older than Kafka 2.1, and refuses by itself
- kafkajs, snappy, lz4, zstd: left to packages of others, which were not tried
- aiokafka, administration: tried were topics, settings to read, records, groups to list

The log has no transactions: a client that asks for them hears `UNSUPPORTED_VERSION`. The partitions of a topic are set
when it is made: to ask for more is refused (`INVALID_PARTITIONS`). A setting that is not carried out is refused
(`INVALID_CONFIG`) instead of taken, and `AlterConfigs`, the older request, is not spoken. Records that were deleted are read no more; their bytes go with their segment.
Compressed batches are stored as they come, expanded to 64 MiB at the most to count their records, and refused past that
(`MESSAGE_TOO_LARGE`) or when they are not as many as the batch says (`INVALID_RECORD`).
"""

if __name__ == "__main__":
    sys.exit(main())
