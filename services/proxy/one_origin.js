// Keeps people's servers from harming each other and the hub, even when all of them share one address.
//
// Users fully control their own servers, which may answer anything to anybody. So this proxy enforces the rules:
// - with one address for everybody, only the owner's browser is led to a server. The hub gives each browser a mark that
//   says who is logged in (`learning_lab/serving/origins.py`); everybody else is led to the hub, which says why. Programs
//   are let through: they send a token in a header, which no link and no form can do;
// - a request goes to a server only when its path matches the server's segment by segment: the browser would take a
//   script at `/user%2Falice` for one of the root's;
// - anything in a server's answers that would reach beyond its own path is removed: cookies for another path, service
//   workers for a wider one, and headers that apply to a whole address.
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
  // The hub's pages are severed from whoever opened them, unless both sides send the same policy.
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
    // Treat the server as not running: the hub checks who is asking, and leads the owner back.
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

/** The user's server that a request is for: its owner, its path, and a path of the hub. Null when it is for no server. */
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

/** Whether a mark is this user's and not expired: `<seconds>.<proof>`, made by `learning_lab/serving/origins.py`. */
function isMarkOf(user, mark, key) {
  const [until, proof] = mark.split(".");
  if (!/^\d{1,12}$/.test(until) || Number(until) * 1000 < Date.now()) return false;
  const expected = createHmac("sha256", key).update(`${until}\n${user}`).digest();
  const given = Buffer.from(proof ?? "", "hex");
  return given.length === expected.length && timingSafeEqual(given, expected);
}

/** Whether a path, as the browser wrote it, is the server's path or lies below it, compared segment by segment. */
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

/** The cookie, confined to the server's own path or host; undefined when it is for another one. */
function confined(cookie, { path }, hostRouting) {
  let wanted = "";
  for (const attribute of cookie.split(";").slice(1)) {
    const [name, value = ""] = attribute.split("=", 2).map((each) => each.trim());
    if (name.toLowerCase() === "domain" && value) return undefined;
    if (name.toLowerCase() === "path") wanted = value; // the last one counts
  }
  if (hostRouting) return cookie;
  // Without a path, browsers use the request's folder, and for `/user/alice` that is the parent of the server's path.
  if (!wanted.startsWith("/")) return `${cookie}; Path=${encodeURI(path)}/`;
  return isBelow(wanted, path) ? cookie : undefined;
}
