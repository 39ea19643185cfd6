/* What the lab's pages do a little better with JavaScript. None of them needs it.

   - No inline handlers: markup says what it wants by data attributes, this file finds them.
   - Text from a server goes into the page by textContent only.
   - It is loaded in the head, not deferred: the theme is set before the first paint. */
"use strict";

// --- Before the first paint -------------------------------------------------------------------------------------

// JupyterHub's page.html calls require.config outside its blocks; our pages have no RequireJS.
window.require = window.require || Object.assign(() => {}, { config() {} });

const root = document.documentElement;
const THEME = "jupyterhub-bs-theme"; // JupyterHub's own key: its pages and ours agree
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

function storedTheme() {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null; // storage is forbidden: the system's theme it is
  }
}

function applyTheme() {
  const stored = storedTheme();
  root.dataset.bsTheme = stored === "dark" || stored === "light" ? stored : prefersDark.matches ? "dark" : "light";
}

applyTheme();
prefersDark.addEventListener("change", applyTheme);

// --- When the page is there -------------------------------------------------------------------------------------

const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const one = (selector, within = document) => within.querySelector(selector);

function themeToggle(button) {
  button.addEventListener("click", () => {
    const theme = root.dataset.bsTheme === "dark" ? "light" : "dark";
    root.dataset.bsTheme = theme;
    try {
      localStorage.setItem(THEME, theme);
    } catch {
      // kept for this page only
    }
  });
}

/** A form is sent once; coming back to the page by the browser's Back makes it usable again. */
function onlyOnce(form) {
  form.addEventListener("submit", (event) => {
    if ("sent" in form.dataset) event.preventDefault();
    form.dataset.sent = "";
  });
  window.addEventListener("pageshow", () => delete form.dataset.sent);
}

function showsPassword(button) {
  const input = document.getElementById(button.getAttribute("aria-controls"));
  button.addEventListener("click", () => {
    const show = input.type === "password";
    input.type = show ? "text" : "password";
    button.setAttribute("aria-pressed", String(show));
  });
}

/** Say beside the button what it will open: what is typed, else the checked card; where there is neither, it opens none. */
function saysWhatOpens(line) {
  const form = line.closest("form");
  const typed = one("#typed", form);
  const opening = all("button[type=submit]:not([name=open])", form); // a card's own button says what it opens
  const name = document.createElement("b");
  name.dir = "auto";
  line.append(`${line.dataset.says} `, name);
  const say = () => {
    const checked = one("input[name=directory]:checked", form);
    name.textContent = typed.value.trim() || (checked ? one(`label[for=${checked.id}]`, form).textContent : "");
    line.hidden = !name.textContent;
    for (const button of opening) button.disabled = !name.textContent;
  };
  form.addEventListener("input", (event) => {
    if (event.target.name === "directory") typed.value = ""; // the card was chosen last
    say();
  });
  form.addEventListener("choice", say);
  window.addEventListener("pageshow", say);
  say();
}

/** Narrow the cards to those that have every word; Enter opens the first of them. What is checked can be seen. */
function filters(input) {
  const form = input.closest("form");
  const count = one("#filter-count", form);
  const none = one("#filter-none", form);
  const cards = all(".menu .card", form).map((element) => ({
    element,
    radio: one("input", element),
    text: `${element.textContent} ${element.dataset.name ?? ""}`.toLocaleLowerCase(),
    kept: element.classList.contains("primary"),
  }));
  const others = cards.filter((card) => !card.kept);
  let before = cards.find((card) => card.radio.checked); // the person's own choice, or the page's

  const narrow = () => {
    const words = input.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const matches = (card) => words.every((word) => card.text.includes(word));
    for (const card of others) card.element.hidden = !matches(card);
    const open = cards.filter((card) => matches(card) && !card.radio.disabled);
    const next = open.includes(before) ? before : open[0];
    for (const card of cards) card.radio.checked = card === next;
    const shown = others.filter((card) => !card.element.hidden).length;
    count.textContent = words.length === 0 ? "" : `${shown} of ${others.length} directories`;
    none.hidden = shown > 0 || open.length > 0;
    form.dispatchEvent(new Event("choice"));
  };
  const showAll = () => {
    input.value = "";
    narrow();
  };

  input.addEventListener("input", narrow);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && input.value) {
      event.preventDefault();
      showAll();
    }
  });
  one("button", none).addEventListener("click", () => {
    showAll();
    input.focus();
  });
  form.addEventListener("change", (event) => {
    if (event.target.name === "directory") before = cards.find((card) => card.radio === event.target);
  });
  document.addEventListener("keydown", (event) => {
    const writing = event.target.closest("input:not([type=radio]), textarea, select, [contenteditable]");
    if (event.key === "/" && !writing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      input.focus();
    }
  });
  // A browser puts back what was in the field when a person comes back to the page or loads it again.
  window.addEventListener("pageshow", () => input.value && narrow());
}

