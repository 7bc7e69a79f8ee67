"""From samples to tables: medians, spreads and ratios. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

BASE = "nginx"
DIRECT = "direct"
# Past this share of its core the load may be what was measured.
LOAD_IS_FULL = 0.95
# Past this share of the peer's core other work on the machine spoils what was measured.
FOREIGN_IS_MUCH = 0.1
MISSING = "–"  # noqa: RUF001 - a dash for a table


@dataclass(frozen=True, slots=True)
class Figure:
    """A column. `is_added`: what direct had in the same round is taken off."""

    key: str
    title: str
    is_added: bool = False
    has_ratio: bool = True


@dataclass(frozen=True, slots=True)
class Sample:
    """What one peer did in one round.

    `load_busy` is the share of its core that the load used, `foreign` what others than the peer
    took of the peer's core.
    """

    values: Mapping[str, float]
    faults: int = 0
    load_busy: float = 0.0
    foreign: float = 0.0


Round = Mapping[str, Sample]  # by peer


def series(figure: Figure, peer: str, rounds: Sequence[Round]) -> list[float | None]:
    """A peer's values, round by round; None where there is none."""
    return [_value(figure, peer, each) for each in rounds]


def ratio(figure: Figure, peer: str, rounds: Sequence[Round], base: str = BASE) -> float | None:
    """The median of what a peer has to the base, taken within each round."""
    ratios = [
        ours / theirs
        for ours, theirs in zip(
            series(figure, peer, rounds), series(figure, base, rounds), strict=True
        )
        if ours is not None and theirs is not None and theirs > 0
    ]
    return median(ratios) if ratios else None


def table(figures: Sequence[Figure], rounds: Sequence[Round], order: Sequence[str]) -> str:
    """A scenario's table, in Markdown: a row for each peer that has a sample."""
    peers = [peer for peer in order if any(peer in each for each in rounds)]
    has_base = BASE in peers
    rows = [list(_headings(figures, has_base=has_base))]
    rows.append(["---"] + ["---:"] * (len(rows[0]) - 2) + ["---"])
    rows += [list(_row(figures, peer, rounds, has_base=has_base)) for peer in peers]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def number(value: float) -> str:
    """Three digits that say something."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2  # noqa: PLR2004 - powers of ten
    return f"{value:,.{digits}f}"


def _value(figure: Figure, peer: str, samples: Round) -> float | None:
    value = samples[peer].values.get(figure.key) if peer in samples else None
    if value is None or not figure.is_added or peer == DIRECT:
        return value
    below = samples[DIRECT].values.get(figure.key) if DIRECT in samples else None
    return None if below is None else value - below


def _headings(figures: Sequence[Figure], *, has_base: bool) -> Iterator[str]:
    yield "peer"
    for figure in figures:
        yield figure.title
        if has_base and figure.has_ratio:
            yield f"to {BASE}"
    yield "load"
    yield "remarks"


def _row(
    figures: Sequence[Figure], peer: str, rounds: Sequence[Round], *, has_base: bool
) -> Iterator[str]:
    yield peer
    for figure in figures:
        values = [value for value in series(figure, peer, rounds) if value is not None]
        yield _spread(values)
        if has_base and figure.has_ratio:
            yield _ratio(figure, peer, rounds)
    samples = [each[peer] for each in rounds if peer in each]
    busy = median(sample.load_busy for sample in samples)
    yield f"{busy:.0%}" if busy else MISSING
    yield "; ".join(_remarks(figures, peer, samples, len(rounds)))


def _spread(values: Sequence[float]) -> str:
    if not values:
        return MISSING
    middle = number(median(values))
    spread = f"{number(min(values))} to {number(max(values))}"
    return middle if len(values) == 1 else f"{middle} ({spread})"


def _ratio(figure: Figure, peer: str, rounds: Sequence[Round]) -> str:
    # What direct has alone is not what it adds.
    found = None if figure.is_added and peer == DIRECT else ratio(figure, peer, rounds)
    return MISSING if found is None else f"{found:.2f}"


def _remarks(
    figures: Sequence[Figure], peer: str, samples: Sequence[Sample], rounds: int
) -> Iterator[str]:
    faults = sum(sample.faults for sample in samples)
    if faults:
        yield f"**{faults:,} faults**"
    if len(samples) < rounds:
        yield f"failed in {rounds - len(samples)} of {rounds} rounds"
    if peer == DIRECT and any(figure.is_added for figure in figures):
        yield "its own latency"
    if median(sample.load_busy for sample in samples) >= LOAD_IS_FULL:
        yield "the load was the limit"
    disturbed = sum(sample.foreign > FOREIGN_IS_MUCH for sample in samples)
    if disturbed:
        yield f"disturbed in {disturbed} of {rounds} rounds"
