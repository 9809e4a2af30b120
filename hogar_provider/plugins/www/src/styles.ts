/** The look: the host's Chakra colours where there are some, fall-backs of the same kind elsewhere. */

import { css } from "lit";

/** On the outermost element only: the inner ones inherit. */
export const tokens = css`
  :host {
    --bg: var(--chakra-colors-bg, light-dark(#fff, #0c0f15));
    /* In the dark the host's own is all but black, and cuts a hole into the page. */
    --bg-subtle: light-dark(var(--chakra-colors-bg-subtle, #f7f8fa), color-mix(in srgb, var(--fg) 3.5%, var(--bg)));
    --bg-muted: var(--chakra-colors-bg-muted, light-dark(#eef0f4, #1b212b));
    --fg: var(--chakra-colors-fg, light-dark(#12161e, #f2f4f8));
    --fg-muted: var(--chakra-colors-fg-muted, light-dark(#4a5568, #a3aec0));
    --border: var(--chakra-colors-border, light-dark(#dde1e8, #2b323f));
    --border-strong: var(--chakra-colors-border-emphasized, light-dark(#c3cad5, #3d4656));
    --accent: light-dark(var(--chakra-colors-blue-600, #2563eb), var(--chakra-colors-blue-400, #60a5fa));
    --accent-text: light-dark(var(--chakra-colors-blue-700, #1d4ed8), var(--chakra-colors-blue-300, #93c5fd));
    --solid: light-dark(var(--chakra-colors-blue-600, #2563eb), var(--chakra-colors-blue-700, #1d4ed8));
    --ready: light-dark(var(--chakra-colors-green-700, #136b33), var(--chakra-colors-green-300, #4ade80));
    --busy: light-dark(var(--chakra-colors-blue-700, #1d4ed8), var(--chakra-colors-blue-300, #93c5fd));
    --degraded: light-dark(color-mix(in srgb, var(--chakra-colors-orange-700, #b45309) 85%, #000), var(--chakra-colors-orange-300, #fdba74));
    --recovering: light-dark(var(--chakra-colors-purple-700, #7e22ce), var(--chakra-colors-purple-300, #d8b4fe));
    --dead: light-dark(var(--chakra-colors-red-700, #b91c1c), var(--chakra-colors-red-400, #f87171));
    --dead-bg: light-dark(var(--chakra-colors-red-50, #fef2f2), var(--chakra-colors-red-950, #450a0a));
    --starting: light-dark(var(--chakra-colors-cyan-700, #0e7490), var(--chakra-colors-cyan-300, #67e8f9));
    --draining: light-dark(var(--chakra-colors-gray-600, #4a5568), var(--chakra-colors-gray-400, #a3aec0));
    --undeployed: light-dark(var(--chakra-colors-gray-600, #4a5568), var(--chakra-colors-gray-400, #a3aec0));
    --on-state: var(--bg);
    --mono: var(--chakra-fonts-mono, ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace);
    --radius: 8px;
    color: var(--fg);
    font-family: var(--chakra-fonts-body, system-ui, -apple-system, "Segoe UI", sans-serif);
    font-size: 14px;
    line-height: 1.4;
  }
  :host([theme="dark"]) { color-scheme: dark; }
  :host([theme="light"]) { color-scheme: light; }
`;

