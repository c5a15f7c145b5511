#!/usr/bin/env python3
"""Counts deliveries by stage, live: a stock Kafka client subscribes to `delivery-events`.

    pip install confluent-kafka
    drone-delivery up --set broker.plain_clients=true
    python3 examples/analytics.py [127.0.0.1:7092]

or, logged in as `analytics` over TLS, with the secret that `drone-delivery log user add analytics` has shown, alone in a file:

    drone-delivery up --routes examples/log-user.yaml
    drone-delivery identity anchors --pem > anchors.pem
    LOG_USER=analytics LOG_SECRET_FILE=secret.txt LOG_AUTHORITIES=anchors.pem python3 examples/analytics.py

Nothing upstream knows that it runs, and nothing changes when it stops.
"""
import collections
import os
import sys

from confluent_kafka import Consumer


def access():
    """How one comes in: logged in over TLS where a user is told, else as whoever is on this machine."""
    user = os.environ.get("LOG_USER")
    if user is None:
        return {}
    with open(os.environ["LOG_SECRET_FILE"], encoding="ascii") as secret:
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": user,
            "sasl.password": secret.read().strip(),
            "ssl.ca.location": os.environ["LOG_AUTHORITIES"],
        }


address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7092"
consumer = Consumer({
    "bootstrap.servers": address,
    "group.id": "analytics",
    "auto.offset.reset": "earliest",
    **access(),
})
consumer.subscribe(["delivery-events"])
stages = collections.Counter()
try:
    while True:
        record = consumer.poll(1.0)
        if record is None:
            continue
        if record.error():
            print(record.error(), file=sys.stderr, flush=True)
            continue
        kind = dict(record.headers() or []).get("ce_type", b"?").decode()
        stages[kind.split(".")[-2] if "." in kind else kind] += 1
        print(dict(stages), flush=True)
except KeyboardInterrupt:
    consumer.close()
