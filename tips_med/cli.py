"""The command line: runs one pipeline. Answers go to standard output, everything else to standard error."""

from __future__ import annotations

import inspect as signatures
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser
from rich.console import Console

import tips_med
from tips_med.configs import config_path
from tips_med.errors import ConfigError, MissingExtraError, TipsMedError
from tips_med.extras import extra_of

FIXABLE = 2
"""Exit code for an error that the user can fix."""

UNUSABLE = 1
"""Exit code of ``doctor`` for an installation that cannot be used."""

PARTLY = 3
"""Exit code when some of the queries, or of the scans, got no answer."""

_POSITIONAL = {
    "ground": ("scan", "query"),
    "compare": ("prior", "current", "query"),
    "encode": ("scan",),
    "inspect": ("path",),
    "deidentify": ("scan",),
    "check-manifest": ("path",),
    "batch": ("path",),
    "benchmark": ("scan",),
    "embed": ("path",),
    "completion": ("shell",),
    "index": ("source",),
    "search": ("text",),
    "suggest": ("path",),
    "view": ("scan",),
    "what": ("scan",),
}
_OPTIONAL = {"view": ("scan",), "benchmark": ("scan",)}
"""Positional arguments that may be left out."""
_SEVERAL = {"batch": ("query",), "benchmark": ("query", "curves")}
"""Options that take several words."""

_COMMANDS = {
    "ground": "where is it? query a scan, or an encoded study",
    "what": "what is this? the findings and structures that fit best at a place of a scan",
    "view": "open a scan in the browser: type a query, look at the answer",
    "batch": "query every scan of a folder or manifest, here or on a cluster: one table, one page",
    "compare": "compare two scans of one patient: what is new, gone, grown, shrunk or stable",
    "encode": "encode a scan once, for any number of queries",
    "inspect": "list the series in a folder, and which one would be read",
    "pretrain": "train the compact model on painted findings",
    "convert-tips": "turn published TIPS checkpoints into a folder for --model tips:FOLDER",
    "make-manifest": "make a manifest of a public dataset's layout, or of reports",
    "propose-terms": "propose entries for a lexicon, from words of reports that it does not know",
    "check-manifest": "read everything that a manifest names, and say what is wrong",
    "embed": "store a teacher's patch embeddings of every scan of a manifest, to be distilled by train",
    "train": "fine-tune a model on a manifest of your own studies",
    "suggest": "rank unlabelled scans by what outlining them would teach",
    "evaluate": "evaluate a model on every phrase of a manifest: table, JSON, page",
    "index": "store of each scan what is needed to search all of them",
    "search": "which scans of an archive have it, and where in each?",
    "make-submission": "answer a split of ReXGroundingCT, and write the archive that its leaderboard takes",
    "fetch": "get a study from an archive, by DICOMweb or DIMSE",
    "send": "send DICOM results to an archive",
    "deidentify": "copy a scan's DICOM images without the patient's identity",
    "node": "receive studies, query them, send the answers to the archive, until stopped",
    "serve": "serve scans and answers over HTTP, for viewers and scripts, until stopped",
    "mcp": "serve tools for assistants by the Model Context Protocol, on standard input and output",
    "paint": "paint scans with findings, and write them with a manifest of questions",
    "export": "write a model for MONAI, the Hugging Face hub, ONNX Runtime or PyTorch alone",
    "calibrate": "fit the thresholds for present, absent and unsure",
    "completion": "print a script that completes commands and options in bash, zsh or fish",
    "doctor": "say what is installed, whether it works, and what to do about it",
    "benchmark": "measure seconds and memory of every stage on this machine",
}


def pipeline(name: str) -> Any:
    """A pipeline's function: from the installed package, or from beside it in a source checkout.

    Another top-level package that happens to be called ``pipelines`` is never imported.

    Raises:
        MissingExtraError: It needs a package that is not installed.
        ConfigError: The pipelines are not installed.
    """
    name = name.replace("-", "_")
    package = "tips_med.pipelines"
    if find_spec(package) is None:
        package = "pipelines"
        found, own = find_spec(package), Path(tips_med.__file__).resolve().parent.parent / "pipelines"
        if found is None or found.origin is None or Path(found.origin).resolve().parent != own:
            raise ConfigError(
                "the pipelines of tips_med are not installed",
                path=own,
                remedy="reinstall tips_med",
                code="installation",
            )
    try:
        return getattr(import_module(f"{package}.{name}"), name)
    except ModuleNotFoundError as error:
        extra = extra_of(error.name)
        if extra is None:
            raise
        raise MissingExtraError(f"commands like {name}", str(error.name), extra) from error


