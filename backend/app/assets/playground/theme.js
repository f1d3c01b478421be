// Light or dark: as the system says, until the reader says otherwise.

const NAME = "reynard-theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

/** @param {HTMLButtonElement} button */
export function addThemeButton(button) {
  show(button, localStorage.getItem(NAME) ?? "system");
  button.addEventListener("click", () => {
    const theme = NEXT[button.dataset.theme];
    localStorage.setItem(NAME, theme);
    show(button, theme);
  });
}

function show(button, theme) {
  document.documentElement.dataset.theme = theme;
  button.dataset.theme = theme in NEXT ? theme : "system";
  button.textContent = `Theme: ${button.dataset.theme}`;
}
