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
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, el) => !((name === "open" && el.tagName === "DETAILS") ||
    ((name === "role" || name.startsWith("aria-")) && el.getAttribute("role") === "combobox" && name !== "aria-invalid"));
  // The same content need not be gone through again; and copy buttons that say "Copied" may finish.
  // And what a pointer or a keyboard is at must not move away under it.
  Idiomorph.defaults.callbacks.beforeNodeMorphed = (was, is) => {
    if (was.dataset?.hold !== undefined && inUse(was)) {
      held = true;
      return false;
    }
    return !(was.dataset?.key && was.dataset.key === is.dataset?.key && was.id === is.id);
  };

  // --- Fetching the page again. One at a time; news that come meanwhile make one more, after a rest that is longer
  // where the answer took longer.

  let fetching = false;
  let again = false;
  let failed = false;
  const soonest = 5000;
  let retryRefresh = soonest; // until the next try after a page could not be had, in milliseconds
  let told = ""; // the last that the event stream said: the server may give us an answer that is as new as that

  const refresh = () => {
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    const began = performance.now();
    const done = () => {
      fetching = false;
      if (failed) { // what is shown is not what is true: it is said, and tried again though nothing new may happen
        failed = again = false;
        saySoon();
        setTimeout(() => { if (!document.hidden) refresh(); }, retryRefresh);
        retryRefresh = Math.min(2 * retryRefresh, 60000);
        return;
      }
      retryRefresh = soonest;
      if (source?.readyState === EventSource.OPEN) sayLive();
      if (again) {
        again = false;
        setTimeout(refresh, Math.max(1000, 2 * (performance.now() - began)));
      }
    };
    htmx.ajax("GET", here(), { source: live(), target: "#live", select: "#live", swap: "morph:outerHTML",
      headers: { "Fleetview-Refresh": here(), "Fleetview-Told": told } }).then(done, done);
  };

  const isRefresh = (detail) => Boolean(detail.requestConfig?.headers?.["Fleetview-Refresh"]);
  for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.addEventListener(failure, (e) => { failed ||= isRefresh(e.detail); });
  }

  document.addEventListener("htmx:beforeSwap", (e) => {
    if (!isRefresh(e.detail)) {
      tellHeld(0);
      // A query that was not understood, for it is still being typed: the reason is shown, and what was found before
      // stays.
      if (e.detail.xhr.status === 400 && e.detail.serverResponse.includes('id="query-status"')) {
        Object.assign(e.detail, { shouldSwap: true, isError: false, target: document.getElementById("query-status"),
          selectOverride: "#query-status", swapOverride: "outerHTML" });
      }
      return;
    }
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

  // What is in an ordered list does not move away under a pointer or a focus: as long as one is on it, the list keeps
  // its order, new entries come last, and a word says how many would be elsewhere. Other lists wait.
  let held = false;
  const inUse = (el) => el.matches(":hover") || el.querySelector(":focus-visible") !== null;
  const keepOrder = (html) => {
    const lists = [...document.querySelectorAll("[data-order]")];
    const used = lists.map((el, i) => (inUse(el) ? i : -1)).filter((i) => i >= 0);
    held = used.length > 0;
    if (!held) {
      tellHeld(0);
      return html;
    }
    const page = new DOMParser().parseFromString(html, "text/html");
    let moved = 0;
    for (const i of used) {
      const is = counterpart(page, lists[i]);
      if (!is) continue;
      const order = new Map([...lists[i].children].map((el, n) => [el.id, n]));
      const rank = (el) => order.get(el.id) ?? order.size;
      const wanted = [...is.children];
      const kept = [...wanted].sort((a, b) => rank(a) - rank(b));
      moved += kept.filter((el, n) => el !== wanted[n] || !order.has(el.id)).length;
      is.append(...kept);
    }
    tellHeld(moved);
    return page.documentElement.outerHTML;
  };
  // The same list in another page: by its own id, or by that of an entry.
  const counterpart = (page, list) => {
    if (list.id) return page.getElementById(list.id);
    for (const el of list.children) {
      const other = el.id && page.getElementById(el.id);
      if (other) return other.parentElement;
    }
    return null;
  };
  const tellHeld = (n) => {
    const el = document.getElementById("held");
    if (!el) return;
    el.hidden = n === 0;
    document.getElementById("held-word").textContent = n === 1 ? "1 entry changed its place" : `${n} entries changed their places`;
  };
  document.getElementById("held-show")?.addEventListener("click", () => {
    document.activeElement?.blur();
    tellHeld(0);
    refresh();
  });
  const release = () => {
    if (held && ![...document.querySelectorAll("[data-order], [data-hold]")].some(inUse)) {
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
  let refused = soonest; // until the next try after the server said no, in milliseconds
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
    source.addEventListener("open", () => { refused = soonest; sayLive(); });
    source.addEventListener("changed", (e) => {
      told = e.lastEventId;
      refresh();
    });
    source.addEventListener("error", () => {
      saySoon();
      if (source?.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      source = null;
      retry = setTimeout(connect, refused);
      refused = Math.min(2 * refused, 60000); // whose credentials are gone would soon have failed too often
    });
  };

  // A page of figures that no event tells of is fetched again from time to time.
  const every = Number(live()?.dataset.every);
  if (every) setInterval(() => { if (!document.hidden) refresh(); }, every * 1000);

  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (e) => { if (e.persisted) connect(); });
  if (!document.hidden) connect();

  // --- Suggestions for the query: a list that the arrow keys go through. The server knows how a query goes on.

  let asked = 0; // the last question
  const bar = () => document.querySelector("input[data-complete]");
  const listbox = () => document.getElementById("suggestions");
  const options = () => [...(listbox()?.querySelectorAll("[role=option]") ?? [])];
  const chosen = () => listbox()?.querySelector("[aria-selected=true]");

  const closeSuggestions = () => {
    asked++;
    listbox()?.remove();
    bar()?.setAttribute("aria-expanded", "false");
    bar()?.removeAttribute("aria-activedescendant");
  };

  const choose = (option) => {
    chosen()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) bar().setAttribute("aria-activedescendant", option.id);
    else bar().removeAttribute("aria-activedescendant");
  };

  const suggest = async () => {
    const input = bar();
    const question = ++asked;
    const before = new TextEncoder().encode(input.value.slice(0, input.selectionStart)).length;
    let html = "";
    try {
      const answer = await fetch(`${input.dataset.complete}?${new URLSearchParams({ q: input.value, at: before })}`);
      if (answer.ok) html = await answer.text();
    } catch { /* it is a help, and may be missing */ }
    if (question !== asked || document.activeElement !== bar()) return;
    const list = new DOMParser().parseFromString(html, "text/html").getElementById("suggestions");
    if (!list || list.children.length === 0) {
      closeSuggestions();
      return;
    }
    const was = chosen()?.dataset.before; // a later answer must not take back what was chosen in an earlier one
    listbox()?.remove();
    document.body.append(list);
    place(list);
    bar().setAttribute("aria-expanded", "true");
    choose(was === undefined ? undefined : options().find((option) => option.dataset.before === was));
  };

  // Outside of what is morphed, so that news don't close it.
  const place = (list) => {
    const box = bar().getBoundingClientRect();
    list.style.top = `${box.bottom + scrollY + 4}px`;
    list.style.left = `${box.left + scrollX}px`;
    list.style.width = `${box.width}px`;
  };
  addEventListener("resize", () => { if (listbox()) place(listbox()); });

  const take = (option) => {
    const input = bar();
    const { before, after } = option.dataset;
    const done = !before.endsWith(":");
    input.value = before + (done && !after.startsWith(" ") ? " " : "") + after;
    const caret = before.length + (done ? 1 : 0);
    input.setSelectionRange(caret, caret);
    closeSuggestions();
    input.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const isBar = (el) => el instanceof HTMLInputElement && el.dataset.complete !== undefined;
  const armBar = () => {
    const input = bar();
    if (!input) return;
    if (document.getElementById("query-error")) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
    for (const [name, value] of Object.entries({ "role": "combobox", "aria-autocomplete": "list",
      "aria-expanded": String(Boolean(listbox())), "aria-controls": "suggestions" })) input.setAttribute(name, value);
    if (chosen()) input.setAttribute("aria-activedescendant", chosen().id);
  };
  armBar();
  document.addEventListener("htmx:afterSettle", armBar);

  document.addEventListener("input", (e) => { if (isBar(e.target)) suggest(); });
  document.addEventListener("focusout", (e) => {
    if (isBar(e.target)) setTimeout(() => { if (document.activeElement !== bar()) closeSuggestions(); }, 150);
  });
  document.addEventListener("mousedown", (e) => {
    const option = e.target.closest("#suggestions [role=option]");
    if (!option) return;
    e.preventDefault(); // the focus stays where it is
    take(option);
  });
  document.addEventListener("keydown", (e) => {
    if (e.key === "/" && !e.ctrlKey && !e.metaKey && !e.altKey && !e.target.closest("input, textarea, select")) {
      if (!bar()) return;
      e.preventDefault();
      bar().focus();
      bar().select();
      return;
    }
    if (!isBar(e.target)) return;
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      e.preventDefault();
      if (!listbox()) {
        suggest();
        return;
      }
      const all = options();
      const at = all.indexOf(chosen());
      const next = e.key === "ArrowDown" ? at + 1 : at < 0 ? all.length - 1 : at - 1;
      choose(all[next]);
    } else if ((e.key === "Enter" || e.key === "Tab") && chosen()) {
      e.preventDefault();
      take(chosen());
    } else if (e.key === "Escape" && listbox()) {
      e.preventDefault();
      closeSuggestions();
    } else if (e.key === "Enter") {
      closeSuggestions();
    }
  });

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
