// antiphon's own client, driven line by line: code on stdin, what it returns on stdout.
import { createInterface } from "node:readline";
import WebSocket from "ws";
import * as antiphon from "../../../src/antiphon/django/static/antiphon/client.js";
import { prepare } from "./client_js_page.mjs";

const AsyncFunction = (async () => {}).constructor;

prepare(antiphon, { WebSocket });
createInterface({ input: process.stdin })
  .on("line", async (line) => {
    const { id, code, args } = JSON.parse(line);
    let answer;
    try {
      answer = { value: await new AsyncFunction("args", code)(args) };
    } catch (error) {
      answer = { error: error.stack ?? String(error) };
    }
    process.stdout.write(JSON.stringify({ id, ...answer }) + "\n");
  })
  .on("close", () => process.exit());
