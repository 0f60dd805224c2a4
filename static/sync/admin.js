"use strict";
// Names for what Django's own widgets leave without one, for who does not see them.
window.addEventListener("load", () => {
  const name = (selector, text) => document.querySelectorAll(selector).forEach((field) => {
    if (!field.labels?.length) field.setAttribute("aria-label", text);
  });
  name(".vDateField", "Date");
  name(".vTimeField", "Time");
  document.getElementById("searchbar")?.setAttribute("aria-label", "Search");
  // The icons of lists to choose from have a text, but nothing that may have one.
  document.querySelectorAll("span[aria-label]:not([role])").forEach((icon) => {
    icon.setAttribute("role", "img");
  });
});
