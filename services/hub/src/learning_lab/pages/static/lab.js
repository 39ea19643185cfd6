/* JavaScript makes the lab's pages a little nicer. None of them needs it.

   - No inline handlers: markup asks for behaviour with data attributes, which this file looks for.
   - Text from a server is put into the page through textContent only.
   - It is loaded in the head, not deferred, so that the theme is set before the first paint. */
"use strict";

// --- Before the first paint -------------------------------------------------------------------------------------

// JupyterHub's page.html calls require.config outside its blocks; our pages have no RequireJS.
window.require = window.require || Object.assign(() => {}, { config() {} });

const root = document.documentElement;
const THEME = "jupyterhub-bs-theme"; // JupyterHub's own key, so that its pages and ours agree
const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");

function storedTheme() {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null; // storage is blocked: use the system's theme
  }
}

function applyTheme() {
  const stored = storedTheme();
  root.dataset.bsTheme = stored === "dark" || stored === "light" ? stored : prefersDark.matches ? "dark" : "light";
}

applyTheme();
prefersDark.addEventListener("change", applyTheme);

// --- Once the page has loaded -----------------------------------------------------------------------------------

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

/** A form is sent only once. Returning to the page with the browser's Back button makes it usable again. */
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

/** Say next to the button what it will open: the typed text, else the checked card. With neither, disable the button. */
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

/** Show only the cards that contain every word; Enter opens the first of them. The checked card is never hidden. */
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
  // Browsers restore the field's text when a person returns to the page or reloads it.
  window.addEventListener("pageshow", () => input.value && narrow());
}

/** There is only one directory: open it after a moment, unless the person came back here or declines. */
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

/** Show the steps of a start as they happen, and reload the page when it is over, whether it succeeded or not. */
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
  // Don't go to a server that becomes ready while it is being stopped: the proxy and the hub would send the browser back
  // and forth. Cancelling always leads home, whichever happens first.
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
  source.onerror = () => again(2000); // the hub restarted or the session expired; the reloaded page will say which
}

/**
 * Fetch the files that JupyterLab loads first into the browser's cache, while the person reads or logs in. It fetches
 * two files at a time, at the lowest priority, and stops when a form is sent: what the person does goes first.
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
    // Home shows what is running, so go there even when the hub could not be reached.
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

/** JupyterHub counts redirects in the address; make a reload of this page start again from 0. */
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
