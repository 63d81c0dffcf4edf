// What the SDK does with what getToken gives: node tokens.mjs URL '{"name": {"given": …, "count": …, "channel": …}}'
import { Centrifuge, UnauthorizedError } from "centrifuge";

const [url, scenarios] = process.argv.slice(2);

function happens({ given, count, channel, token }) {
  return new Promise((resolve) => {
    const events = [];
    const happened = (event) => {
      events.push(event);
      if (events.length === count) {
        resolve([...events]);
        client.disconnect();
      }
    };
    const getToken = async () => {
      happened("asked");
      const next = given.shift();
      if (next === "UNAUTHORIZED") throw new UnauthorizedError();
      if (next === "FAILURE") throw new Error("the site does not answer");
      return next;
    };
    const client = new Centrifuge(url, { minReconnectDelay: 20, ...(channel ? { token } : { getToken }) });
    client.on("disconnected", ({ code }) => happened(`${channel ? "gone" : "off"} ${code}`));
    if (channel) {
      const subscription = client.newSubscription(channel, { getToken, minResubscribeDelay: 20 });
      subscription.on("subscribed", () => happened("on"));
      subscription.on("unsubscribed", ({ code }) => happened(`off ${code}`));
      subscription.subscribe();
    } else {
      client.on("connected", () => happened("on"));
    }
    client.connect();
  });
}

const results = Object.entries(JSON.parse(scenarios)).map(async ([name, scenario]) => [name, await happens(scenario)]);
console.log(JSON.stringify(Object.fromEntries(await Promise.all(results))));
