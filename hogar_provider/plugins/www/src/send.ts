/** Sends one request to the graph, and shows its reply. */

import { css, html, LitElement, nothing } from "lit";
import { property, state } from "lit/decorators.js";
import { type Api, sentence } from "./api";
import { customElement } from "./element";
import { bytes, ms } from "./format";
import { shared } from "./styles";
import type { GraphView, SendReply } from "./types";

const TYPES = [
  "text/plain",
  "application/json",
  "audio/wav",
  "image/png",
  "image/jpeg",
  "application/octet-stream",
];
const LARGEST = 8_000_000;

/** Base64 of bytes, without a call of too many arguments. */
export function base64(data: Uint8Array): string {
  let text = "";
  for (let at = 0; at < data.length; at += 0x8000)
    text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return btoa(text);
}

/** A body as it reads best: JSON is laid out, other text stays as it is. */
export function readable(body: string, type: string): string {
  if (!/json/.test(type)) return body;
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}

@customElement("hogar-send")
export class HogarSend extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @property({ attribute: false }) view!: GraphView;
  @state() private type = "text/plain";
  @state() private text = "";
  /** The type follows the text, as long as nobody has chosen one. */
  private guessed = false;
  @state() private file: File | null = null;
  @state() private working = false;
  @state() private reply: SendReply | null = null;
  @state() private problem = "";

  static override styles = [
    shared,
    css`
      :host { container-type: inline-size; padding: 14px; }
      .both { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 24px; }
      @container (max-width: 820px) { .both { grid-template-columns: minmax(0, 1fr); } }
      form { display: grid; gap: 12px; align-content: start; }
      .field { display: grid; gap: 4px; }
      input::file-selector-button { font: inherit; color: inherit; margin-right: 10px; padding: 3px 10px; border: 1px solid var(--border-strong); border-radius: 5px; background: var(--bg-muted); cursor: pointer; }
      pre { margin: 8px 0 0; padding: 12px; background: var(--bg-subtle); border: 1px solid var(--border); border-radius: 6px; font: 13px/1.5 var(--mono); overflow: auto; max-height: 50vh; white-space: pre-wrap; overflow-wrap: anywhere; }
      .status { font-weight: 600; color: var(--ready); }
      .status.bad { color: var(--dead); }
    `,
  ];

  private submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    this.working = true;
    this.problem = "";
    this.reply = null;
    try {
      const content = this.file
        ? { body_base64: base64(new Uint8Array(await this.file.arrayBuffer())) }
        : { body: this.text };
      this.reply = await this.api.send(this.dag, { content_type: this.type, ...content });
    } catch (error) {
      this.problem = sentence(error);
    } finally {
      this.working = false;
    }
  };

  /** What looks like JSON is sent as JSON, where nobody chose another type. */
  private write(text: string): void {
    this.text = text;
    const json = /^\s*[[{]/.test(text);
    if (this.type === "text/plain" && json) this.type = "application/json";
    else if (this.type === "application/json" && this.guessed && !json) this.type = "text/plain";
    else return;
    this.guessed = this.type === "application/json";
  }

  private choose = (event: Event): void => {
    const file = (event.target as HTMLInputElement).files?.[0] ?? null;
    this.problem = "";
    if (file && file.size > LARGEST) {
      this.problem = `${file.name} has ${bytes(file.size)}; this form sends at most ${bytes(LARGEST)}. Send larger ones to the graph's own address.`;
      (event.target as HTMLInputElement).value = "";
      return;
    }
    this.file = file;
    if (file?.type) this.type = file.type;
  };

  override render() {
    const { deployed, name } = this.view;
    return html`<div class="both">
      <form @submit=${this.submit} aria-label="Test request">
        <h2>Send a request</h2>
        <p class="small muted">It goes through the whole graph as a client's does, counts in the figures and changes the state of stateful nodes.</p>
        <label class="field">Content type
          <input list="types" required .value=${this.type} @input=${(e: Event) => {
            this.type = (e.target as HTMLInputElement).value;
            this.guessed = false;
          }} />
          <datalist id="types">${TYPES.map((type) => html`<option value=${type}></option>`)}</datalist></label>
        <label class="field">File, instead of text<input type="file" @change=${this.choose} /></label>
        ${
          this.file
            ? html`<p class="small muted">${this.file.name}, ${bytes(this.file.size)}</p>`
            : html`<label class="field">Text<textarea rows="6" .value=${this.text} @input=${(e: Event) => {
                this.write((e.target as HTMLTextAreaElement).value);
              }}></textarea></label>`
        }
        <div class="row"><button class="primary" ?disabled=${this.working || !deployed || (!this.file && !this.text)}>${this.working ? "Waiting for the reply…" : `Send to ${name}`}</button>
          ${deployed ? (this.file || this.text ? nothing : html`<span class="small muted">Choose a file or write a text first.</span>`) : html`<span class="small muted">The graph is not deployed.</span>`}</div>
      </form>
      <section aria-label="Reply" aria-live="polite"><h2>Reply</h2>${this.answer()}</section>
    </div>`;
  }

  private answer() {
    const { reply } = this;
    if (this.problem)
      return html`<div class="note bad" role="alert" style="margin-top:10px"><span>${this.problem}</span></div>`;
    if (!reply)
      return html`<p class="muted small" style="margin-top:8px">${this.working ? "The request is in the graph." : "Nothing has been sent yet."}</p>`;
    const body =
      reply.body !== undefined && reply.body !== null
        ? html`<pre tabindex="0" aria-label="Body of the reply">${readable(reply.body, reply.content_type) || "(empty)"}</pre>`
        : reply.body_base64
          ? html`<p style="margin-top:8px"><a download="reply" href="data:application/octet-stream;base64,${reply.body_base64}">Download the reply</a> <span class="small muted">${reply.content_type}, ${bytes((reply.body_base64.length * 3) / 4)}</span></p>`
          : nothing;
    return html`<p style="margin-top:8px"><span class="status ${reply.status >= 400 ? "bad" : ""}">${reply.status}</span> after <b>${ms(reply.ms)}</b> <span class="muted small">${reply.content_type}</span></p>
      ${body} ${reply.traceparent ? html`<p class="small muted" style="margin-top:8px">traceparent <span class="mono">${reply.traceparent}</span></p>` : nothing}`;
  }
}
