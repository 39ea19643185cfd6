// Requests to the hub are small: its forms and its API need kilobytes. A larger body is refused here, before the hub
// sees a byte of it. People's servers accept what they like.
"use strict";

const LARGEST = 1024 * 1024; // the same as in learning_lab/serving/hub_server.py
const LINGER = 2000; // milliseconds that a client that is still sending has to read the answer

exports.protect = (proxy) => {
  proxy.guards.push((request, response) => {
    if (!request.toHub) return false;
    // Node has already answered "continue". With this header the `proxyReq` event, used below, would not come.
    delete request.headers.expect;
    if (!(Number(request.headers["content-length"]) > LARGEST)) return false;
    refuse(request, response);
    return true;
  });

  proxy.proxy.on("proxyReq", (toHub, request) => (request.upstream = toHub));

  // A body without a stated length is counted. This event comes just before the body begins to flow.
  proxy.on("proxyRequest", (request, response) => {
    if (!request.toHub || request.headers["content-length"] !== undefined) return;
    let size = 0;
    request.on("data", function count(chunk) {
      size += chunk.length;
      if (size <= LARGEST) return;
      request.off("data", count);
      request.unpipe();
      request.upstream?.removeAllListeners("error").on("error", () => {}).destroy();
      refuse(request, response);
    });
  });
};

function refuse(request, response) {
  if (!response.headersSent) {
    response.writeHead(413, { "Content-Type": "text/plain; charset=utf-8" });
    response.end("That is more than the lab accepts here (1 MiB). Upload files in JupyterLab instead.\n");
  }
  // If the connection were closed while the client is still sending, the client would never see the answer.
  request.resume();
  setTimeout(() => request.complete || request.socket.destroy(), LINGER).unref();
}
