#!/usr/bin/env python3
"""Asks for a delivery without HTTP: a stock Kafka client produces a `delivery-requests` record.

    pip install confluent-kafka
    drone-delivery up --set broker.plain_clients=true      # or log in: docs/operations.md, Users of the log
    python3 examples/request.py [127.0.0.1:7092]

Prints the delivery's id once the log has the record on stable storage.
"""
import json
import sys
import uuid

from confluent_kafka import Producer

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7092"
delivery = str(uuid.uuid4())
request = {
    "deliveryId": delivery, "ownerId": "myowner",
    "pickupLocation": "my pickup", "dropoffLocation": "my dropoff",
    "pickupTime": "2026-01-01T00:00:00Z", "deadline": "", "expedited": True,
    "confirmationRequired": "None",
    "packageInfo": {"packageId": delivery, "size": "Small", "weight": 10, "tag": "mytag"},
}


def acknowledged(error, _record):
    if error is not None:
        sys.exit(f"not taken: {error}")
    print(delivery, flush=True)


producer = Producer({"bootstrap.servers": address, "acks": "all"})
producer.produce("delivery-requests", key=delivery, value=json.dumps(request),
                 headers={"operation": "delivery"}, on_delivery=acknowledged)
producer.flush()
