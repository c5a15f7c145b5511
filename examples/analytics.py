#!/usr/bin/env python3
"""Counts deliveries by stage, live: a stock Kafka client subscribes to `delivery-events`.

    pip install confluent-kafka
    drone-delivery up --set broker.plain_clients=true      # or log in: docs/operations.md, Users of the log
    python3 examples/analytics.py [127.0.0.1:7092]

Nothing upstream knows that it runs, and nothing changes when it stops.
"""
import collections
import sys

from confluent_kafka import Consumer

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7092"
consumer = Consumer({
    "bootstrap.servers": address,
    "group.id": "analytics",
    "auto.offset.reset": "earliest",
})
consumer.subscribe(["delivery-events"])
stages = collections.Counter()
try:
    while True:
        record = consumer.poll(1.0)
        if record is None or record.error():
            continue
        kind = dict(record.headers() or []).get("ce_type", b"?").decode()
        stages[kind.split(".")[-2] if "." in kind else kind] += 1
        print(dict(stages), flush=True)
except KeyboardInterrupt:
    consumer.close()
