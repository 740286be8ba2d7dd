"""The words of the benchmark: a row has sides, a side takes shots, and a shot is one figure with its facts."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Run:
    """What was asked for on the command line."""

    kind: str = "cbr128"
    rounds: int = 3
    seconds: float = 3.0  # a shot of small requests lasts this long
    big: int = 1 << 30
    huge: int = 1 << 31
    settings: dict[str, str] = field(default_factory=dict)  # of ours


@dataclass(frozen=True)
class Shot:
    value: float
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Side:
    label: str
    shoot: Callable[[], Shot]


@dataclass(frozen=True)
class Target:
    """Of a ratio: at least this. Of an absolute row or a ratio of costs: at most this."""

    least: float
    moonshot: float


@dataclass(frozen=True)
class Row:
    """Ours is the first side. ``targets`` go by the peer's label; in an absolute row by the side's own.

    ``also`` names facts of the shots that are printed like values of their own.
    """

    name: str
    title: str
    unit: str
    open: Callable[[], AbstractContextManager[list[Side]]]
    targets: dict[str, Target] = field(default_factory=dict)
    is_absolute: bool = False
    is_cost: bool = False  # less is better
    also: tuple[str, ...] = ()


@dataclass
class Result:
    row: Row
    shots: dict[str, list[Shot]] = field(default_factory=dict)
    error: str = ""

    @property
    def ours(self) -> str:
        return next(iter(self.shots))

    def peers(self) -> list[str]:
        return list(self.shots)[1:]

    def value(self, label: str) -> float:
        return median(shot.value for shot in self.shots[label])

    def fact(self, label: str, name: str) -> float | None:
        """The median of a fact, if the shots of this side have it."""
        values = [shot.facts[name] for shot in self.shots[label] if name in shot.facts]
        return median(values) if values else None

    def ratio(self, peer: str) -> float:
        """The median of the rounds' own ratios: what slows a round slows both of its sides."""
        pairs = zip(self.shots[self.ours], self.shots[peer], strict=True)
        return median(ours.value / theirs.value for ours, theirs in pairs)

    def raw(self) -> dict[str, Any]:
        shots = {label: [{"value": s.value, **s.facts} for s in shots] for label, shots in self.shots.items()}
        answer: dict[str, Any] = {"title": self.row.title, "unit": self.row.unit, "shots": shots}
        if self.error:
            return {**answer, "error": self.error}
        answer["medians"] = {label: self.value(label) for label in self.shots}
        if not self.row.is_absolute:
            answer["ratios"] = {peer: self.ratio(peer) for peer in self.peers()}
        return answer


def measure(row: Row, rounds: int) -> Result:
    """Alternating rounds: every side once, then every side again in the opposite order."""
    result = Result(row)
    with row.open() as sides:
        for side in sides:
            result.shots[side.label] = []
        for number in range(1 if row.is_absolute else rounds):
            for side in reversed(sides) if number % 2 else sides:
                result.shots[side.label].append(side.shoot())
    return result
