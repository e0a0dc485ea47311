/* Light or dark, as the system has it or as its reader chose; set before the data are read. */

const themes = document.getElementById("theme");
const kept = (() => { try { return localStorage.getItem("theme"); } catch { return null; } })();
function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  themes.value = theme;
  try { localStorage.setItem("theme", theme); } catch { /* where nothing may be kept, the choice lasts as long as the page */ }
}
themes.addEventListener("change", () => setTheme(themes.value));
setTheme(["light", "dark"].includes(kept) ? kept : "system");
