/** Colours for UDGL and EARG text. */

export interface Piece {
  text: string;
  /** `key`, `name`, `flow`, `value`, `comment`, or empty. */
  kind: string;
}

const SECTION = /^(\s*)(meta|operator|logical\s+flow|flow|distribute|reduce|switch|split)(?![^\s#])/;
const KEY = /^(\s*)(name|version|description|owner|tags|schedule|image|batch|stateful)(?![^\s,#])/;
const TEXT_KEYS = new Set(["description", "owner", "tags", "schedule"]);

/** Lines of pieces. What it does not know stays plain: colours are no check. */
export function udgl(text: string): Piece[][] {
  let flows = false;
  return text.split("\n").map((line) => {
    const pieces: Piece[] = [];
    let rest = line;
    const put = (length: number, kind: string) => {
      if (length) pieces.push({ text: rest.slice(0, length), kind });
      rest = rest.slice(length);
    };
    const section = SECTION.exec(rest);
    // "reduce → X" names an operator that is called as a section is.
    if (section && !/^\s*(,|→|->)/.test(rest.slice(section[0].length))) {
      flows = /flow|distribute|reduce|switch|split/.test(section[2]!);
      put(section[1]!.length, "");
      put(section[2]!.length, "key");
      if (section[2] === "operator") put(/^\s*[^\s,#]*/.exec(rest)![0].length, "name");
    }
    while (rest) {
      const space = /^[\s,]+/.exec(rest)?.[0].length ?? 0;
      put(space, "");
      if (!rest) break;
      if (rest.startsWith("#")) put(rest.length, "comment");
      else if (/^(→|->)/.test(rest)) put(rest.startsWith("→") ? 1 : 2, "flow");
      else {
        const key = flows ? null : KEY.exec(rest);
        if (key) {
          put(key[0].length, "key");
          if (TEXT_KEYS.has(key[2]!)) put(/^[^#]*/.exec(rest)![0].length, "value");
          else put(/^\s*[^\s,#]*/.exec(rest)![0].length, "value");
        } else put(/^(?:(?!→|->)[^\s,#])+|^./.exec(rest)![0].length, flows ? "name" : "");
      }
    }
    return pieces;
  });
}

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
