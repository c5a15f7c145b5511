"""One face for every stock client: what the checks need, said in each client's own words.

A client that cannot do something raises `Cannot` with the reason.
"""
import asyncio
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Cannot(Exception):
    """The client itself has no such thing."""


class Client:
    """What all have."""
    # Sent while the broker is killed: so many, so wide, that it takes longer than that.
    many, width = 20_000, 20

    def __init__(self, address):
        self.address = address


class Librdkafka(Client):
    """What its users have in common."""
    many, width = 99_000, 80
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]


class Confluent(Librdkafka):
    """librdkafka, by `confluent-kafka`."""
    name = "confluent-kafka"

    def send(self, topic, records, codec="none", idempotent=False, bytes_max=None, seconds=30):
        from confluent_kafka import Producer
        settings = {"bootstrap.servers": self.address, "log_level": 0, "compression.type": codec, "linger.ms": 20,
                    "enable.idempotence": idempotent, "message.timeout.ms": seconds * 1000}
        if bytes_max:
            settings["message.max.bytes"] = bytes_max
        producer, done, failed = Producer(settings), [], []
        told = lambda error, record: failed.append(str(error)) if error else done.append(record.offset())
        for at, (key, value, headers, stamp) in enumerate(records):
            rest = {"timestamp": stamp} if stamp else {}
            while True:
                try:
                    producer.produce(topic, value=value, key=key, headers=headers, partition=0, on_delivery=told, **rest)
                    break
                except BufferError:
                    producer.poll(0.1)
            if at % 50 == 0:
                producer.poll(0)
        producer.flush(seconds + 5)
        if failed:
            raise RuntimeError(failed[0])
        return done

    def read(self, topic, count, start=0, seconds=20):
        from confluent_kafka import Consumer, TopicPartition
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "unused", "enable.auto.commit": False})
        consumer.assign([TopicPartition(topic, 0, start)])
        found, until = [], time.monotonic() + seconds
        while len(found) < count and time.monotonic() < until:
            record = consumer.poll(0.5)
            if record is not None and not record.error():
                found.append((record.key(), record.value(), [(k, v) for k, v in record.headers() or []], record.timestamp()[1]))
        consumer.close()
        return found

    def at_time(self, topic, stamp):
        from confluent_kafka import Consumer, TopicPartition
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "unused"})
        found = consumer.offsets_for_times([TopicPartition(topic, 0, stamp)], timeout=10)
        consumer.close()
        return found[0].offset

    def member(self, topic, group, static, told):
        from confluent_kafka import Consumer
        settings = {"bootstrap.servers": self.address, "group.id": group, "enable.auto.commit": False,
                    "auto.offset.reset": "earliest", "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
                    "partition.assignment.strategy": "cooperative-sticky" if static else "range"}
        consumer = Consumer(settings)
        consumer.subscribe([topic])
        while True:
            record = consumer.poll(0.2)
            if record is not None and not record.error():
                told(record.partition(), record.offset())
                consumer.commit(record, asynchronous=False)

    def administer(self, topic):
        from confluent_kafka import TopicPartition, ConsumerGroupTopicPartitions, KafkaException
        from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions,
                                           NewTopic, OffsetSpec, ResourceType)
        admin = AdminClient({"bootstrap.servers": self.address})
        get = lambda futures: list(futures.values())[0].result(10)
        get(admin.create_topics([NewTopic(topic, 2, 1, config={"retention.ms": "3600000"})]))
        resource = ConfigResource(ResourceType.TOPIC, topic)
        assert get(admin.describe_configs([resource]))["retention.ms"].value == "3600000"
        resource.add_incremental_config(ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET))
        get(admin.incremental_alter_configs([resource]))
        assert get(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))["retention.ms"].value == "7200000"
        try:
            get(admin.create_partitions([NewPartitions(topic, 4)]))
            raise AssertionError("more partitions were made")
        except KafkaException as refused:
            assert "partitions" in refused.args[0].str(), refused
        self.send(topic, [(None, b"x", [], None)] * 4)
        get(admin.delete_records([TopicPartition(topic, 0, 2)]))
        at = TopicPartition(topic, 0)
        assert get(admin.list_offsets({at: OffsetSpec.earliest()})).offset == 2
        group = topic + "-group"
        get(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 3)])]))
        asked = ConsumerGroupTopicPartitions(group, [at])
        assert get(admin.list_consumer_group_offsets([asked])).topic_partitions[0].offset == 3
        assert group in [it.group_id for it in admin.list_consumer_groups().result(10).valid]
        assert get(admin.describe_consumer_groups([group])).state.name == "EMPTY"
        assert admin.describe_cluster().result(10).controller.id == 0
        get(admin.delete_consumer_groups([group]))
        get(admin.delete_topics([topic]))
        assert topic not in admin.list_topics(timeout=10).topics