def build_parser(command: str | None = None, *, every: bool = False) -> ArgumentParser:
    """The parser; only the named command's own arguments are imported, so that the rest stays quick.

    Args:
        command: Command whose arguments are added.
        every: Add the arguments of every command that can be imported, and what of them are files.
    """
    parser = ArgumentParser(prog="tips-med", description="Where is it? Research use only, not a medical device.")
    parser.add_argument("--version", action="version", version=f"tips-med {tips_med.__version__}")
    commands = parser.add_subcommands(required=True, metavar="COMMAND")
    for name, about in _COMMANDS.items():
        sub = ArgumentParser(description=about[0].upper() + about[1:] + ".")
        if name == command:
            _add_arguments(sub, name)
        elif every:
            with suppress(MissingExtraError):  # a command that cannot run here is completed without its options
                _add_arguments(sub, name)
            _complete_files(sub)
        commands.add_subcommand(name, sub, help=about)
    return parser


def _add_arguments(parser: ArgumentParser, name: str) -> None:
    function = pipeline(name)
    parameters = signatures.signature(function).parameters
    told = {p.arg_name: p.description for p in parse_docstring(function.__doc__ or "").params}
    positional = _POSITIONAL.get(name, ())
    parser.add_argument("--config", action="config", help="YAML with any of these arguments, or a known name")
    parser.add_argument("--quiet", action="store_true", help="no progress, and no log but errors")
    for scan in ("prior", "current"):
        if scan in positional:
            parser.add_argument(scan, type=str, help=f"{scan} scan: DICOM, NIfTI, encoded study, or sample")
    if "scan" in positional:
        about = "DICOM folder, DICOM or NIfTI file, encoded study, or sample"
        if "scan" in _OPTIONAL.get(name, ()):
            default = parameters["scan"].default
            parser.add_argument("scan", type=str, nargs="?", default=default, help=told.get("scan", about))
        else:
            parser.add_argument("scan", type=str, help=about)
    several = _SEVERAL.get(name, ())
    if "query" in positional:
        parser.add_argument("query", type=str, nargs="+", help="finding or structure to search, in words")
    for option in several:
        default = parameters[option].default
        required = default is signatures.Parameter.empty
        usual = None if required else list(default)
        parser.add_argument(f"--{option}", type=str, nargs="+", required=required, default=usual, help=told.get(option))
    if "path" in positional:
        parser.add_argument("path", type=str, help="a file or folder")
    if "source" in positional:
        parser.add_argument("source", type=str, help="a folder of encoded studies, a manifest, or a scan")
    if "text" in positional:
        parser.add_argument("text", type=str, nargs="?", help="finding or structure to search, in words")
    if "shell" in positional:
        parser.add_argument("shell", type=Literal["bash", "zsh", "fish"], help="shell to complete in")
    flags = [p.name for p in parameters.values() if p.default is False]
    parser.add_function_arguments(function, as_group=False, skip={*positional, *several, *flags, "steps"})
    for flag in flags:
        parser.add_argument("--" + flag.replace("_", "-"), action="store_true", help=told.get(flag))


def _complete_files(parser: ArgumentParser) -> None:
    """Marks what is a file or a folder, and may be something else, too: the parser knows only that it is text."""
    from shtab import FILE

    for action in parser._actions:
        if action.dest in ("scan", "prior", "current", "path", "model", "source", "archive", "like", "region"):
            action.complete = FILE  # type: ignore[attr-defined] (what shtab looks for)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 on success, 1 from ``doctor`` for an installation that cannot be used, 2 for an error that the user can fix, 3
        when some of the queries, or of the scans, got no answer.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((a for a in arguments if a in _COMMANDS), None)
    errors = Console(stderr=True)
    try:
        parser = build_parser(command)
        chosen = parser.instantiate(parser.parse_args(_named_configs(_spelled(arguments, command))))
        return _run(str(chosen.subcommand), vars(chosen[chosen.subcommand]), errors)
    except TipsMedError as error:
        errors.print(f"tips-med: {error}", style="bold", markup=False, highlight=False, soft_wrap=True)
        return FIXABLE
    except KeyboardInterrupt:
        errors.print("tips-med: stopped")
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(command: str, arguments: dict[str, Any], errors: Console) -> int:
    from tips_med.progress import console_progress, log_progress, no_progress

    quiet = bool(arguments.pop("quiet"))
    arguments.pop("config", None)
    _log_to_stderr(quiet)
    warnings.filterwarnings("ignore" if quiet else "default", module="(?!tips_med)")
    function = pipeline(command)
    if "steps" in signatures.signature(function).parameters:
        arguments["steps"] = no_progress if quiet else console_progress(errors) if sys.stderr.isatty() else log_progress
    result = function(**arguments)
    _show(command, result, arguments)
    declined = getattr(result, "declined", ())
    for one in declined:
        errors.print(
            f"tips-med: not answered: {one.error}", style="bold", markup=False, highlight=False, soft_wrap=True
        )
    if not getattr(result, "usable", True):
        return UNUSABLE
    return PARTLY if declined or not getattr(result, "complete", True) else 0


