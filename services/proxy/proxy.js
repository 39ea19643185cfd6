// The lab's proxy: configurable-http-proxy used as a library, with those of its command-line options that the lab needs.
//
// What the lab adds:
// - `--fd` and `--api-fd` (both may be repeated): listen on sockets that the parent process has bound and keeps open, so
//   that nobody else gets the port while the proxy is down;
// - `--end-with-stdin`: exit when standard input closes, that is, when the parent process has ended;
// - the modules in PROTECTIONS. Each is called once with the proxy, and may add to `proxy.guards`.
//
// CONFIGPROXY_AUTH_TOKEN in the environment is the secret that the hub and the proxy share.
"use strict";

const net = require("node:net");
const { parseArgs } = require("node:util");
const fs = require("node:fs");
const { ConfigurableProxy, parseListenOptions } = require("configurable-http-proxy");
const { defaultLogger } = require("configurable-http-proxy/lib/log.js");

const PROTECTIONS = [
  require("./one_origin.js"), // before the next one, because the requests that it turns away go to the hub
  require("./hub_proof.js"), // sets `request.toHub`, which the next one reads
  require("./body_limit.js"),
];

const OPTIONS = {
  ip: { type: "string" },
  port: { type: "string" },
  fd: { type: "string", multiple: true },
  "api-ip": { type: "string", default: "localhost" },
  "api-port": { type: "string" },
  "api-fd": { type: "string", multiple: true },
  "ssl-key": { type: "string" },
  "ssl-cert": { type: "string" },
  "default-target": { type: "string" },
  "error-target": { type: "string" },
  "host-routing": { type: "boolean", default: false },
  "log-level": { type: "string", default: "info" },
  "end-with-stdin": { type: "boolean", default: false },
};

// A proxy that asks its guards before it forwards a request.
class LabProxy extends ConfigurableProxy {
  // Each is called with (request, response) and returns true when it has answered.
  guards = [];

  async handleProxyWeb(request, response) {
    // Look up the route first, which stores what the guards read on the request. An invalid URL is answered below.
    await this.targetForReq(request).catch(() => undefined);
    if (this.guards.some((guard) => guard(request, response))) return;
    return super.handleProxyWeb(request, response);
  }
}

function main() {
  const args = parseArgs({ options: OPTIONS }).values;
  const log = defaultLogger({ level: args["log-level"].toLowerCase() });
  if (!process.env.CONFIGPROXY_AUTH_TOKEN) throw new Error("CONFIGPROXY_AUTH_TOKEN is not set");

  const proxy = new LabProxy({
    log,
    authToken: process.env.CONFIGPROXY_AUTH_TOKEN,
    defaultTarget: args["default-target"],
    errorTarget: args["error-target"],
    hostRouting: args["host-routing"],
    ssl: args["ssl-key"] && { key: fs.readFileSync(args["ssl-key"]), cert: fs.readFileSync(args["ssl-cert"]) },
    xfwd: true,
    prependPath: true,
    includePrefix: true,
  });
  for (const module of PROTECTIONS) module.protect(proxy);

  const { proxyTarget, apiTarget } = parseListenOptions(
    { ip: args.ip, port: args.port, apiIp: args["api-ip"], apiPort: args["api-port"] },
    log
  );
  listen(proxy.proxyServer, args.fd, proxyTarget);
  listen(proxy.apiServer, args["api-fd"], apiTarget);

  // Ending when asked to is a success: a pod that is replaced has not failed.
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
  if (args["end-with-stdin"]) process.stdin.on("end", () => process.exit(0)).resume();
  // An error in one request must not end the others.
  process.on("uncaughtException", (error) => log.error(`Uncaught: ${error.stack ?? error}`));
}

// Listen on inherited sockets if there are any, otherwise on an address.
function listen(server, fds, address) {
  if (!fds) return server.listen(...address);
  server.listen({ fd: Number(fds[0]) });
  for (const fd of fds.slice(1)) {
    net.createServer((connection) => server.emit("connection", connection)).listen({ fd: Number(fd) });
  }
}

try {
  main();
} catch (error) {
  console.error(`proxy: cannot start: ${error.message}`);
  process.exit(1);
}