class KafkaPython(Client):
    """`kafka-python`."""
    name = "kafka-python"
    # It takes a log that speaks no Fetch 10 for an older one than those that read Zstandard.
    codecs = ["none", "gzip", "snappy", "lz4"]

    def send(self, topic, records, codec="none", idempotent=False, bytes_max=None, seconds=30):
        from kafka import KafkaProducer
        settings = {"bootstrap_servers": self.address, "compression_type": None if codec == "none" else codec,
                    "linger_ms": 20, "acks": "all", "enable_idempotence": idempotent,
                    "delivery_timeout_ms": seconds * 1000, "request_timeout_ms": min(seconds * 1000, 5000)}
        if bytes_max:
            settings.update(max_request_size=bytes_max, buffer_memory=bytes_max * 2)
        producer = KafkaProducer(**settings)
        try:
            futures = [producer.send(topic, value=value, key=key, headers=headers, partition=0, timestamp_ms=stamp)
                       for key, value, headers, stamp in records]
            return [it.get(seconds + 5).offset for it in futures]
        finally:
            producer.close(5)

    def read(self, topic, count, start=0, seconds=20):
        from kafka import KafkaConsumer, TopicPartition
        consumer = KafkaConsumer(bootstrap_servers=self.address, enable_auto_commit=False)
        at = TopicPartition(topic, 0)
        consumer.assign([at])
        consumer.seek(at, start)
        found, until = [], time.monotonic() + seconds
        while len(found) < count and time.monotonic() < until:
            for records in consumer.poll(500).values():
                found += [(it.key, it.value, list(it.headers), it.timestamp) for it in records]
        consumer.close()
        return found

    def at_time(self, topic, stamp):
        from kafka import KafkaConsumer, TopicPartition
        consumer = KafkaConsumer(bootstrap_servers=self.address)
        at = TopicPartition(topic, 0)
        found = consumer.offsets_for_times({at: stamp})[at].offset
        consumer.close()
        return found

    def member(self, topic, group, static, told):
        from kafka import KafkaConsumer
        consumer = KafkaConsumer(topic, bootstrap_servers=self.address, group_id=group, enable_auto_commit=False,
                                 auto_offset_reset="earliest", session_timeout_ms=6000, heartbeat_interval_ms=500)
        while True:
            for records in consumer.poll(200, max_records=1).values():
                for record in records:
                    told(record.partition, record.offset)
                    consumer.commit()

    def administer(self, topic):
        from kafka import OffsetAndMetadata, TopicPartition
        from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
        admin = KafkaAdminClient(bootstrap_servers=self.address)
        admin.create_topics([NewTopic(topic, 2, 1)])
        assert topic in admin.list_topics()
        resource = lambda configs=None: [ConfigResource(ConfigResourceType.TOPIC, topic, configs)]
        admin.alter_configs(resource({"retention.ms": "7200000"}))
        assert "7200000" in str(admin.describe_configs(resource()))
        self.send(topic, [(None, b"x", [], None)] * 4)
        at = TopicPartition(topic, 0)
        admin.delete_records({at: 2})
        group = topic + "-group"
        admin.alter_group_offsets(group, {at: OffsetAndMetadata(3, "", -1)})
        assert group in str(admin.list_groups())
        assert "Empty" in str(admin.describe_groups([group]))
        admin.delete_group_offsets(group, [at])
        admin.alter_group_offsets(group, {at: OffsetAndMetadata(3, "", -1)})
        admin.delete_groups([group])
        assert group not in str(admin.list_groups())
        assert admin.describe_cluster()
        admin.delete_topics([topic])
        assert topic not in admin.list_topics()
        admin.close()


