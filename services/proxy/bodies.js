// What is sent to the hub is small: its forms and API need kilobytes. More is refused here, before the hub sees a byte
// of it. People's servers take what they like.
"use strict";

const LARGEST = 1024 * 1024; // as in learning_lab/serving/hub_server.py
const LINGER = 2000; // milliseconds in which who still sends may read the answer

exports.protect = (proxy) => {
  proxy.guards.push((request, response) => {
    if (!request.toHub) return false;
    // Node has said "continue" already, and without this header it tells of the request to the hub (`proxyReq`).
    delete request.headers.expect;
    if (!(Number(request.headers["content-length"]) > LARGEST)) return false;
    refuse(request, response);
    return true;
  });

  proxy.proxy.on("proxyReq", (toHub, request) => (request.upstream = toHub));

  // Without a length it is counted. This event comes just before the body begins to flow.
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
    response.end("That is more than the lab takes here (1 MiB). Upload files in JupyterLab.\n");
  }
  // A connection that is closed while the other side sends loses the answer on its way.
  request.resume();
  setTimeout(() => request.complete || request.socket.destroy(), LINGER).unref();
}
