// Marks the requests that go to the hub, and proves to the hub that they come through this proxy.
//
// Only this proxy may tell the hub a browser's address and protocol (X-Forwarded-...), but people's processes can reach
// the hub too. So each request to the hub carries a proof made from the secret that the two share, and no other request
// ever carries one. `learning_lab/serving/hub_server.py` checks the proof and removes it.
"use strict";

const { createHmac } = require("node:crypto");

const HEADER = "x-learning-lab-proxy";
const PURPOSE = "learning-lab: this request comes through the proxy";

exports.protect = (proxy) => {
  const proof = createHmac("sha256", proxy.authToken).update(PURPOSE).digest("hex");
  const hubs = new Set(
    [proxy.options.defaultTarget, proxy.options.errorTarget].filter(Boolean).map((url) => new URL(url).host)
  );

  // The hub marks its own route, and only the hub may use the API.
  const addRoute = proxy.addRoute;
  proxy.addRoute = function (path, data) {
    if (data.hub) hubs.add(new URL(data.target).host);
    return addRoute.call(this, path, data);
  };

  // Every request is looked up here, including WebSockets.
  const targetForReq = proxy.targetForReq;
  proxy.targetForReq = async function (request) {
    delete request.headers[HEADER];
    const match = await targetForReq.call(this, request);
    request.toHub = match !== undefined && hubs.has(new URL(match.target).host);
    if (request.toHub) request.headers[HEADER] = proof;
    return match;
  };
};
