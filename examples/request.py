#!/usr/bin/env python3
"""Asks for a delivery without HTTP: a stock Kafka client produces a `delivery-requests` record.

    pip install confluent-kafka
    drone-delivery up --set broker.plain_clients=true
    python3 examples/request.py [127.0.0.1:7092]

or, logged in as `request` over TLS, with the secret that `drone-delivery log user add request` has shown, alone in a file:

    drone-delivery up --routes examples/log-user.yaml
    drone-delivery identity anchors --pem > anchors.pem
    LOG_USER=request LOG_SECRET_FILE=secret.txt LOG_AUTHORITIES=anchors.pem python3 examples/request.py

Prints the delivery's id once the log has the record on stable storage.
"""
import json
import os
import sys
import uuid

from confluent_kafka import Producer


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
delivery = str(uuid.uuid4())
request = {
    "deliveryId": delivery, "ownerId": "myowner",
    "pickupLocation": "my pickup", "dropoffLocation": "my dropoff",
    "pickupTime": "2026-01-01T00:00:00Z", "deadline": "", "expedited": True,
    "confirmationRequired": "None",
    "packageInfo": {"packageId": delivery, "size": "Small", "weight": 10, "tag": "mytag"},
}


refused = []


def acknowledged(error, _record):
    if error is not None:
        refused.append(error)
    else:
        print(delivery, flush=True)


# The partition of a key as every other client of this log has it.
producer = Producer({"bootstrap.servers": address, "acks": "all",
                     "partitioner": "murmur2_random", **access()})
producer.produce("delivery-requests", key=delivery, value=json.dumps(request),
                 headers={"operation": "delivery"}, on_delivery=acknowledged)
producer.flush()
if refused:
    sys.exit(f"not taken: {refused[0]}")
