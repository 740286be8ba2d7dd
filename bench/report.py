"""The table for people and the JSON for later."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.ours import RAISED, Ours
from bench.paths import RESULTS
from bench.peers.cheat_sheet import CheatSheet
from bench.peers.fastapi import FastApi
from bench.peers.nginx import Nginx
from bench.peers.tus_node import TusNode
from bench.row import Result, Run, Target

_WIDTHS = (50, 26, 10, 10, 7, 18)


def print_preface(run: Run, machine: dict[str, Any]) -> None:
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory']}, load {machine['load_average'][0]:.2f}")
    print(f"content {run.kind}; medians of {run.rounds} alternating round(s); a fresh server for every upload shot")
    print("\nWhat is on:")
    for server in (Ours, Nginx, FastApi, CheatSheet, TusNode):
        print(f"  {server.name:12} {server.work}")
    raised = " ".join(f"{name}={value}" for name, value in {**RAISED, **run.settings}.items())
    print(f"  settings of ours: {raised}\n")
    print(_line("row", "peer", "ours", "peer", "ratio", "target"))
    print(_line(*("-" * (width - 1) for width in _WIDTHS)))


def print_result(result: Result) -> None:
    title = f"{result.row.title} ({result.row.unit})"
    if result.error:
        print(f"{title:{_WIDTHS[0]}} FAILED: {result.error}")
        return
    if not result.shots:
        print(f"{title:{_WIDTHS[0]}} not measured")
        return
    if result.row.is_absolute:
        for label in result.shots:
            value = result.value(label)
            verdict = _verdict(value, result.row.targets.get(label), is_upper=True)
            print(_line(title, label, _number(value), "", "", verdict))
            title = ""
        return
    for peer in result.peers():
        ratio = result.ratio(peer)
        verdict = _verdict(ratio, result.row.targets.get(peer), is_upper=result.row.is_cost)
        figures = _number(result.value(result.ours)), _number(result.value(peer))
        print(_line(title, peer, *figures, f"{ratio:.2f}", verdict))
        title = ""
    _print_facts(result)
    if not result.peers():
        print(_line(title, "", _number(result.value(result.ours)), "", "", ""))


def _print_facts(result: Result) -> None:
    for name in result.row.also:
        ours = result.fact(result.ours, name)
        for peer in result.peers():
            theirs = result.fact(peer, name)
            if ours is not None and theirs is not None:
                print(_line(f"  {name}", peer, _number(ours), _number(theirs), "", ""))


def print_lag(results: list[Result]) -> None:
    """The longest block of the event loop that ours told of in any row."""
    lags = [
        (shot.facts["max_lag_s"], result.row.name)
        for result in results
        for shots in result.shots.values()
        for shot in shots
        if shot.facts.get("max_lag_s") is not None
    ]
    if lags:
        worst, name = max(lags)
        print(f"\nevent loop: longest block in all rows {worst * 1000:.0f} ms, in {name} (target 50, moonshot 10)")
    else:
        print("\nevent loop: no figure, the service does not tell yarrr_event_loop_lag_seconds")


def save(run: Run, machine: dict[str, Any], results: list[Result]) -> Path:
    now = datetime.now(UTC)
    path = RESULTS / f"{now:%Y-%m-%dT%H-%M-%S}.json"
    figures = {
        "at": now.isoformat(timespec="seconds"),
        "machine": machine,
        "run": {**vars(run), "raised": RAISED},
        "rows": {result.row.name: result.raw() for result in results},
    }
    path.write_text(json.dumps(figures, indent=1))
    return path


def _line(*cells: str) -> str:
    left = "".join(f"{cell:{width}}" for cell, width in zip(cells[:2], _WIDTHS, strict=False))
    right = "".join(f"{cell:>{width}}" for cell, width in zip(cells[2:5], _WIDTHS[2:], strict=False))
    return f"{left}{right}  {cells[5]}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _verdict(value: float, target: Target | None, is_upper: bool = False) -> str:
    if target is None:
        return ""
    sign = "<=" if is_upper else ">="

    def holds(bound: float) -> bool:
        return value <= bound if is_upper else value >= bound

    if holds(target.moonshot):
        return f"moonshot ({sign} {target.moonshot:g})"
    if holds(target.least):
        return f"met ({sign} {target.least:g})"
    return f"BELOW ({sign} {target.least:g})" if not is_upper else f"ABOVE ({sign} {target.least:g})"
