/** Why something is as it is: a sentence, and often a traceback below it. */

import { html, nothing } from "lit";

/** The sentence, with the traceback's last line, which names the error. */
export function gist(text: string): string {
  const lines = text.split("\n").filter((line) => line.trim());
  if (lines.length < 2) return text.trim();
  return `${lines[0]!.trim()}: ${lines[lines.length - 1]!.trim()}`;
}

/** The sentence, and what is below it to be opened. */
export function told(text: string) {
  const below = text.trim().split("\n").slice(1).join("\n").trimEnd();
  return html`${gist(text)}${below ? html`<details class="below"><summary>Traceback</summary><pre tabindex="0">${below}</pre></details>` : nothing}`;
}
