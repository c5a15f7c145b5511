// What the checks ask of kafkajs: one command a call, told in JSON.
const { Kafka, CompressionTypes, logLevel } = require("kafkajs");

// A member of a group is told by its argument, all else by its input.
const asked = JSON.parse(process.argv[2] || require("fs").readFileSync(0, "utf8"));
const kafka = new Kafka({ clientId: "checks", brokers: [asked.address], logLevel: logLevel.NOTHING });
const text = (it) => (it === null || it === undefined ? null : Buffer.from(it).toString("hex"));
const bytes = (it) => (it === null ? null : Buffer.from(it, "hex"));
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

async function send() {
  const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP };
  const retries = { retries: 30, maxRetryTime: 1000 };
  const producer = kafka.producer({ idempotent: asked.idempotent, maxInFlightRequests: 1, retry: retries });
  await producer.connect();
  const message = ([key, value, headers, stamp]) => ({
    key: bytes(key), value: bytes(value), partition: 0,
    headers: Object.fromEntries(headers.map(([name, it]) => [name, bytes(it)])),
    ...(stamp ? { timestamp: String(stamp) } : {}),
  });
  const messages = asked.records.map(message);
  const size = asked.idempotent ? 20 : messages.length;
  for (let at = 0; at < messages.length; at += size) {
    await producer.send({ topic: asked.topic, acks: -1, compression: codecs[asked.codec], messages: messages.slice(at, at + size) });
  }
  await producer.disconnect();
  return messages.length;
}

async function read() {
  const consumer = kafka.consumer({ groupId: "read-" + Math.random(), maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic: asked.topic, fromBeginning: true });
  const found = [];
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      if (partition !== 0 || Number(message.offset) < asked.start) return;
      const headers = Object.entries(message.headers || {}).map(([name, it]) => [name, text(it)]);
      found.push([text(message.key), text(message.value), headers, Number(message.timestamp)]);
    },
  });
  const until = Date.now() + asked.seconds * 1000;
  while (found.length < asked.count && Date.now() < until) await wait(50);
  await consumer.disconnect();
  return found;
}

async function at_time() {
  const admin = kafka.admin();
  await admin.connect();
  const found = await admin.fetchTopicOffsetsByTimestamp(asked.topic, asked.stamp);
  await admin.disconnect();
  return Number(found.find((it) => it.partition === 0).offset);
}

async function member() {
  const consumer = kafka.consumer({ groupId: asked.group, sessionTimeout: 6000, heartbeatInterval: 500, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topic: asked.topic, fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ topic, partition, message }) => {
      console.log(partition, message.offset);
      await consumer.commitOffsets([{ topic, partition, offset: String(Number(message.offset) + 1) }]);
    },
  });
  await wait(1e9);
}

async function administer() {
  const must = (holds, what) => { if (!holds) throw new Error(what); };
  const { topic } = asked;
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 2, replicationFactor: 1 }] });
  const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: 2, name: topic }] });
  must(resources[0].configEntries.some((it) => it.configName === "retention.ms"), "no retention.ms");
  asked.records = [1, 2, 3, 4].map(() => [null, "00", [], null]);
  asked.codec = "none";
  await send();
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "2" }] });
  must((await admin.fetchTopicOffsets(topic)).find((it) => it.partition === 0).low === "2", "records are still there");
  const groupId = topic + "-group";
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: "3" }] });
  must((await admin.listGroups()).groups.some((it) => it.groupId === groupId), "the group is not listed");
  must((await admin.describeGroups([groupId])).groups[0].state === "Empty", "the group is not empty");
  must((await admin.describeCluster()).controller === 0, "another controller");
  await admin.deleteGroups([groupId]);
  await admin.deleteTopics({ topics: [topic] });
  must(!(await admin.listTopics()).includes(topic), "the topic is still there");
  await admin.disconnect();
  return true;
}

const commands = { send, read, at_time, member, administer };
commands[asked.do]()
  .then((answer) => process.stdout.write(JSON.stringify(answer) + "\n", () => process.exit(0)))
  .catch((error) => { console.error(String(error.message || error).replaceAll("\n", " ")); process.exit(1); });