def _log_to_stderr(quiet: bool) -> None:
    """Our own news and everybody's warnings; only errors when quiet."""
    least = logging.ERROR if quiet else logging.WARNING

    def wanted(record: logging.LogRecord) -> bool:
        ours = record.name.partition(".")[0] in ("tips_med", "pipelines")
        return record.levelno >= least or (ours and not quiet)

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(wanted)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", handlers=[handler])
    # Lightning has a handler of its own, which our filters do not reach, and advertises through it.
    logging.getLogger("lightning.pytorch").setLevel(least)


def _show(command: str, result: Any, arguments: dict[str, Any]) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 110)  # a file or a pipe has no edge to keep to
    if command == "ground":
        from tips_med.exporters.answers_table import answers_table

        console.print(answers_table(result))
        for answer in result:
            console.print(answer.sentence, markup=False, highlight=False)
        for note in result[0].scan.provenance.notes:
            console.print(f"Note: {note}", markup=False, highlight=False)
        console.print(f"Written to {arguments['out']}", markup=False, highlight=False)
    elif command == "compare":
        from tips_med.exporters.comparison.table import comparisons_table

        console.print(comparisons_table(result, result.days_between))
        for one in result:
            console.print(one.sentence, markup=False, highlight=False)
        for note in dict.fromkeys([*result.notes, *(note for one in result for note in one.notes)]):
            console.print(f"Note: {note}", markup=False, highlight=False)
        console.print(f"Written to {arguments['out']}", markup=False, highlight=False)
    elif command == "inspect":
        import json

        from tips_med.exporters.inspection_table import inspection_table

        if arguments.get("json"):
            sys.stdout.write(json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
        else:
            console.print(inspection_table(result))
    elif command == "search":
        import json

        from tips_med.archive.results import results_table, to_dict

        if arguments.get("json"):
            content = to_dict(result.found, result.files)
            sys.stdout.write(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        else:
            console.print(results_table(result.found, result.files))
    elif command == "suggest":
        import json

        from tips_med.suggestion.table import suggestions_table

        if arguments.get("json"):
            sys.stdout.write(json.dumps(result.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        else:
            console.print(suggestions_table(result))
            if arguments.get("out"):
                console.print(f"Manifest to fill in: {arguments['out']}", markup=False, highlight=False)
    elif command == "what":
        import json

        from tips_med.exporters.identification import identification_entry, identification_table

        if arguments.get("json"):
            sys.stdout.write(json.dumps(identification_entry(result), indent=2, ensure_ascii=False) + "\n")
        else:
            console.print(identification_table(result))
            console.print(result.sentence, markup=False, highlight=False)
    elif command == "completion":
        sys.stdout.write(f"{result}\n")
    elif command == "doctor":
        import json

        from tips_med.doctor.table import doctor_table

        if arguments.get("json"):
            sys.stdout.write(json.dumps(result.to_dict(), indent=2, ensure_ascii=False) + "\n")
        else:
            console.print(doctor_table(result))
    elif command == "benchmark":
        import json

        from tips_med.benchmarking.table import benchmark_table

        if arguments.get("json"):
            sys.stdout.write(json.dumps(result.to_dict(), indent=1) + "\n")
        else:
            console.print(benchmark_table(result))
            if arguments.get("out"):
                console.print(f"Written to {arguments['out']}", markup=False, highlight=False)
    elif command != "mcp":  # whose standard output belongs to the protocol
        console.print(str(result), markup=False, highlight=False)


def _spelled(arguments: Sequence[str], command: str | None) -> list[str]:
    """Options in either spelling: ``--receive-port`` as well as ``--receive_port``, which the parser knows."""
    if command is None:
        return list(arguments)
    parameters = signatures.signature(pipeline(command)).parameters.values()
    known = {"--" + p.name.replace("_", "-"): "--" + p.name for p in parameters if p.default is not False}
    pairs = (argument.partition("=") for argument in arguments)
    return [known.get(name, name) + equals + value for name, equals, value in pairs]


def _named_configs(arguments: Sequence[str]) -> list[str]:
    """Replaces ``--config NAME`` by the path of the configuration of that name."""
    out: list[str] = []
    for n, argument in enumerate(arguments):
        if n and arguments[n - 1] == "--config":
            out.append(_config(argument))
        elif argument.startswith("--config="):
            out.append("--config=" + _config(argument.removeprefix("--config=")))
        else:
            out.append(argument)
    return out


def _config(name: str) -> str:
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise ConfigError("no such file", path=name, expected="a YAML file, or a known name such as chest_ct")
        return name
    return str(config_path("", name))


if __name__ == "__main__":
    sys.exit(main())
