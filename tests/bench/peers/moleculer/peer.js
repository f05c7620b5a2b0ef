// The echo with Moleculer on the same NATS: `node peer.js server`, and `node peer.js client`, which
// takes orders on standard input as tests/bench/generator.py does. Run in the directory where
// package.json was installed. A further argument `metrics` turns on Moleculer's own metrics.
"use strict";

const fs = require("fs");
const path = require("path");
const readline = require("readline");
const modules = path.join(process.cwd(), "node_modules");
const { ServiceBroker } = require(path.join(modules, "moleculer"));
const { nkeyAuthenticator } = require(path.join(modules, "nats"));

const role = process.argv[2];
const user = role === "server" ? "benchserver" : "benchclient";
const seed = fs.readFileSync(path.join(process.env.BETMESH_RUN, "nats", `${user}.nk`));
const metrics = process.argv[3] === "metrics";
// Both forms may run at once: each has a name of its own.
const name = metrics ? "bench-metrics" : "bench";
const WAIT_MS = 10_000;

const broker = new ServiceBroker({
  nodeID: `${user}-${name}`,
  logger: false,
  requestTimeout: WAIT_MS,
  metrics,
  transporter: {
    type: "NATS",
    options: {
      servers: [process.env.NATS_URL.replace("nats://", "")],
      authenticator: nkeyAuthenticator(new TextEncoder().encode(seed.toString().trim())),
    },
  },
});

async function serve() {
  broker.createService({
    name,
    actions: {
      echo: {
        // Typed bodies, as the mesh has them.
        params: { transfer_id: "string", amount: "number", currency: "string", reference: "string" },
        handler(ctx) {
          return { transfer_id: ctx.params.transfer_id, amount: ctx.params.amount, caller: ctx.nodeID };
        },
      },
    },
  });
  await broker.start();
  process.on("SIGTERM", () => broker.stop().then(() => process.exit(0)));
  console.log("ready");
}

const seconds = () => Number(process.hrtime.bigint()) / 1e9;

async function carryOut(order) {
  const begin = seconds() + (order.warm_s ?? 0.5);
  const end = begin + (order.seconds ?? 1);
  const took = [];
  let asked = 0, failed = 0, failure = "";
  const caller = async () => {
    for (let began = seconds(); began < end; began = seconds()) {
      const number = String(++asked).padStart(12, "0");
      try {
        await broker.call(`${name}.echo`, {
          transfer_id: `0199b2a4-5e7c-7000-8000-${number}`, amount: 300, currency: "EUR", reference: "bench",
        });
        const ended = seconds();
        if (begin <= ended && ended <= end) took.push(ended - began);
      } catch (error) {
        failed += 1;
        failure = String(error).slice(0, 200);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  };
  await Promise.all(Array.from({ length: order.in_flight }, caller));
  const ordered = Float64Array.from(took).sort();
  const quantile = (share) =>
    ordered.length ? 1000 * ordered[Math.min(Math.floor(ordered.length * share), ordered.length - 1)] : 0;
  return {
    answered: ordered.length, refused: 0, failed, asked, seconds: order.seconds ?? 1,
    p50_ms: quantile(0.5), p99_ms: quantile(0.99), failure,
  };
}

async function ask() {
  await broker.start();
  await broker.waitForServices(name, WAIT_MS);
  console.log("ready");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await carryOut(JSON.parse(line))));
  }
  await broker.stop();
}

process.on("SIGTERM", () => process.exit(0));
(role === "server" ? serve() : ask()).catch((error) => {
  console.error(error);
  process.exit(1);
});
