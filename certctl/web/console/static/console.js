// What the pages of the console cannot do without a script. Each page works without it.
"use strict";

// Times are put into the viewer's zone; the exact one, in UTC, stays in the title.
const minutes = new Intl.DateTimeFormat("sv-SE", {dateStyle: "short", timeStyle: "short"});
const seconds = new Intl.DateTimeFormat("sv-SE", {dateStyle: "short", timeStyle: "medium"});
function localise() {
  for (const each of document.querySelectorAll("time[datetime]:not([data-local])")) {
    const shown = each.closest("[data-seconds]") ? seconds : minutes;
    each.textContent = shown.format(new Date(each.dateTime));
    each.dataset.local = "";
  }
}

function offerCopies() {
  if (navigator.clipboard) {
    for (const each of document.querySelectorAll("button.copy[hidden]")) each.hidden = false;
  }
}

function arrange() {
  localise();
  offerCopies();
  for (const each of document.querySelectorAll("input[data-word]")) judgeWord(each);
}

// A button that needs a typed word is off until the word stands there. The server asks for it as well.
function judgeWord(input) {
  const button = input.form.querySelector("button[data-guarded]");
  if (button) button.disabled = input.value.trim() !== input.dataset.word;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 1500);
});

document.addEventListener("input", (event) => {
  if (event.target.matches("input[data-word]")) judgeWord(event.target);
});

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.target.hasAttribute("hx-post")) return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const each of document.querySelectorAll("form[data-sent]")) delete each.dataset.sent;
});

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const search = document.querySelector("[data-search]");
  if (search) {
    event.preventDefault();
    search.focus();
  }
});

// A page that nobody sees asks for no news.
document.addEventListener("htmx:before:request", (event) => {
  const source = event.target;
  if (document.hidden && source.matches?.("[data-polls]")) event.preventDefault();
});
document.addEventListener("htmx:after:swap", arrange);
arrange();
