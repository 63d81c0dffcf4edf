// Bun's native publish: `ws.subscribe` and `server.publish`. Usage: bun bun_server.js PORT [deflate]
const compress = process.argv[3] === "deflate";
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    if (server.upgrade(request, { data: { echo: new URL(request.url).pathname === "/echo" } })) return;
    return new Response("WebSocket only", { status: 426 });
  },
  websocket: {
    perMessageDeflate: compress,
    idleTimeout: 960,
    open(socket) {
      if (!socket.data.echo) socket.subscribe("bench");
    },
    message(socket, message) {
      if (socket.data.echo) socket.send(message);
      else server.publish("bench", message, compress);
    },
  },
});
