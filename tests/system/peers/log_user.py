"""Stock Kafka clients that log in by a name and a secret, inside TLS.

log_user.py CLIENT ADDRESS ANCHORS USER ACTION TOPIC: CLIENT is confluent-kafka, kafka-python or aiokafka, ACTION
consume, produce or hold. The secret comes by standard input. What was seen is said in one word; `hold` says
`in` once it has read, and `out` when the log has ended what it held.
"""

import asyncio
import sys
import time

WAIT = 20


def confluent(address, anchors, user, secret, action, topic):
    from confluent_kafka import Consumer, KafkaException, Producer

    common = {
        "bootstrap.servers": address,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": secret,
        "ssl.ca.location": anchors,
        "ssl.endpoint.identification.algorithm": "https",
        "log_level": 0,
    }
    errors = []
    common["error_cb"] = errors.append
    refused = lambda: any(it.name() == "_AUTHENTICATION" for it in errors)
    if action == "produce":
        told = []
        producer = Producer(common | {"message.timeout.ms": 5_000})
        producer.produce(topic, b"forged", on_delivery=lambda error, _: told.append(error))
        producer.flush(WAIT)
        if not told or told[0] is None:
            return "done" if told else "silent"
        return "refused" if refused() else told[0].name()
    consumer = Consumer(common | {"group.id": f"{user}-confluent", "auto.offset.reset": "earliest",
                                  "enable.auto.commit": False})
    consumer.subscribe([topic])
    try:
        return poll(consumer, action, errors, refused)
    finally:
        consumer.close()


def poll(consumer, action, errors, refused):
    end, held = time.monotonic() + WAIT, False
    while time.monotonic() < end:
        message = consumer.poll(0.2)
        # What it held has ended, and nobody is let in again.
        if held and errors:
            return "out"
        if refused():
            return "refused"
        if message is not None and message.error() is not None:
            return message.error().name()
        if message is not None and not held:
            if action == "consume":
                return "done"
            held, end = True, time.monotonic() + WAIT
            print("in", flush=True)
    return "silent"


def kafka_python(address, anchors, user, secret, action, topic):
    import kafka
    from kafka import errors

    try:
        consumer = kafka.KafkaConsumer(
            topic, bootstrap_servers=address, security_protocol="SASL_SSL", sasl_mechanism="PLAIN",
            sasl_plain_username=user, sasl_plain_password=secret, ssl_cafile=anchors,
            ssl_check_hostname=True, group_id=f"{user}-kafka-python", auto_offset_reset="earliest",
            enable_auto_commit=False, consumer_timeout_ms=WAIT * 1_000,
        )
        return "done" if next(iter(consumer), None) is not None else "silent"
    except errors.KafkaError as error:
        return type(error).__name__


def aiokafka(address, anchors, user, secret, action, topic):
    from aiokafka import AIOKafkaConsumer
    from aiokafka.errors import KafkaError
    from aiokafka.helpers import create_ssl_context

    async def consume():
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=address, security_protocol="SASL_SSL", sasl_mechanism="PLAIN",
            sasl_plain_username=user, sasl_plain_password=secret,
            ssl_context=create_ssl_context(cafile=anchors), group_id=f"{user}-aiokafka",
            auto_offset_reset="earliest", enable_auto_commit=False,
        )
        try:
            await consumer.start()
            await asyncio.wait_for(consumer.getone(), WAIT)
            return "done"
        except KafkaError as error:
            return type(error).__name__
        except asyncio.TimeoutError:
            return "silent"
        finally:
            await consumer.stop()

    return asyncio.run(consume())


if __name__ == "__main__":
    _, client, address, anchors, user, action, topic = sys.argv
    clients = {"confluent-kafka": confluent, "kafka-python": kafka_python, "aiokafka": aiokafka}
    print(clients[client](address, anchors, user, sys.stdin.readline().strip(), action, topic))
