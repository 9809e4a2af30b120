/** Colours for EARG text. UDGL text comes from the server in coloured pieces. */

import type { Piece } from "./types";

/** An EARG config: counts, one operator a line, then the flows. */
export function earg(text: string): Piece[][] {
  return text.split("\n").map((line) => {
    const flow = /^(dist|reduce)(\[)(.*)$/.exec(line);
    if (flow)
      return [
        { text: flow[1]!, kind: "key" },
        { text: flow[2]! + flow[3]!, kind: "flow" },
      ];
    const comma = line.indexOf(",");
    if (comma > 0)
      return [
        { text: line.slice(0, comma), kind: "name" },
        { text: line.slice(comma), kind: "" },
      ];
    return [{ text: line, kind: "value" }];
  });
}

/** Lines without colours. */
export function plain(text: string): Piece[][] {
  return text.split("\n").map((line) => [{ text: line, kind: "" }]);
}
