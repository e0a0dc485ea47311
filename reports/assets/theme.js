/* Light or dark, as set in the system or chosen by the reader; applied before the data are read. */

const themes = document.getElementById("theme");
const stored = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  themes.value = theme;
  try { localStorage.setItem("theme", theme); } catch { /* without storage, the choice lasts as long as the page */ }
}
themes.addEventListener("change", () => setTheme(themes.value));
setTheme(["light", "dark"].includes(stored) ? stored : "system");
