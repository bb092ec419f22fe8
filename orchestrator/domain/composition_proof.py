"""Proofs that a device lets through nothing but what the layer and the site's own rules both let.

`prove` knows the device's program and the site's rules, and compares exact sets.

`prove_form` knows neither the site's rules nor the pinholes, and needs not. A program asks two things about a packet:
whether it lies in a pinhole, and what the site's own list says of it (`narrowed` shows it for `intersection`, line by
line; every other program holds that list as it is). So what becomes of a packet, whatever the layer and the site, is
what becomes of it under a layer of everything or of nothing, and a site that lets everything through or nothing: four
cases. If in each of them exactly layer ∩ site passes, it does for every layer and every site. A plan needs no more than
that, and that the pinholes on each device are within the flows that it names: `prove_openings`.

`close-only` cannot be proved on one device: released, it lets through whatever the site does. It is proved on the
cables instead, by the flow devices that stand behind it (`release_proof`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from orchestrator.domain.composition import Composition
from orchestrator.domain.composition_programs import ANY_SITE, EVERYTHING, NO_SITE, Program, passes, program_of
from orchestrator.domain.layer import Element
from orchestrator.domain.packet_elements import packets_of
from orchestrator.domain.packets import PacketSet
from orchestrator.domain.rule_lists import accepted
from orchestrator.errors import Refused

MOST_TOLD = 5  # boxes in a refusal


def prove(program: Program, layer: PacketSet, site: PacketSet, *, device: str, exact: bool = True) -> PacketSet:
    """What the device lets through: within layer ∩ site, and with `exact` equal to it.

    Raises Refused (rule `composition`) with the boxes that are too many, or too few.
    """
    result, allowed = passes(program), layer & site
    for beyond, whom in ((result - layer, "the layer"), (result - site, "the site's own rules")):
        if beyond:
            raise Refused(
                f"{device} would let through what {whom} must stop: {_told(beyond)}",
                rule="composition",
                advice="nothing was sent; read the device back, and compare what stands before and after our lines with docs/devices.md",
            )
    if exact and result != allowed:
        raise Refused(
            f"{device} would stop what the layer and the site's own rules both let through: {_told(allowed - result)}",
            rule="composition",
            advice="nothing was sent; the rendered rules are narrower than the plan, so the stage would not pass its probes",
        )
    return result


@cache
def prove_form(composition: Composition) -> None:
    """For every layer and every site, exactly layer ∩ site passes. Raises Refused (rule `composition`)."""
    for layer in (), EVERYTHING:
        for site in NO_SITE, ANY_SITE:
            program = program_of(composition, layer, site)
            prove(program, PacketSet(layer), accepted(site), device=f"a device that composes by {composition.value}")


def prove_openings(
    openings: Mapping[str, Sequence[Element]], named: Mapping[str, Sequence[Element]], composition_of: Callable[[str], Composition]
) -> None:
    """For every device that gets pinholes: with any rules of its own, it lets through nothing more than the flows that
    the stage names (`named`, as this device sees them). Raises Refused (rule `composition`)."""
    for device, elements in openings.items():
        composition = composition_of(device)
        if composition is Composition.CLOSE_ONLY:
            raise Refused(
                f"{device} closes whole: it holds no pinholes, and the stage would open {len(elements)} on it",
                rule="composition",
                advice="cut it whole (docs/policy.md, profiles), with a flow device behind it that keeps the flows",
            )
        prove_form(composition)
        own = {id(element) for element in named.get(device, ())}
        cut = [element for element in elements if id(element) not in own]  # what the plan has made anew, beside what passes already
        if beyond := packets_of(cut) - packets_of(named.get(device, ())) if cut else PacketSet():
            raise Refused(
                f"{device} would let through what no flow of the stage names: {_told(beyond)}",
                rule="composition",
                advice="nothing was sent; report this with the plan: its elements and its flows do not agree",
            )


def _told(packets: PacketSet) -> str:
    boxes = packets.summary()
    more = f" and {len(boxes) - MOST_TOLD} more" if len(boxes) > MOST_TOLD else ""
    return "; ".join(box.describe() for box in boxes[:MOST_TOLD]) + more
