// Copyright The Fleetview Authors
// SPDX-License-Identifier: Apache-2.0

// A page works without this file. With it, the page follows the fleet: an event stream tells that something changed,
// the page fetches itself and morphs into what it got.
(() => {
  "use strict";

  const live = () => document.getElementById("live");
  const here = () => location.pathname + location.search;

  // --- Relative times. They count like times.go.

  const amount = (s) => {
    if (s < 60) return `${s} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 2 * 86400) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} days`;
  };

  const words = (s, style) => {
    if (s < 5) return style === "for" ? "for a moment" : "just now";
    return style === "for" ? `for ${amount(s)}` : `${amount(s)} ago`;
  };

  // The server's clock and this one may differ: count from the time at which the page was made.
  const tellTimes = (root = document) => {
    const now = Date.now();
    for (const el of root.querySelectorAll("time[data-rel]")) {
      const text = words(Math.max(0, Math.floor((now - Date.parse(el.dateTime)) / 1000)), el.dataset.rel);
      if (el.textContent !== text) el.textContent = text;
    }
  };

  setInterval(tellTimes, 1000);
  tellTimes();

  // --- Morphing. What a person did to the page stays: the text being typed, what was folded open or shut.

  Idiomorph.defaults.ignoreActiveValue = true;
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, el) => !(name === "open" && el.tagName === "DETAILS");
  // The same content need not be gone through again; and copy buttons that say "Copied" may finish.
  // And what a pointer or a keyboard is at must not move away under it.
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (was, is) => {
    if (was.dataset?.hold !== undefined && inUse(was)) {
      held = true;
      return false;
    }
    return !(was.dataset?.key && was.dataset.key === is.dataset?.key && was.id === is.id);
  };

  // --- Fetching the page again. One at a time; news that come meanwhile make one more.

  let fetching = false;
  let again = false;

  const refresh = () => {
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    const done = () => {
      fetching = false;
      if (again) {
        again = false;
        setTimeout(refresh, 1000);
      }
    };
    htmx.ajax("GET", here(), { source: live(), target: "#live", select: "#live", swap: "morph:outerHTML",
      headers: { "Fleetview-Refresh": here() } }).then(done, done);
  };

  const isRefresh = (detail) => Boolean(detail.requestConfig?.headers?.["Fleetview-Refresh"]);

  document.addEventListener("htmx:beforeSwap", (e) => {
    if (!isRefresh(e.detail)) return;
    // The person went on to another list meanwhile: this answer is to a question of the past.
    if (e.detail.requestConfig.headers["Fleetview-Refresh"] !== here()) {
      e.detail.shouldSwap = false;
      return;
    }
    if (e.detail.xhr.status === 200) e.detail.serverResponse = keepOrder(e.detail.serverResponse);
  });

  document.addEventListener("htmx:afterSettle", () => tellTimes());
  // Whatever was shown is not there any more.
  document.addEventListener("htmx:responseError", (e) => { if (e.detail.xhr.status === 404) location.reload(); });

  // Rows don't move away under a pointer or a focus: as long as one is on them they keep their order, and new ones
  // come last. Other lists wait.
  let held = false;
  const inUse = (el) => el.matches(":hover") ||
    (el.tagName === "TBODY" ? el.contains(document.activeElement) : el.querySelector(":focus-visible") !== null);
  const keepOrder = (html) => {
    const rows = document.querySelector("tbody#rows");
    held = Boolean(rows && inUse(rows));
    if (!held) return html;
    const page = new DOMParser().parseFromString(html, "text/html");
    const body = page.querySelector("tbody#rows");
    if (!body) return html;
    const order = new Map([...rows.children].map((row, i) => [row.id, i]));
    const rank = (row) => order.get(row.id) ?? order.size;
    body.append(...[...body.children].sort((a, b) => rank(a) - rank(b)));
    return page.documentElement.outerHTML;
  };
  const release = () => {
    if (held && ![...document.querySelectorAll("tbody#rows, [data-hold]")].some(inUse)) {
      held = false;
      refresh();
    }
  };
  document.addEventListener("mouseout", () => setTimeout(release, 300));
  document.addEventListener("focusout", () => setTimeout(release, 300));

  // Filters that say nothing need not be in the address.
  document.addEventListener("htmx:configRequest", (e) => {
    if (e.target.id !== "filter") return;
    for (const name of [...e.detail.formData.keys()]) {
      if (e.detail.formData.get(name) === "") e.detail.formData.delete(name);
    }
  });

  // --- The event stream. A page that nobody looks at doesn't hold one: browsers allow few to a server.

  let source = null;
  let retry = 0;
  let pausedTimer = 0;

  const say = (state) => {
    const el = document.getElementById("live-state");
    if (!el) return;
    el.hidden = false;
    el.dataset.state = state;
    el.querySelector(".live-word").textContent = state === "paused" ? "Paused" : "Live";
    document.getElementById("paused").hidden = state !== "paused";
  };

  // A blink of the connection is not worth a word.
  const saySoon = () => { pausedTimer ||= setTimeout(() => say("paused"), 1500); };
  const sayLive = () => { clearTimeout(pausedTimer); pausedTimer = 0; say("live"); };

  const disconnect = () => {
    clearTimeout(retry);
    clearTimeout(pausedTimer);
    pausedTimer = 0;
    source?.close();
    source = null;
  };

  const connect = () => {
    const address = live()?.dataset.events;
    if (!address || source) return;
    source = new EventSource(address);
    source.addEventListener("open", sayLive);
    source.addEventListener("changed", refresh);
    source.addEventListener("error", () => {
      saySoon();
      if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      source = null;
      retry = setTimeout(connect, 5000);
    });
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (e) => { if (e.persisted) connect(); });
  if (!document.hidden) connect();

  // --- Copying. Without a secure context there is no clipboard; an old way still works there.

  const copyText = async (text) => {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "sr";
    document.body.append(area);
    area.select();
    const ok = document.execCommand("copy");
    area.remove();
    if (!ok) throw new Error("copying was refused");
  };

  const wanted = async (button) => {
    if (!button.dataset.copyUrl) return document.querySelector(button.dataset.copy).textContent;
    const answer = await fetch(button.dataset.copyUrl);
    if (!answer.ok) throw new Error("it is not there any more");
    return answer.text();
  };

  document.addEventListener("click", async (e) => {
    const button = e.target.closest("button[data-copy], button[data-copy-url]");
    if (!button || button.dataset.busy) return;
    button.dataset.busy = "1";
    const label = button.textContent;
    try {
      await copyText(await wanted(button));
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not copied";
    }
    setTimeout(() => {
      button.textContent = label;
      delete button.dataset.busy;
    }, 1500);
  });
})();
