"""The ``udgl`` command: check graphs, compare them, and compile them to a platform's files.

Exit codes: 0 all is well, 1 something is wrong in a graph, 2 wrong usage, or a file that cannot be
read or written; of ``udgl diff``, as of diff(1): 0 no difference, 1 a difference, 2 anything wrong.
Findings go to standard error, results to standard output.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from udgl import parser
from udgl.commands import fmt
from udgl.diagnostics import UdglError, format_all
from udgl.targets import Compilation, OutputFile, target, target_names

_OK, _WRONG, _UNUSABLE = 0, 1, 2

_STDIN = "<stdin>"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``arguments`` (by default those of the process); the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show an arrow is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    options = _options().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has left, as `head` does. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _OK
    except KeyboardInterrupt:
        return 130
    return code


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="udgl",
        description="Check ML service graphs written in UDGL, and compile them.",
        epilog="Exit codes: 0 fine; 1 a graph has errors; 2 wrong usage or an unreadable file.",
    )
    options.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = options.add_subparsers(metavar="COMMAND", required=True)

    check = commands.add_parser(
        "check",
        help="report what is wrong in graphs",
        description="Report all that is wrong in each FILE as FILE:LINE:COLUMN: CODE MESSAGE, on "
        "standard error. A file that is fine gets one line on standard output.",
        epilog="Example: udgl check dags/*.udgl",
    )
    check.add_argument("files", metavar="FILE", nargs="+", help="a UDGL file; - is standard input")
    check.set_defaults(run=_check)

    compile_ = commands.add_parser(
        "compile",
        help="write a platform's files for a graph",
        description="Compile FILE for a platform, to standard output or into a folder.",
        epilog="Example: udgl compile -t earg -o build sentiment.udgl",
    )
    compile_.add_argument(
        "-t",
        "--target",
        required=True,
        choices=target_names(),
        help=f"the platform: {', '.join(target_names())}",
    )
    compile_.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=Path,
        help="write the files into this folder, which is made if need be, and print their paths",
    )
    compile_.add_argument("file", metavar="FILE", help="a UDGL file; - is standard input")
    compile_.set_defaults(run=_compile)

    diff = commands.add_parser(
        "diff",
        help="tell what changes from one graph to another",
        description="Tell what deploying the graph NEW in place of the graph OLD would change, "
        "on standard output. How the files are laid out makes no difference.",
        epilog="Exit codes: 0 no difference; 1 a difference; 2 a graph has errors, wrong usage or "
        "an unreadable file. Example: git show HEAD:dags/a.udgl | udgl diff - dags/a.udgl",
    )
    diff.add_argument("old", metavar="OLD", help="a UDGL file; - is standard input")
    diff.add_argument("new", metavar="NEW", help="a UDGL file; - is standard input")
    diff.add_argument(
        "--format", choices=("text", "json"), default="text", help="for people (default), or JSON"
    )
    diff.set_defaults(run=_diff)

    fmt_ = commands.add_parser(
        "fmt",
        help="rewrite graphs in canonical form",
        description=fmt.DESCRIPTION,
        epilog=fmt.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    fmt.configure(fmt_)
    fmt_.set_defaults(run=fmt.run)
    return options


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"udgl {version('airflow-provider-hogar')}")
        except PackageNotFoundError:
            print("udgl (not installed)")
        parser.exit()


def _check(options: argparse.Namespace) -> int:
    return max(_check_file(name) for name in options.files)


def _check_file(name: str) -> int:
    source = _STDIN if name == "-" else name
    try:
        graph = parser.parse(_read(name), source)
    except OSError as error:
        return _unusable(name, error)
    except UdglError as error:
        _say(str(error))
        return _WRONG
    count = len(graph.operators)
    operators = "1 operator" if count == 1 else f"{count} operators"
    print(f"{source}: ok, graph {graph.name} version {graph.version}, {operators}")
    return _OK


def _compile(options: argparse.Namespace) -> int:
    source = _STDIN if options.file == "-" else options.file
    try:
        text = _read(options.file)
    except OSError as error:
        return _unusable(options.file, error)
    except UdglError as error:
        _say(str(error))
        return _WRONG
    try:
        compilation = target(options.target).compile_graph(parser.parse(text, source))
    except UdglError as error:
        _say(format_all(error.diagnostics, source, text))
        return _WRONG
    if compilation.diagnostics:
        _say(format_all(compilation.diagnostics, source, text))
    return _deliver(compilation, options.output)


def _diff(options: argparse.Namespace) -> int:
    import json

    from udgl.difference import difference

    if options.old == options.new == "-":
        _say("udgl: only one of the two graphs can come from standard input")
        return _UNUSABLE
    graphs = []
    for name in (options.old, options.new):
        try:
            graphs.append(parser.parse(_read(name), _STDIN if name == "-" else name))
        except OSError as error:
            _unusable(name, error)
        except UdglError as error:
            _say(str(error))
    if len(graphs) < 2:
        return _UNUSABLE
    found = difference(*graphs)
    if options.format == "json":
        print(json.dumps(found.as_json(), ensure_ascii=False, indent=2))
    else:
        print(found)
    return _WRONG if found else _OK


def _deliver(compilation: Compilation, folder: Path | None) -> int:
    if folder is None:
        if len(compilation.files) > 1:
            _say("udgl: this target writes several files; say where to with -o DIR")
            return _UNUSABLE
        for file in compilation.files:
            sys.stdout.write(file.text)
        return _OK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in compilation.files:
            print(_write(folder, file))
    except BrokenPipeError:
        raise
    except OSError as error:
        return _unusable(str(error.filename or folder), error)
    return _OK


def _write(folder: Path, file: OutputFile) -> Path:
    """Put the file into the folder whole or not at all."""
    path = folder / file.name
    unfinished = folder / f".{file.name}.{os.getpid()}.part"
    try:
        unfinished.write_text(file.text, encoding="utf-8", newline="\n")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _read(name: str) -> str:
    """The text of the file; raises OSError, and UdglError where it is no UTF-8 text."""
    if name == "-":
        return parser.decode(sys.stdin.buffer.read(parser.LARGEST_TEXT + 1), _STDIN)
    return parser.read(name)


def _unusable(name: str, error: OSError) -> int:
    _say(f"udgl: {name}: {error.strerror or error}")
    return _UNUSABLE


def _say(text: str) -> None:
    # Standard output first, so that both together read in order.
    sys.stdout.flush()
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
