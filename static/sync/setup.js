"use strict";
// The set-up: a filter while one types, checks that begin by themselves, copy buttons.
(function () {
  // Copying also works over plain http, where there is no navigator.clipboard.
  function copy(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    area.setAttribute("readonly", "");
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done ? Promise.resolve() : Promise.reject(new Error("not copied"));
  }

  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  document.addEventListener("click", function (event) {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    copy(source.textContent).then(
      function () { button.textContent = "Copied"; button.focus(); },
      function () { select(source); button.textContent = "Press Ctrl-C"; }
    );
  });

  function show(root) {
    for (const button of root.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
  }

  // Rows that do not match are hidden, not unticked: the form still has them.
  function filter(input) {
    const tables = document.querySelectorAll("#" + input.dataset.filter + " > tbody");
    input.addEventListener("input", function () {
      const wanted = input.value.trim().toLowerCase();
      for (const table of tables) {
        const [name, target] = table.rows[0].cells;
        table.hidden = !(name.textContent + " " + target.textContent).toLowerCase().includes(wanted);
      }
    });
  }

  // Where the page has all tables: the number is right, and all and none are of what is
  // seen, without a way to the server.
  function choose(table) {
    const told = document.querySelector("#chosen strong");
    const boxes = [...table.querySelectorAll("input[type=checkbox]")];
    function count() {
      told.textContent = boxes.filter((box) => box.checked).length.toLocaleString("en");
    }
    table.addEventListener("change", count);
    for (const button of document.querySelectorAll(".choose [value=all], .choose [value=none]")) {
      button.addEventListener("click", function (event) {
        event.preventDefault();
        for (const box of boxes) {
          if (!box.closest("tbody").hidden) box.checked = button.value === "all";
        }
        count();
      });
    }
  }

  function begin() {
    show(document);
    for (const input of document.querySelectorAll("[data-filter]")) filter(input);
    const table = document.getElementById("tables");
    if (table && document.querySelector("[data-filter]")) choose(table);
    const checks = document.querySelector("[data-submit-at-once]");
    if (checks) {
      document.getElementById("checks").setAttribute("aria-busy", "true");
      checks.requestSubmit(document.getElementById("check"));
    }
  }

  // The columns of a table open below it; pressed again they close.
  document.addEventListener("htmx:beforeRequest", function (event) {
    const link = event.target.closest(".columns-link");
    if (!link) return;
    const row = link.closest("tbody").querySelector(".columns-row");
    const loaded = row.cells[0].childElementCount > 0;
    if (loaded) {
      event.preventDefault();
      row.hidden = !row.hidden;
    }
    link.setAttribute("aria-expanded", String(loaded ? !row.hidden : true));
  });

  document.addEventListener("htmx:afterSwap", function (event) {
    const row = event.target.closest(".columns-row");
    if (row) row.hidden = false;
    show(document);
  });
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
