"""Whether GJSON paths exist in documents, in an environment that has pygjson.

python gjson_paths.py < PAIRS: a JSON list of [document, path]; writes a JSON list of booleans.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    import pygjson

    pairs = json.load(sys.stdin)
    found = [pygjson.get(json.dumps(document), path).exists() for document, path in pairs]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
