// Node's `ws`, broadcasting as in its README: one send per member. Usage: node node_ws.js PORT [deflate]
const { createRequire } = require("node:module");
const { WebSocketServer, WebSocket } = createRequire(process.cwd() + "/")("ws"); // run in the folder with node_modules

const [port, deflate] = process.argv.slice(2);
const perMessageDeflate = deflate === "deflate"; // with its defaults
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), backlog: 2048, perMessageDeflate });
const members = new Set();

server.on("connection", (socket, request) => {
  if (request.url === "/echo") {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    return;
  }
  members.add(socket);
  socket.on("close", () => members.delete(socket));
  socket.on("message", (data, isBinary) => {
    for (const member of members) if (member.readyState === WebSocket.OPEN) member.send(data, { binary: isBinary });
  });
});
