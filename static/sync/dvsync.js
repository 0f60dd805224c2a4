"use strict";
// What the pages gain from a script; without it all of them work.

// A region of a page that asks the server for itself ([data-live]): htmx does the asking,
// every data-every seconds. Here is what a person chose instead, that nobody asks for a
// page that is not looked at, and what is said when the server does not answer.
(() => {
  const KEY = "dvsync-live-every";
  const SLOWEST = 60, PATIENCE = 10, SOON = 5;
  const BAD = new Set(["failing", "action required"]);
  const byId = (id) => document.getElementById(id);
  const region = () => document.querySelector("[data-live]");
  const now = () => Date.now() / 1000;

  let updatedAt = now(), seenAt = now(), retryAt = 0, failures = 0, refused = false;
  let states = new Map(), halves = new Set();

  // What was chosen; a browser may not let a page remember anything.
  let choice = "";
  try { choice = localStorage.getItem(KEY) || ""; } catch { /* not remembered */ }

  const seconds = (live) => {
    if (choice === "off" || refused) return 0;
    return Number(choice) || Number(live.dataset.every);
  };

  const setTrigger = (live) => {
    const every = seconds(live);
    live.setAttribute("hx-trigger", (every ? `every ${every}s, ` : "") + "dvsync:now");
  };

  const ask = () => {
    const live = region();
    if (live && seconds(live)) htmx.trigger(live, "dvsync:now");
  };

  // Told once to who cannot see it; what went wrong, at once.
  const tell = (text, place = "live-news") => {
    const news = byId(place);
    if (news && text) news.textContent = text;
  };

  const span = (time) => time < 120 ? `${Math.floor(time)} s` : `${Math.floor(time / 60)} min`;

  // Says how old the page is, when that is not as it should be.
  const show = () => {
    const live = region(), note = byId("live-note");
    if (!live || !note) return;
    const age = now() - updatedAt;
    const unheard = now() - Math.max(updatedAt, seenAt) > seconds(live) + PATIENCE;
    const stale = seconds(live) > 0 && age >= SOON && (failures > 0 || unheard);
    let text = "";
    if (refused) text = "Not updated any more: reload the page.";
    else if (stale) text = `Not updated for ${span(age)}, retrying.`;
    else if (choice === "off") text = `Updates are off; this is ${span(age)} old.`;
    if (note.textContent !== text) note.textContent = text;
    live.classList.toggle("stale", stale || refused);
    const was = note.classList.contains("bad");
    note.classList.toggle("bad", stale || refused);
    if ((stale || refused) !== was) tell(stale || refused ? text : "Updated again.");
  };

  // What stands for a sync or a table: a row of a list, or a part with its name.
  const readStates = (live) => new Map(Array.from(
    live.querySelectorAll("tbody tr, [data-name]"),
    (part) => [part.id || part.querySelector("th a").href, {
      name: part.dataset.name || part.querySelector("th a").textContent.trim(),
      state: part.querySelector(".state").textContent.trim(),
    }],
  ));

  // In a list each button says whose it is; to the eye its row does.
  const nameButtons = (live) => {
    for (const row of live.querySelectorAll("tbody tr")) {
      const name = row.querySelector("th a").textContent.trim();
      for (const button of row.querySelectorAll("td button, td a.button")) {
        button.setAttribute("aria-label", `${button.textContent.trim()} ${name}`);
      }
      for (const time of row.querySelectorAll("time")) time.title ||= time.dateTime;
    }
  };

  // The focus stays on the same link or button when the region is replaced.
  const isFor = (element) =>
    ["formaction", "href"].map((name) => element.getAttribute(name)).join();
  let focused = null;

  const keepFocus = (live) => {
    const element = document.activeElement;
    focused = element !== live && live.contains(element) ? isFor(element) : null;
  };

  const restoreFocus = (live) => {
    if (focused === null || live.contains(document.activeElement)) return;
    const same = [...live.querySelectorAll("a, button")].find((e) => isFor(e) === focused);
    if (same) same.focus({ preventScroll: true });
  };

  const join = (texts) => {
    const more = texts.length > 3 ? `; and ${texts.length - 3} more` : "";
    return texts.slice(0, 3).join("; ") + more;
  };

  // Which loads are read to the half, by their names.
  const readHalves = (live) => new Set(
    [...live.querySelectorAll("progress[value]")]
      .filter((bar) => bar.value * 2 >= bar.max)
      .map((bar) => bar.closest("li").querySelector("a").textContent.trim()),
  );

  // Tells what became of syncs, tables and loads, never every number.
  const tellChanges = (live) => {
    const before = states, read = halves;
    states = readStates(live);
    halves = readHalves(live);
    const changed = [...states].filter(([id, part]) => {
      const old = before.get(id);
      return old && old.state !== part.state;
    }).map(([, part]) => part);
    const told = (bad) => changed.filter((part) => BAD.has(part.state) === bad)
      .map((part) => `${part.name}: ${part.state}`);
    const half = [...halves].filter((name) => !read.has(name));
    tell(join([...told(false), ...half.map((name) => `${name}: 50 % read`)]));
    tell(join(told(true)), "live-alarm");
  };

  const setTitle = (live) => {
    const failing = Number(live.dataset.failing);
    const title = document.title.replace(/^\(\d+ failing\) /, "");
    document.title = failing ? `(${failing} failing) ${title}` : title;
  };

  const isLive = (element) => element instanceof Element && element.matches("[data-live]");

  document.addEventListener("htmx:beforeProcessNode", (event) => {
    if (isLive(event.target)) setTrigger(event.target);
  });

  document.addEventListener("htmx:beforeRequest", (event) => {
    if (!isLive(event.target)) return;
    if (document.hidden || now() < retryAt) event.preventDefault();
  });

  // After a success the region is another one: that is taken note of below.
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!isLive(event.target)) return;
    const { status } = event.detail.xhr;
    if (status >= 200 && status < 300) return;
    // Who is signed out is told so in the region itself; who may not see it, here.
    refused = status === 403;
    failures += 1;
    retryAt = now() + Math.min(SLOWEST, 2 ** failures) - 0.5;
    if (refused) {
      setTrigger(event.target);
      htmx.process(event.target);
    }
    show();
  });

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (isLive(event.target)) keepFocus(event.target);
  });

  document.addEventListener("htmx:load", (event) => {
    const live = event.target;
    if (!isLive(live)) return;
    updatedAt = now();
    failures = retryAt = 0;
    restoreFocus(live);
    nameButtons(live);
    tellChanges(live);
    setTitle(live);
    show();
  });

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    seenAt = now();
    ask();
  });

  window.addEventListener("pageshow", (event) => {
    if (event.persisted) ask();
  });

  document.addEventListener("DOMContentLoaded", () => {
    const live = region(), select = byId("live-every");
    if (!live || !select) return;
    states = readStates(live);
    halves = readHalves(live);
    nameButtons(live);
    byId("live-choice").hidden = false;
    byId("live-reload").hidden = true;
    select.value = choice;
    if (select.selectedIndex < 0) select.value = choice = "";
    select.addEventListener("change", () => {
      choice = select.value;
      try { localStorage.setItem(KEY, choice); } catch { /* not remembered */ }
      const shown = region();
      if (!shown) return;
      setTrigger(shown);
      htmx.process(shown);
      retryAt = 0;
      ask();
      show();
    });
    setInterval(show, 1000);
  });
})();

// The preferences: the time zone of this browser, to be taken with one press.
document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("browser-zone");
  if (!button) return;
  // Browsers keep to old names, which a server may not have.
  const RENAMED = {
    "America/Buenos_Aires": "America/Argentina/Buenos_Aires",
    "America/Indianapolis": "America/Indiana/Indianapolis",
    "Asia/Calcutta": "Asia/Kolkata",
    "Asia/Katmandu": "Asia/Kathmandu",
    "Asia/Rangoon": "Asia/Yangon",
    "Asia/Saigon": "Asia/Ho_Chi_Minh",
    "Europe/Kiev": "Europe/Kyiv",
  };
  const select = button.form.elements.zone;
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const option = [...select.options].find(
    ({ value }) => value === (RENAMED[timeZone] || timeZone),
  );
  if (!option || option.selected) return;
  button.textContent = `Use this browser's: ${option.value}`;
  button.hidden = false;
  button.addEventListener("click", () => {
    select.value = option.value;
    button.form.requestSubmit();
  });
});
