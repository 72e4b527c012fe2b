// Before anything is drawn: the colours that were chosen last time.
"use strict";
try {
  const theme = JSON.parse(localStorage.getItem("heed.playground.1") || "{}").theme;
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // No storage, or something else in it: the system's colours then.
}
