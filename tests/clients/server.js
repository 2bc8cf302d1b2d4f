// The OFREP provider for servers, which asks for every evaluation.
"use strict";

const { OpenFeature } = require("@openfeature/server-sdk");
const { OFREPProvider } = require("@openfeature/ofrep-provider");
const { details, serve, toldFetch } = require("./lines.js");

serve({
  start: async ({ url, headers }) => {
    await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: url, headers, fetchImplementation: toldFetch }));
  },
  evaluate: (asked) => details(OpenFeature.getClient(), asked),
  stop: () => OpenFeature.close(),
});
