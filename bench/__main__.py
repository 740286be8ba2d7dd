"""``python -m bench``: the service and its peers, side by side; exit code 1 when a row failed."""

import argparse
import shutil
import sys
import traceback
from dataclasses import replace

from bench import (
    analyse,
    beside,
    content,
    downloads,
    listing,
    machine,
    memory,
    parts,
    paths,
    report,
    resume,
    same,
    search,
    tools,
    uploads,
)
from bench.client import ClientFailed
from bench.row import Result, Row, Run, measure
from bench.server import ServerFailed


def main() -> int:
    arguments = _parse()
    run = Run(
        kind=arguments.kind,
        rounds=arguments.rounds or (1 if arguments.quick else 3),
        settings=dict(pair.split("=", 1) for pair in arguments.env),
    )
    if arguments.quick:
        run = replace(run, seconds=1.0, big=256 << 20, huge=512 << 20)
    all_rows = [
        *uploads.rows(run),
        *resume.rows(run),
        *downloads.rows(run),
        *listing.rows(run),
        *search.rows(run),
        *memory.rows(run),
        *parts.rows(run),
        *analyse.rows(run),
        *beside.rows(run),
        *same.rows(run),
    ]
    if arguments.list:
        print("\n".join(f"{row.name:16} {row.title}" for row in all_rows))
        return 0
    rows = [row for row in all_rows if _is_chosen(row, arguments.only, arguments.skip)]
    if not rows:
        print(f"no row is called {' or '.join(arguments.only)}; --list names them", file=sys.stderr)
        return 2
    paths.make_all()
    try:
        tools.require()
    except tools.Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    tools.build_load_client()
    return _run(run, rows)


def _run(run: Run, rows: list[Row]) -> int:
    facts = machine.facts()
    report.print_preface(run, facts)
    results = []
    try:
        for row in rows:
            results.append(_measure(row, run.rounds))
            report.print_result(results[-1])
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("\ninterrupted: the rows so far are kept", file=sys.stderr)
    finally:
        _clean_up()
    report.print_lag(results)
    print(f"raw figures: {report.save(run, facts, results).relative_to(paths.PROJECT)}")
    return 1 if any(result.error for result in results) else 0


def _measure(row: Row, rounds: int) -> Result:
    """A row that fails says so and lets the others go on."""
    try:
        return measure(row, rounds)
    except (ClientFailed, ServerFailed) as error:
        return Result(row, error=str(error))
    except Exception as error:
        traceback.print_exc()
        return Result(row, error=repr(error))


def _clean_up() -> None:
    shutil.rmtree(paths.DATA, ignore_errors=True)
    for path in paths.CONTENT.iterdir():
        if path.is_file() and path.stat().st_size > 64 << 20:
            path.unlink()


def _is_chosen(row: Row, only: list[str], skip: list[str]) -> bool:
    is_wanted = not only or any(row.name.startswith(name) for name in only)
    return is_wanted and not any(row.name.startswith(name) for name in skip)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds a row (3; with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="short shots, 256 MiB for 1 GiB, one round")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="rows whose name starts like this")
    parser.add_argument("--skip", action="append", default=[], metavar="NAME", help="not these")
    parser.add_argument("--list", action="store_true", help="the names of all rows")
    parser.add_argument("--kind", choices=content.KINDS, default="cbr128", help="what the mp3 files are")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="one more setting for ours")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
