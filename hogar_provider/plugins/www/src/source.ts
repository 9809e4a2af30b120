/** What the graph is written as, and what it was compiled to. */

import { css, html, LitElement, nothing } from "lit";
import { property, state } from "lit/decorators.js";
import { type Api, sentence } from "./api";
import { copied } from "./copy";
import { customElement } from "./element";
import { earg, plain } from "./highlight";
import { download } from "./saving";
import { shared } from "./styles";
import "./targets";
import type { Piece, SourceReply } from "./types";

@customElement("hogar-source")
export class HogarSource extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @property() name = "graph";
  @state() private reply: SourceReply | null = null;
  @state() private problem = "";
  @state() private copied = "";

  static override styles = [
    shared,
    css`
      :host { container-type: inline-size; padding: 14px; }
      .both { display: grid; grid-template-columns: minmax(0, 1.15fr) minmax(0, 1fr); gap: 14px; align-items: start; }
      @container (max-width: 820px) { .both { grid-template-columns: minmax(0, 1fr); } }
      .file { border: 1px solid var(--border); border-radius: var(--radius); overflow: hidden; }
      .file + .file { margin-top: 14px; }
      .head { display: flex; gap: 8px; align-items: center; padding: 6px 8px 6px 12px; border-bottom: 1px solid var(--border); background: var(--bg-subtle); }
      .head button { min-height: 28px; }
      pre { margin: 0; padding: 10px 0; overflow: auto; font: 13px/1.6 var(--mono); counter-reset: line; max-height: 68vh; }
      .line { display: block; padding: 0 12px 0 0; min-height: 1.6em; white-space: pre; }
      .line::before { counter-increment: line; content: counter(line); display: inline-block; width: 44px; padding-right: 14px; text-align: right; color: var(--fg-muted); opacity: 0.75; user-select: none; }
      .key { color: var(--recovering); font-weight: 600; }
      .name { color: var(--accent-text); }
      .flow { color: var(--degraded); font-weight: 600; }
      .value { color: var(--ready); }
      .comment { color: var(--fg-muted); font-style: italic; }
    `,
  ];

  override connectedCallback(): void {
    super.connectedCallback();
    void this.updateComplete.then(() => this.load());
  }

  private async load(): Promise<void> {
    this.problem = "";
    try {
      this.reply = await this.api.source(this.dag);
    } catch (error) {
      this.problem = sentence(error);
    }
  }

  private async copy(text: string, what: string): Promise<void> {
    if (await copied(text)) {
      this.copied = what;
      setTimeout(() => {
        this.copied = "";
      }, 2000);
    } else {
      this.problem =
        "The browser does not let this page copy: it allows that on https and on localhost only. Download the file instead.";
    }
  }

  override render() {
    const { reply } = this;
    return html`${this.problem ? html`<div class="note warn" role="alert" style="margin-bottom:12px"><span class="grow">${this.problem}</span>${reply ? nothing : html`<button @click=${() => void this.load()}>Try again</button>`}</div>` : nothing}
      ${
        !reply
          ? this.problem
            ? nothing
            : html`<div class="bones" role="status" aria-label="The source is loading"></div>`
          : html`<div class="both"><div>${this.file("UDGL", `${this.name}.udgl`, reply.udgl, reply.udgl_lines)}</div>
            <div>${this.file("Compiled EARG config", `${this.name}.earg`, reply.earg, earg(trimmed(reply.earg)))}${reply.extras ? this.file("Extras", `${this.name}.extras.yaml`, reply.extras, null) : nothing}
            <hogar-targets .api=${this.api} .dag=${this.dag}></hogar-targets></div></div>`
      }
      <div class="sr" role="status">${this.copied ? `${this.copied} is copied.` : ""}</div>`;
  }

  private file(title: string, name: string, text: string, colored: Piece[][] | null) {
    const lines = colored ?? plain(trimmed(text));
    // The end of the last line is no line.
    const shown = lines.length > 1 && !lines.at(-1)?.length ? lines.slice(0, -1) : lines;
    return html`<section class="file" aria-label=${title}>
      <div class="head"><h3 class="grow">${title}</h3>${text ? html`<button @click=${() => void this.copy(text, title)}>${this.copied === title ? "Copied" : "Copy"}</button><button @click=${() => download(text, name)}>Download</button>` : nothing}</div>
      ${text ? html`<pre tabindex="0" aria-label="${title}, text">${shown.map((line) => html`<span class="line">${line.map((piece) => (piece.kind ? html`<span class=${piece.kind}>${piece.text}</span>` : piece.text))}</span>`)}</pre>` : html`<div class="empty">Not known. It is there once the graph has been parsed or deployed.</div>`}
    </section>`;
  }
}

function trimmed(text: string): string {
  return text.replace(/\n$/, "");
}
