/** Registers a custom element, once: the host may load this module under several addresses. */
export function customElement(name: string) {
  return (element: CustomElementConstructor): void => {
    if (!customElements.get(name)) customElements.define(name, element);
  };
}
