// A service of anybody: stock, which asks orders through its own door. The standard library only.
//
// PORT is where it listens, ORDERS the door behind which orders are found, INSTANCE its name;
// DELAY_MS makes it slow.

const http = require("node:http");

function orders(path) {
  return new Promise((resolve, reject) => {
    const read = (reply) => {
      let text = "";
      reply.on("data", (piece) => (text += piece));
      reply.on("end", () => resolve(JSON.parse(text)));
    };
    http.get(process.env.ORDERS + path, read).on("error", reject);
  });
}

async function answer(path) {
  if (path === "/report") return { ...(await orders("/count")), instance: process.env.INSTANCE };
  await new Promise((done) => setTimeout(done, Number(process.env.DELAY_MS || 0)));
  return { left: path.length, instance: process.env.INSTANCE };
}

const server = http.createServer(async (request, reply) => {
  const document = await answer(request.url).catch((error) => ({ error: error.message }));
  reply.writeHead(document.error ? 502 : 200, { "content-type": "application/json" });
  reply.end(JSON.stringify(document));
});
server.keepAliveTimeout = 60_000;
server.listen(process.env.PORT, "127.0.0.1");
