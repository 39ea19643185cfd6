/* A tab belongs to its directory: see tab.py, which puts this into the page before JupyterLab's own scripts.

   - Every request from the page to its server carries the mark of the directory that the page was made for.
   - When the server says that another directory is open, a cover goes over the page; unsaved work stays in it.
   - Text from the server is put into the page through textContent only. */
"use strict";
(() => {
  const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  const mine = config.learningLabTab;
  if (!mine) return;
  const HEADER = "X-Learning-Lab-Root";
  const plain = { fetch: window.fetch.bind(window), WebSocket: window.WebSocket, EventSource: window.EventSource };
  const hub = (config.hubHost ?? "") + (config.hubPrefix ?? "/hub/");
  const base = new URL(config.baseUrl, location.href);
  let cover = null;

  const isOurs = (address) => {
    const url = new URL(address, document.baseURI);
    return url.host === base.host && url.pathname.startsWith(base.pathname);
  };

  // --- Send the mark with every request ---------------------------------------------------------------------------

  const refused = (status, header) => status === 409 && Boolean(header);
  const isGone = (status) => status === 424 || status >= 500; // from the hub or the proxy, when no server is running

  const closed = () => Response.json({ message: `${mine.title} was closed here.` }, { status: 409 });

  window.fetch = async (input, init) => {
    if (!isOurs(input instanceof Request ? input.url : input)) return plain.fetch(input, init);
    if (cover?.open) return closed();
    const request = new Request(input, init);
    request.headers.set(HEADER, mine.mark);
    const answer = await plain.fetch(request).catch((error) => {
      askSoon();
      throw error;
    });
    if (cover?.open) return closed(); // it opened during this request; JupyterLab would ask questions about the answer
    if (answer.ok) dismissServerDialogs();
    if (isGone(answer.status)) askSoon();
    if (refused(answer.status, answer.headers.get(HEADER))) answer.clone().json().then(handleRefusal, ask);
    return answer;
  };

  const { open, send } = XMLHttpRequest.prototype;
  const ours = new WeakSet();
  XMLHttpRequest.prototype.open = function (method, address, ...rest) {
    ours[isOurs(address) ? "add" : "delete"](this);
    return open.call(this, method, address, ...(rest.length ? rest : [true]));
  };
  XMLHttpRequest.prototype.send = function (body) {
    if (ours.has(this)) {
      this.setRequestHeader(HEADER, mine.mark);
      this.addEventListener("load", () => refused(this.status, this.getResponseHeader(HEADER)) && ask(), { once: true });
    }
    return send.call(this, body);
  };

  const marked = (address) => {
    const url = new URL(address, document.baseURI);
    if (isOurs(url)) url.searchParams.set("learning-lab-root", mine.mark);
    return url.href;
  };
  window.WebSocket = class extends plain.WebSocket {
    constructor(address, protocols) {
      super(marked(address), protocols ?? []);
      // A browser does not say why a server refused a WebSocket.
      if (isOurs(address)) this.addEventListener("close", ({ code }) => code !== 1000 && askSoon());
    }
  };
  window.EventSource = class extends plain.EventSource {
    constructor(address, options) {
      super(marked(address), options);
    }
  };
  const beacon = navigator.sendBeacon.bind(navigator);
  navigator.sendBeacon = (address, data) => beacon(marked(address), data);

  // --- Check whether this tab's directory is still the one that is open -------------------------------------------

  const LONGEST_PAUSE = 15; // seconds
  let asking = false;
  let timer = 0;
  let pause = 0;

  /** Asks the server: covers the page when another directory is open, uncovers it when its own is again, else retries. */
  async function ask() {
    if (asking) return;
    asking = true;
    try {
      const xsrf = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie)?.[1] ?? "";
      const headers = { [HEADER]: mine.mark, "X-XSRFToken": xsrf };
      const options = { headers, signal: AbortSignal.timeout(10_000) };
      const answer = await plain.fetch(`${base.href}api/status`, options);
      if (isGone(answer.status)) throw new Error("no server yet");
      if (refused(answer.status, answer.headers.get(HEADER))) handleRefusal(await answer.json());
      else if (answer.ok) uncover();
    } catch {
      askSoon(); // JupyterLab itself tells the person that there is no server
    } finally {
      asking = false;
    }
  }

  /** Handles a server's refusal. */
  function handleRefusal(refusal) {
    // A stopped second server's address lies below the first server's, which then answers for it.
    if (new URL(refusal.base, base).pathname === base.pathname) close(refusal);
    else askSoon();
  }

  /** Asks again after a pause. After an outage JupyterLab waits for minutes; the person should know before typing more. */
  function askSoon() {
    if (timer || cover?.open) return;
    pause = Math.min(2 * pause || 1, LONGEST_PAUSE);
    timer = setTimeout(() => {
      timer = 0;
      if (document.visibilityState === "visible") ask();
    }, 1000 * pause);
  }

  /** Dismisses JupyterLab's question whether to start the server (it names the address), now that one answers. */
  function dismissServerDialogs() {
    pause = 0;
    for (const dialog of document.querySelectorAll(".jp-Dialog")) {
      if (dialog.textContent.includes(config.baseUrl)) dialog.querySelector(".jp-mod-reject")?.click();
    }
  }

  // JupyterLab polls nothing while a tab is hidden, and not at once when it is shown again.
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && ask());
  window.addEventListener("focus", () => cover?.open && ask());

  // --- The cover --------------------------------------------------------------------------------------------------

  const STYLE = `
    dialog { color-scheme: light dark; box-sizing: border-box; width: min(34rem, 100vw - 2rem); max-height: calc(100dvh - 2rem);
      margin: auto; padding: clamp(1.25rem, 5vw, 2rem); overflow: auto; border: 1px solid light-dark(#dcd4c4, #2d3e41);
      border-radius: 0.75rem; background: light-dark(#fffdf9, #172326); color: light-dark(#16292c, #e8ebe4);
      font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Open Sans", sans-serif;
      overflow-wrap: anywhere; box-shadow: 0 6px 32px rgb(0 0 0 / 18%); }
    dialog.light { color-scheme: light; }
    dialog.dark { color-scheme: dark; }
    dialog::backdrop { background: light-dark(rgb(246 242 234 / 88%), rgb(15 24 26 / 88%)); backdrop-filter: blur(3px); }
    h1 { margin: 0 0 0.75rem; font-size: 1.5rem; line-height: 1.2; letter-spacing: -0.02em; text-wrap: balance; }
    h1:focus { outline: none; }
    h2 { margin: 1.25rem 0 0.25rem; font-size: 1rem; }
    p { margin: 0 0 0.75rem; }
    ul { margin: 0; padding: 0; list-style: none; }
    li { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 0.5rem 1rem;
      padding: 0.625rem 0; border-top: 1px solid light-dark(#dcd4c4, #2d3e41); }
    .row { display: flex; flex-wrap: wrap; gap: 0.625rem; margin-top: 1.5rem; }
    button { min-height: 2.75rem; padding: 0.5625rem 1.25rem; border: 1px solid light-dark(#0c575b, #7fcfc6); border-radius: 0.5rem;
      background: light-dark(#0c575b, #7fcfc6); color: light-dark(#fff, #05211f); font: inherit; font-weight: 600; cursor: pointer; }
    button:hover { background: light-dark(#083f43, #a5e2da); }
    button.quiet { border-color: light-dark(#8a8f86, #6d8182); background: none; color: light-dark(#0c575b, #7fcfc6); }
    button.quiet:hover { background: light-dark(#e9f1ee, #1b3033); }
    button:focus-visible { outline: 3px solid light-dark(#0c575b, #7fcfc6); outline-offset: 2px; }
    @media (width < 30rem) { .row button, li button { flex: 1 1 100%; } }`;

  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  /** Documents with unsaved changes. */
  function unsaved() {
    const found = new Map();
    for (const area of ["main", "down"]) {
      try {
        for (const { context } of window.jupyterapp?.shell.widgets(area) ?? []) {
          if (context?.model?.dirty) found.set(context.path, context);
        }
      } catch {
        // this JupyterLab has no such area
      }
    }
    return [...found.values()];
  }

  function download(context) {
    const href = URL.createObjectURL(new Blob([context.model.toString()], { type: "application/octet-stream" }));
    element("a", { href, download: context.path.split(/[/:]/).pop() }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
  }

  function line(context) {
    const button = element("button", { type: "button", className: "quiet", textContent: "Download unsaved work" });
    button.setAttribute("aria-label", `Download unsaved work of ${context.path}`);
    button.addEventListener("click", () => download(context));
    return element("li", {}, element("span", { textContent: context.path }), button);
  }

  function leave() {
    window.close();
    // Browsers let a script close only a tab that a script opened. Any other tab goes to the home page.
    setTimeout(() => location.assign(`${hub}home`), 150);
  }

  function fillCover(dialog, refusal) {
    const heading = element("h1", { id: "heading", tabIndex: -1, textContent: `${mine.title} was closed here` });
    const kept = unsaved();
    const now = refusal.title ? `${refusal.title} is open instead. ` : "";
    const still = kept.length
      ? ` Your unsaved work is still here: open ${mine.title} in another tab and then continue in this one, or download it.`
      : "";
    const text = `${now}This tab can no longer save anything.${still}`;
    const open = element("button", { type: "button", textContent: `Open ${mine.title}` });
    const address = `${hub}open?dir=${encodeURIComponent(mine.name)}`;
    // Leaving this page would lose unsaved work.
    open.addEventListener("click", () => (kept.length ? window.open(address, "_blank", "noopener") : location.assign(address)));
    const shut = element("button", { type: "button", className: "quiet", textContent: "Close" });
    shut.addEventListener("click", leave);
    dialog.replaceChildren(
      heading,
      element("p", { id: "text", textContent: text }),
      ...(kept.length
        ? [element("h2", { textContent: "Not saved yet" }), element("ul", {}, ...kept.map(line))]
        : []),
      element("div", { className: "row" }, open, shut),
    );
    return heading;
  }

  function makeCover() {
    const host = document.body.appendChild(document.createElement("div"));
    host.dataset.learningLabCover = "";
    const dialog = element("dialog", { role: "alertdialog" });
    dialog.setAttribute("aria-labelledby", "heading");
    dialog.setAttribute("aria-describedby", "text");
    dialog.setAttribute("closedby", "none");
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    host.attachShadow({ mode: "open" }).append(element("style", { textContent: STYLE }), dialog);
    // Until then no key reaches JupyterLab. Tab, Enter and the space bar work on the cover's buttons.
    const swallow = (event) => {
      if (!dialog.open) return;
      event.stopImmediatePropagation();
      if (event.key === "Escape" || ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s")) event.preventDefault();
    };
    for (const kind of ["keydown", "keypress", "keyup"]) window.addEventListener(kind, swallow, true);
    return dialog;
  }

  function close(refusal) {
    dismissServerDialogs();
    cover ??= makeCover();
    if (cover.open) return;
    const light = document.body.dataset.jpThemeLight; // JupyterLab's theme; until it is known, the system's
    cover.className = light === "false" ? "dark" : light === "true" ? "light" : "";
    const heading = fillCover(cover, refusal);
    cover.showModal();
    heading.focus();
  }

  function uncover() {
    dismissServerDialogs();
    if (cover?.open) cover.close();
  }
})();