class AioKafka(Client):
    """`aiokafka`."""
    name = "aiokafka"
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]

    def send(self, topic, records, codec="none", idempotent=False, bytes_max=None, seconds=30):
        return asyncio.run(self._send(topic, records, codec, idempotent, bytes_max, seconds))

    async def _send(self, topic, records, codec, idempotent, bytes_max, seconds):
        from aiokafka import AIOKafkaProducer
        producer = AIOKafkaProducer(bootstrap_servers=self.address, compression_type=None if codec == "none" else codec,
                                    linger_ms=20, acks="all", enable_idempotence=idempotent,
                                    request_timeout_ms=seconds * 1000, max_request_size=bytes_max or 1 << 20)
        await producer.start()
        try:
            futures = [await producer.send(topic, value=value, key=key, headers=headers, partition=0, timestamp_ms=stamp)
                       for key, value, headers, stamp in records]
            return [(await it).offset for it in futures]
        finally:
            await producer.stop()

    def read(self, topic, count, start=0, seconds=20):
        return asyncio.run(self._read(topic, count, start, seconds))

    async def _read(self, topic, count, start, seconds):
        from aiokafka import AIOKafkaConsumer, TopicPartition
        consumer = AIOKafkaConsumer(bootstrap_servers=self.address, enable_auto_commit=False)
        await consumer.start()
        at = TopicPartition(topic, 0)
        consumer.assign([at])
        consumer.seek(at, start)
        found, until = [], time.monotonic() + seconds
        while len(found) < count and time.monotonic() < until:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += [(it.key, it.value, list(it.headers), it.timestamp) for it in records]
        await consumer.stop()
        return found

    def at_time(self, topic, stamp):
        return asyncio.run(self._at_time(topic, stamp))

    async def _at_time(self, topic, stamp):
        from aiokafka import AIOKafkaConsumer, TopicPartition
        consumer = AIOKafkaConsumer(bootstrap_servers=self.address)
        await consumer.start()
        at = TopicPartition(topic, 0)
        found = (await consumer.offsets_for_times({at: stamp}))[at].offset
        await consumer.stop()
        return found

    def member(self, topic, group, static, told):
        asyncio.run(self._member(topic, group, told))

    async def _member(self, topic, group, told):
        from aiokafka import AIOKafkaConsumer
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.address, group_id=group, enable_auto_commit=False,
                                    auto_offset_reset="earliest", session_timeout_ms=6000, heartbeat_interval_ms=500)
        await consumer.start()
        while True:
            record = await consumer.getone()
            told(record.partition, record.offset)
            await consumer.commit()

    def administer(self, topic):
        asyncio.run(self._administer(topic))

    async def _administer(self, topic):
        from aiokafka import TopicPartition
        from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
        from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 2, 1)])
        assert topic in await admin.list_topics()
        assert "retention.ms" in str(await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
        await self._send(topic, [(None, b"x", [], None)] * 4, "none", False, None, 10)
        at = TopicPartition(topic, 0)
        await admin.delete_records({at: RecordsToDelete(before_offset=2)})
        assert await admin.describe_cluster()
        assert await admin.list_consumer_groups() is not None
        await admin.delete_topics([topic])
        assert topic not in await admin.list_topics()
        await admin.close()


class KafkaJs(Client):
    """`kafkajs`, spoken to by a program of ours."""
    name = "kafkajs"
    # Snappy, LZ4 and Zstandard are left to packages of others.
    codecs = ["none", "gzip"]

    def _command(self, what):
        modules = os.path.join(os.path.dirname(os.path.dirname(sys.executable)), "node", "node_modules")
        told = json.dumps({"address": self.address, **what})
        return ["node", os.path.join(HERE, "kafkajs.js")], told, {**os.environ, "NODE_PATH": modules, "KAFKAJS_NO_PARTITIONER_WARNING": "1"}

    def _run(self, what, seconds=60):
        command, told, environment = self._command(what)
        ended = subprocess.run(command, env=environment, input=told, capture_output=True, text=True, timeout=seconds)
        if ended.returncode != 0:
            raise RuntimeError((ended.stderr.strip() or "no answer").splitlines()[-1])
        return json.loads(ended.stdout.splitlines()[-1])

    def send(self, topic, records, codec="none", idempotent=False, bytes_max=None, seconds=30):
        text = lambda it: None if it is None else it.hex()
        records = [[text(k), text(v), [[n, text(h)] for n, h in headers], stamp] for k, v, headers, stamp in records]
        return self._run({"do": "send", "topic": topic, "records": records, "codec": codec, "idempotent": idempotent,
                          "seconds": seconds}, seconds + 30)

    def read(self, topic, count, start=0, seconds=20):
        found = self._run({"do": "read", "topic": topic, "count": count, "start": start, "seconds": seconds}, seconds + 30)
        bytes_of = lambda it: None if it is None else bytes.fromhex(it)
        return [(bytes_of(k), bytes_of(v), [(n, bytes_of(h)) for n, h in headers], stamp) for k, v, headers, stamp in found]

    def at_time(self, topic, stamp):
        return self._run({"do": "at_time", "topic": topic, "stamp": stamp})

    def member(self, topic, group, static, told):
        command, told, environment = self._command({"do": "member", "topic": topic, "group": group})
        os.execvpe(command[0], [*command, told], environment)

    def administer(self, topic):
        self._run({"do": "administer", "topic": topic})


class Kcat(Librdkafka):
    """`kcat`, librdkafka at a shell."""
    name = "kcat"

    def _run(self, *arguments, given=b"", seconds=30):
        ended = subprocess.run(["kcat", "-b", self.address, *arguments], input=given, capture_output=True, timeout=seconds)
        if ended.returncode != 0:
            reason = ended.stderr.decode(errors="replace").strip().splitlines()[-1]
            raise Cannot("it ends when no broker is left") if "terminating" in reason else RuntimeError(reason)
        return ended.stdout

    def send(self, topic, records, codec="none", idempotent=False, bytes_max=None, seconds=30):
        if any(stamp for *_, stamp in records):
            raise Cannot("it takes no times")
        if any(b"\n" in (v or b"") or k is not None or headers for k, v, headers, _ in records):
            raise Cannot("it takes one text a line")
        extra = ["-X", f"message.max.bytes={bytes_max}"] if bytes_max else []
        if idempotent:
            extra += ["-X", "enable.idempotence=true"]
        self._run("-P", "-t", topic, "-p", "0", "-z", codec, *extra, given=b"\n".join(v for _, v, *_ in records), seconds=seconds)

    def read(self, topic, count, start=0, seconds=20):
        out = self._run("-C", "-t", topic, "-p", "0", "-o", str(start), "-c", str(count), "-q", "-D", "\n", seconds=seconds)
        return [(None, it, [], None) for it in out.splitlines()]

    def at_time(self, topic, stamp):
        return int(self._run("-Q", "-t", f"{topic}:0:{stamp}").split()[-1])

    def member(self, topic, group, static, told):
        raise Cannot("it commits by time, not when it is told")

    def administer(self, topic):
        raise Cannot("it has no commands for administrators")


CLIENTS = [Confluent, AioKafka, KafkaPython, KafkaJs, Kcat]

if __name__ == "__main__":
    # A member of a group: says what it was given before it commits it.
    _, which, where, its_topic, its_group, is_static = sys.argv
    found = next(it for it in CLIENTS if it.name == which)
    found(where).member(its_topic, its_group, is_static == "1", lambda partition, offset: print(partition, offset, flush=True))
