"""The findings of the probe as text or as JSON."""

import json
from collections.abc import Sequence

from gateway.probe.findings import Finding, hop
from gateway.probe.observation import Observation
from gateway.probe.remedies import REMEDIES


def in_words(seen: Observation, found: Sequence[Finding]) -> str:
    """Returns lines of text: what was tested, then each finding with its remedies."""
    plain, name = seen.plain, hop(seen)
    lines = [
        f"{len(plain.times)} events in {plain.span:.1f}s, {plain.held * 1000:.0f} ms late at most",
        f"a silence of {seen.silence:g}s: {_silence(seen)}",
        f"in front: {name}" if name else "in front: nothing that shows",
        "",
    ]
    for finding in found:
        lines.append(f"{'FAULT' if finding.is_fault else 'note '}  {finding.text}")
        lines += [f"         {where}: {remedy}" for where, remedy in REMEDIES[finding.code]]
    faults = sum(finding.is_fault for finding in found)
    verdict = f"{faults} fault{'' if faults == 1 else 's'}" if faults else "Streams come through."
    return "\n".join([*lines, *[""] * bool(found), verdict])


def _silence(seen: Observation) -> str:
    if not seen.was_silent:
        return "could not be tried"
    age = seen.idle.broke_after
    return "passed" if age is None else f"cut after {age:.0f}s"


def as_json(seen: Observation, found: Sequence[Finding]) -> str:
    """Returns the same as one JSON object."""
    return json.dumps(
        {
            "ok": not any(finding.is_fault for finding in found),
            "in_front": hop(seen),
            "held_seconds": round(seen.plain.held, 3),
            "idle_seconds": seen.silence if seen.was_silent else None,
            "idle_cut_after_seconds": seen.idle.broke_after,
            "findings": [
                {
                    "code": finding.code,
                    "fault": finding.is_fault,
                    "text": finding.text,
                    "remedies": dict(REMEDIES[finding.code]),
                }
                for finding in found
            ],
        },
        indent=2,
    )
