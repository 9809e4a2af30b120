/** The last lines that a node's processes wrote. */

import { css, html, LitElement, nothing, type PropertyValues } from "lit";
import { property, query, state } from "lit/decorators.js";
import { type Api, sentence } from "./api";
import { customElement } from "./element";
import { shared } from "./styles";
import type { LogReply, NodeView } from "./types";

const PERIOD = 3000;

@customElement("hogar-node-log")
export class HogarNodeLog extends LitElement {
  @property({ attribute: false }) api!: Api;
  @property() dag = "";
  @property({ attribute: false }) node!: NodeView;
  @state() private which = "model";
  @state() private reply: LogReply | null = null;
  @state() private problem = "";
  @query("pre") private pre?: HTMLElement;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked = 0;

  static override styles = [
    shared,
    css`
      pre { margin: 8px 0 0; padding: 10px; background: var(--bg-subtle); border: 1px solid var(--border); border-radius: 6px; font: 12px/1.5 var(--mono); max-height: 420px; overflow: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
    `,
  ];

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  override willUpdate(changed: PropertyValues): void {
    const before = changed.get("node") as NodeView | undefined;
    if (changed.has("which") || (changed.has("node") && before?.index !== this.node.index)) {
      this.reply = null;
      void this.load();
    }
  }

  private async load(): Promise<void> {
    clearTimeout(this.timer);
    const asked = ++this.asked;
    try {
      const reply = await this.api.logs(this.dag, this.node.index, {
        proxy: this.which.startsWith("proxy"),
        backup: this.which.endsWith("backup"),
      });
      if (asked !== this.asked) return;
      const pre = this.pre;
      const follows = !pre || pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 8;
      this.reply = reply;
      this.problem = "";
      await this.updateComplete;
      if (follows && this.pre) this.pre.scrollTop = this.pre.scrollHeight;
    } catch (error) {
      if (asked === this.asked) this.problem = sentence(error);
    }
    if (this.isConnected && asked === this.asked) this.timer = setTimeout(() => void this.load(), PERIOD);
  }

  override render() {
    const backup = this.node.pairs.some((pair) => pair.role === "backup");
    return html`<div class="row wrap"><label>Log of <select @change=${(e: Event) => {
      this.which = (e.target as HTMLSelectElement).value;
    }}>
        <option value="model">the model</option><option value="proxy">the proxy</option>
        ${backup ? html`<option value="model-backup">the backup's model</option><option value="proxy-backup">the backup's proxy</option>` : nothing}
      </select></label><span class="small muted mono cut grow">${this.reply?.path ?? ""}</span></div>
      ${this.problem ? html`<div class="note warn" role="alert" style="margin-top:8px"><span>${this.problem}</span></div>` : nothing}
      ${this.reply ? html`<pre tabindex="0" role="log" aria-live="off" aria-label="Last log lines">${this.reply.lines.join("\n") || "It has written nothing."}</pre>` : this.problem ? nothing : html`<div class="bones" style="margin-top:10px"></div>`}`;
  }
}
