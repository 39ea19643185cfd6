// What people's servers may not do to each other and to the hub, although all have one address.
//
// A person controls their server wholly: it may answer anything to anybody. So it is this proxy that keeps the rules:
// - with one address for all, only its owner's browser is led to a server. The hub gives each browser a mark of whose it
//   is (`learning_lab/serving/origins.py`); everybody else is led to the hub, which says why. Programs send a token in a header,
//   which no link and no form can do, and are let through;
// - a request is a server's when its path says so letter by letter: `/user%2Falice` would be a script of the root's;
// - of a server's answers, what would reach beyond its own path is taken away: cookies for another path, service workers
//   for a wider one, and headers that are about a whole address.
//
// With an address for each person (`--host-routing`) browsers keep people apart, and only the last rule is needed.
"use strict";

const { createHmac, timingSafeEqual } = require("node:crypto");

const COOKIE = "learning-lab-own";
const PURPOSE = "learning-lab: whose browser this is";

const ABOUT_THE_ADDRESS = [
  "alt-svc",
  "clear-site-data",
  "nel",
  "report-to",
  "reporting-endpoints",
  "service-worker-allowed",
  "strict-transport-security",
  "use-as-dictionary",
  // The hub's pages sever themselves from who opened them, unless both ask for the same.
  "cross-origin-opener-policy",
  "cross-origin-opener-policy-report-only",
];

exports.protect = (proxy) => {
  const key = createHmac("sha256", proxy.authToken).update(PURPOSE).digest();
  const targetForReq = proxy.targetForReq;

  proxy.targetForReq = async function (request) {
    if (request.server === undefined) request.server = await serverOf(this, request);
    const { server } = request;
    if (request.hub) return { prefix: request.hub.prefix, target: request.hub.data.target };
    if (server === null) return targetForReq.call(this, request);
    server.admitted ??= admits(server, request, key, this.hostRouting);
    if (server.admitted) return targetForReq.call(this, request);
    // As if it did not run: the hub asks who it is, and leads the owner back.
    request.server = null;
    request.hub = await this._routes.getTarget(server.hub);
    return request.hub && { prefix: request.hub.prefix, target: request.hub.data.target };
  };

  proxy.proxy.on("proxyRes", (answer, request) => confine(answer, request, proxy.hostRouting));
  proxy.proxy.on("proxyReqWs", (upstream, request) => {
    const confined = (answer) => confine(answer, request, proxy.hostRouting);
    upstream.prependListener("upgrade", confined);
    upstream.prependListener("response", confined);
  });
};

/** The person's server that a request is for: whose, its path, and a path of the hub's. Null when it is for another. */
async function serverOf(proxy, request) {
  const host = proxy.hostRouting ? `/${(request.headers.host ?? "").split(":")[0]}` : "";
  const { pathname } = new URL(request.url, "http://any.invalid");
  const route = await proxy._routes.getTarget(host + decodeURIComponent(pathname));
  if (route?.data.user === undefined) return null;
  const path = route.prefix.slice(host.length);
  return { user: route.data.user, path, hub: `${host}${path.slice(0, path.indexOf("/user/"))}/hub`, pathname };
}

function admits(server, request, key, hostRouting) {
  if (!isBelow(server.pathname, server.path)) return false;
  if (hostRouting || /^(token|bearer) /i.test(request.headers.authorization ?? "")) return true;
  const cookies = (request.headers.cookie ?? "").split(";").map((each) => each.trim());
  const own = cookies.filter((each) => each.startsWith(`${COOKIE}=`));
  if (own.length === 0) return false;
  request.headers.cookie = cookies.filter((each) => !own.includes(each)).join("; ");
  return own.some((each) => isMarkOf(server.user, each.slice(COOKIE.length + 1), key));
}

/** Whether it is `<seconds>.<proof>`, as `learning_lab/serving/origins.py` makes it for this user, and not too old. */
function isMarkOf(user, mark, key) {
  const [until, proof] = mark.split(".");
  if (!/^\d{1,12}$/.test(until) || Number(until) * 1000 < Date.now()) return false;
  const expected = createHmac("sha256", key).update(`${until}\n${user}`).digest();
  const given = Buffer.from(proof ?? "", "hex");
  return given.length === expected.length && timingSafeEqual(given, expected);
}

/** Whether a path as a browser wrote it is a server's or below it, segment by segment. */
function isBelow(written, path) {
  const given = written.split("/");
  return path.split("/").every((part, index) => decoded(given[index]) === part);
}

function decoded(part) {
  try {
    return decodeURIComponent(part ?? "");
  } catch {
    return part;
  }
}

function confine(answer, request, hostRouting) {
  if (!request.server) return;
  for (const name of ABOUT_THE_ADDRESS) delete answer.headers[name];
  const cookies = (answer.headers["set-cookie"] ?? []).map((each) => confined(each, request.server, hostRouting));
  if (cookies.length > 0) answer.headers["set-cookie"] = cookies.filter(Boolean);
}

/** The cookie, for the server's own path or host only; undefined when it is for another. */
function confined(cookie, { path }, hostRouting) {
  let wanted = "";
  for (const attribute of cookie.split(";").slice(1)) {
    const [name, value = ""] = attribute.split("=", 2).map((each) => each.trim());
    if (name.toLowerCase() === "domain" && value) return undefined;
    if (name.toLowerCase() === "path") wanted = value; // the last one counts
  }
  if (hostRouting) return cookie;
  // Without a path browsers take the folder of the request, which is the parent of the server's own for `/user/alice`.
  if (!wanted.startsWith("/")) return `${cookie}; Path=${encodeURI(path)}/`;
  return isBelow(wanted, path) ? cookie : undefined;
}