export const shared = css`
  :host { display: block; box-sizing: border-box; }
  :host([hidden]) { display: none; }
  *, *::before, *::after { box-sizing: border-box; }
  h1, h2, h3, h4, p, dl, dd, ul, ol { margin: 0; padding: 0; }
  ul, ol { list-style: none; }
  h2 { font-size: 16px; font-weight: 600; }
  h3 { font-size: 13px; font-weight: 600; }
  a { color: var(--accent-text); }
  .muted { color: var(--fg-muted); }
  .small { font-size: 12px; }
  .mono { font-family: var(--mono); font-size: 12px; }
  .num { font-variant-numeric: tabular-nums; }
  .row { display: flex; align-items: center; gap: 8px; }
  .wrap { flex-wrap: wrap; }
  .grow { flex: 1; min-width: 0; }
  .cut { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  .sr {
    position: absolute; width: 1px; height: 1px; overflow: hidden;
    clip-path: inset(50%); white-space: nowrap;
  }

  .s-ready { --s: var(--ready); }
  .s-busy { --s: var(--busy); }
  .s-degraded { --s: var(--degraded); }
  .s-recovering { --s: var(--recovering); }
  .s-dead { --s: var(--dead); }
  .s-starting { --s: var(--starting); }
  .s-draining { --s: var(--draining); }
  .s-undeployed, .s-unknown { --s: var(--undeployed); }
  .glyph { color: var(--s, var(--fg-muted)); flex: none; display: block; }
  /* The whole picture turns: that costs the page's own thread nothing. */
  .glyph.s-recovering { animation: spin 1.6s linear infinite; }
  @keyframes spin { to { transform: rotate(360deg); } }
  .badge {
    display: inline-flex; align-items: center; gap: 6px; padding: 2px 9px 2px 7px; border-radius: 999px;
    font-size: 12px; font-weight: 600; white-space: nowrap; color: var(--s, var(--fg-muted));
    background: color-mix(in srgb, var(--s, var(--fg-muted)) 10%, var(--bg));
    border: 1px solid color-mix(in srgb, var(--s, var(--fg-muted)) 30%, var(--bg));
  }
  .badge.s-dead { background: light-dark(var(--dead), var(--dead)); color: var(--bg); border-color: var(--dead); --on-state: var(--dead); }
  .badge.s-dead .glyph { color: var(--bg); }

  button, input, select, textarea { font: inherit; color: inherit; }
  button, .button {
    display: inline-flex; align-items: center; justify-content: center; gap: 6px; min-height: 32px;
    padding: 4px 12px; border: 1px solid var(--border-strong); border-radius: 6px; background: var(--bg);
    font-size: 13px; font-weight: 500; cursor: pointer; text-decoration: none; color: var(--fg); white-space: nowrap;
  }
  button:hover:not(:disabled) { background: var(--bg-muted); }
  button:disabled { cursor: not-allowed; opacity: 0.5; border-color: var(--border); }
  button.primary { background: var(--solid); border-color: var(--solid); color: #fff; }
  button.primary:hover:not(:disabled) { background: color-mix(in srgb, var(--solid) 86%, #000); }
  button.primary:disabled { background: var(--bg-muted); border-color: var(--border); color: var(--fg); }
  button.danger { color: var(--dead); border-color: color-mix(in srgb, var(--dead) 45%, var(--bg)); }
  button.danger.primary { background: light-dark(#b91c1c, #b91c1c); border-color: #b91c1c; color: #fff; }
  button.quiet { border-color: transparent; background: transparent; padding: 4px 8px; }
  button.icon { padding: 0; width: 32px; }
  :focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
  input, select, textarea {
    border: 1px solid var(--border-strong); border-radius: 6px; background: var(--bg); padding: 5px 8px; font-size: 13px;
    min-height: 32px;
  }
  textarea { width: 100%; font-family: var(--mono); font-size: 12px; resize: vertical; }
  input[type="checkbox"] { min-height: 0; accent-color: var(--solid); }
  .bulb { flex: none; color: var(--degraded); margin-top: 2px; }
  input[type="range"] { accent-color: var(--accent); padding: 0; border: 0; background: transparent; min-height: 24px; }
  label { font-size: 13px; }

  table { border-collapse: collapse; width: 100%; font-size: 13px; }
  th { text-align: left; font-weight: 500; color: var(--fg-muted); font-size: 12px; white-space: nowrap; }
  th, td { padding: 5px 10px; border-bottom: 1px solid var(--border); vertical-align: middle; }
  th.right, td.right { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
  tbody tr:last-child td { border-bottom: 0; }
  .scroll { overflow: auto; }

  .card { border: 1px solid var(--border); border-radius: var(--radius); background: var(--bg); }
  .pad { padding: 12px 14px; }
  .note {
    display: flex; gap: 8px; align-items: flex-start; padding: 8px 12px; border-radius: 6px; font-size: 13px;
    border: 1px solid var(--border); background: color-mix(in srgb, var(--fg-muted) 7%, var(--bg));
  }
  .note.warn { border-color: color-mix(in srgb, var(--degraded) 40%, var(--bg)); background: color-mix(in srgb, var(--degraded) 8%, var(--bg)); }
  .note.bad { border-color: var(--dead); background: var(--dead-bg); }
  .note.good { border-color: color-mix(in srgb, var(--ready) 40%, var(--bg)); background: color-mix(in srgb, var(--ready) 8%, var(--bg)); }
  .below summary { cursor: pointer; font-size: 12px; padding: 3px 0; }
  .below pre { margin: 4px 0 0; max-height: 260px; overflow: auto; font-family: var(--mono); font-size: 11.5px; line-height: 1.4; white-space: pre-wrap; overflow-wrap: anywhere; }
  .empty { padding: 40px 20px; text-align: center; color: var(--fg-muted); }
  .empty h2 { color: var(--fg); margin-bottom: 6px; }
  .empty p { max-width: 52ch; margin: 0 auto 8px; }
  .bones { height: 14px; border-radius: 4px; background: var(--bg-muted); animation: breathe 1.4s ease-in-out infinite; }
  @keyframes breathe { 50% { opacity: 0.45; } }
  @media (prefers-reduced-motion: reduce) {
    *, *::before, *::after { animation: none !important; transition: none !important; }
  }
`;
