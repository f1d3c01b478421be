// Making elements. Text is always set as text: the page's policy forbids markup from strings.

/** @param {string} tag @param {object} properties @param {(Node | string)[]} children */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