/** One directory only: open it after a moment, unless the person came back here or says no. */
function straightIn(note) {
  const [navigation] = performance.getEntriesByType("navigation");
  if (navigation && navigation.type === "back_forward") {
    note.hidden = true;
    return;
  }
  const timer = setTimeout(() => one(".primary button", note.closest("form")).click(), 900);
  note.addEventListener("click", () => clearTimeout(timer));
  window.addEventListener("pagehide", () => clearTimeout(timer));
}

/** Tell the steps of a start as they come; the page is loaded again when it is over, well or not. */
function tellsProgress(section) {
  const bar = one("progress", section);
  const steps = all(".steps li", section);
  const message = one("#progress-message", section);
  const log = one("#progress-log", section);
  const cancel = one("[data-cancels]");
  const source = new EventSource(section.dataset.progress);
  let last = "";
  let reload = 0;

  const again = (after) => {
    source.close();
    cancel?.toggleAttribute("disabled", after === 0); // too late: the page is on its way to JupyterLab
    reload = setTimeout(() => window.location.reload(), after);
  };
  // A server that is ready while it is being stopped must not lead there: the proxy and the hub would send the browser
  // to and fro. Whoever cancels goes home, whatever comes first.
  cancel?.addEventListener("click", () => {
    source.close();
    clearTimeout(reload);
  });
  source.onmessage = (event) => {
    const told = JSON.parse(event.data);
    const progress = Number(told.progress ?? bar.value);
    bar.value = Math.max(bar.value, progress);
    if (!told.failed) {
      const now = steps.findLast((step) => progress >= Number(step.dataset.from));
      for (const step of steps) {
        step.classList.toggle("done", steps.indexOf(step) < steps.indexOf(now) || Boolean(told.ready));
        step.toggleAttribute("aria-current", false);
      }
      if (now && !told.ready) now.setAttribute("aria-current", "step");
    }
    if (told.message && told.message !== last && !told.ready) {
      last = told.message;
      message.textContent = last;
      log.append(Object.assign(document.createElement("li"), { textContent: last }));
    }
    if (told.ready) again(0);
    if (told.failed) again(300);
  };
  source.onerror = () => again(2000); // the hub was restarted or the log-in ended: the page itself knows
}

/**
 * What JupyterLab begins with goes into the browser's cache while the person reads or logs in. Two files at a time, the
 * browser's lowest priority, and none any more when something is sent: what the person does goes first.
 */
async function fetchesAhead(element) {
  if (navigator.connection?.saveData) return;
  const answer = await fetch(element.dataset.fetchesAhead, { priority: "low" }).catch(() => null);
  if (!answer?.ok) return;
  const { files } = await answer.json();
  const next = () => {
    const href = files.shift();
    if (!href) return;
    const link = Object.assign(document.createElement("link"), { rel: "prefetch", as: "script", href });
    link.onload = link.onerror = next;
    document.head.append(link);
  };
  document.addEventListener("submit", () => files.splice(0));
  next();
  next();
}

function cancels(button) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = "Cancelling";
    const headers = { "X-XSRFToken": button.dataset.token };
    // Home tells what is there, so it is the place to go too when the hub could not be asked.
    await fetch(button.dataset.cancels, { method: "DELETE", headers, keepalive: true }).catch(() => null);
    window.location.assign(button.dataset.then);
  });
}

function localTime(time) {
  const when = new Date(time.dateTime);
  if (Number.isNaN(when.getTime())) return;
  const today = when.toDateString() === new Date().toDateString();
  time.textContent = today
    ? when.toLocaleTimeString([], { timeStyle: "short" })
    : when.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

/** JupyterHub counts redirects in the address; a page that is reloaded starts from 0. */
function forgetRedirects() {
  const address = new URL(window.location.href);
  if (!address.searchParams.has("redirects")) return;
  address.searchParams.delete("redirects");
  window.history.replaceState({}, "", address);
}

document.addEventListener("DOMContentLoaded", () => {
  all("#dark-theme-toggle").forEach(themeToggle);
  all("form[data-once]").forEach(onlyOnce);
  all("[data-shows-password]").forEach(showsPassword);
  all("#filter").forEach(filters);
  all("[data-says]").forEach(saysWhatOpens);
  all("[data-straight-in]").forEach(straightIn);
  all("[data-progress]").forEach(tellsProgress);
  all("[data-cancels]").forEach(cancels);
  all("time[datetime]").forEach(localTime);
  all("[data-keeps-hash]").forEach((link) => (link.href += window.location.hash));
  all("[data-looks-again]").forEach((link) =>
    setTimeout(() => window.location.reload(), 1000 * Number(link.dataset.looksAgain)),
  );
  all("[data-go]").forEach((note) =>
    setTimeout(() => window.location.assign(note.dataset.go), 1000 * Number(note.dataset.after)),
  );
  const warning = one("#insecure-login-warning");
  if (warning) warning.hidden = window.isSecureContext;
  one("[data-focus]")?.focus();
  forgetRedirects();
});
window.addEventListener("load", () => all("[data-fetches-ahead]").forEach(fetchesAhead));
