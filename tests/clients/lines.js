// One JSON object a line: commands come in on standard input, answers and events go out on standard output.
"use strict";

const readline = require("node:readline");

function say(object) {
  process.stdout.write(`${JSON.stringify(object)}\n`);
}

async function answered(commands, { id, command, ...given }) {
  try {
    return { id, result: (await commands[command](given)) ?? null };
  } catch (error) {
    return { id, error: { name: error.name, code: error.code ?? null, message: String(error.message) } };
  }
}

function serve(commands) {
  const lines = readline.createInterface({ input: process.stdin });
  lines.on("line", async (line) => say(await answered(commands, JSON.parse(line))));
  lines.on("close", () => process.exit(0));
}

// What a provider asks is told as an event, so that a test sees how often it asks and what it gets.
async function toldFetch(request, init) {
  const response = await fetch(request, init);
  say({ event: "fetched", status: response.status, url: decodeURIComponent(request.url) });
  return response;
}

function details(client, { type, key, otherwise, context }) {
  const method = { boolean: "getBooleanDetails", number: "getNumberDetails", string: "getStringDetails", object: "getObjectDetails" }[type];
  return client[method](key, otherwise, context);
}

module.exports = { details, say, serve, toldFetch };
