// Socket.IO with its Redis adapter, as in the adapter's README: one room, and the event `message` to all in it.
// Usage: node socketio_server.js PORT REDIS_PORT
const { createRequire } = require("node:module");
const { createServer } = require("node:http");
const load = createRequire(process.cwd() + "/"); // run in the folder with node_modules
const { createClient } = load("redis");
const { Server } = load("socket.io");
const { createAdapter } = load("@socket.io/redis-adapter");

const [port, redisPort] = process.argv.slice(2).map(Number);

async function main() {
  const publishing = createClient({ url: `redis://127.0.0.1:${redisPort}` });
  const subscribing = publishing.duplicate();
  await Promise.all([publishing.connect(), subscribing.connect()]);
  const http = createServer();
  const io = new Server(http, { adapter: createAdapter(publishing, subscribing), transports: ["websocket"] });
  io.on("connection", (socket) => {
    socket.join("bench");
    socket.on("message", (content) => io.to("bench").emit("message", content));
  });
  http.listen({ port, host: "127.0.0.1", backlog: 2048 });
}

main();
