// The OFREP provider for browsers, which asks for all flags of one context and then polls, or follows the event stream.
"use strict";

const { EventSource } = require("eventsource");
const { OpenFeature, ClientProviderEvents } = require("@openfeature/web-sdk");
const { OFREPWebProvider } = require("@openfeature/ofrep-web-provider");
const { details, say, serve, toldFetch } = require("./lines.js");

globalThis.EventSource = class extends EventSource {
  constructor(url, options) {
    super(url, options);
    this.addEventListener("open", () => say({ event: "listening", url: String(url) }));
    this.addEventListener("error", (error) => say({ event: "interrupted", code: error.code ?? null }));
  }
};

for (const event of Object.values(ClientProviderEvents)) {
  OpenFeature.addHandler(event, (told) => say({ event, changed: told?.flagsChanged ?? null }));
}

serve({
  start: async ({ url, headers, context, pollInterval, changeDetection }) => {
    const options = { baseUrl: url, headers, pollInterval, changeDetection, cacheMode: "disabled" };
    await OpenFeature.setContext(context ?? {});
    await OpenFeature.setProviderAndWait(new OFREPWebProvider({ ...options, fetchImplementation: toldFetch }));
  },
  context: ({ context }) => OpenFeature.setContext(context),
  evaluate: (asked) => details(OpenFeature.getClient(), asked),
  status: () => OpenFeature.getClient().providerStatus,
  stop: () => OpenFeature.close(),
});
