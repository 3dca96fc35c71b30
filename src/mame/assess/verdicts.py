"""The answers in plain words: one verdict a question, from the figures of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mame.assess.run import SMALL

GOOD, FAIR, BAD, UNKNOWN = "good", "fair", "bad", "unknown"


@dataclass(frozen=True)
class Verdict:
    """A question, how it stands, and why, in words."""

    question: str
    grade: str
    text: str


def verdicts(said: dict[str, Any]) -> list[Verdict]:
    """From the report's data (see `report.as_json`)."""
    found = [_looks(said), _apart(said), _varied(said), _obeys(said), _copied(said), _painted(said)]
    counts = said["counts"]
    if min(counts["real"], counts["synthetic"]) < SMALL:
        found.insert(
            0,
            Verdict(
                "Are there enough pictures?",
                FAIR,
                f"{counts['real']} real and {counts['synthetic']} synthetic pictures are few: intervals are wide, and "
                "small differences stay hidden.",
            ),
        )
    return found


def _looks(said: dict[str, Any]) -> Verdict:
    question = "Do they look real?"
    kid, frd = said["fidelity"]["kid_mammogram"], said["fidelity"]["frd"]
    if kid["value"] is None or kid["low"] is None:
        return Verdict(question, UNKNOWN, "Too few pictures to say.")
    leaning = " FRD is unreliable with so few pictures; this leans on KID." if frd.get("notes") else ""
    usual = max(kid["floor"] or 0.0, 0.0)
    slope = said["fidelity"]["spectrum_slope"]["value"]
    texture = ""
    if slope is not None and abs(slope) > 2 * abs(said["fidelity"]["spectrum_slope"]["floor"] or 0.0):
        texture = (
            f" Their spectrum falls {'more steeply' if slope > 0 else 'less steeply'} than real tissue's "
            f"({slope:+.2f} in the exponent): they are {'smoother' if slope > 0 else 'rougher'}."
        )
    numbers = f"KID {kid['value']:.3g} ({kid['low']:.3g} to {kid['high']:.3g}); real pictures score {usual:.2g}."
    if kid["low"] <= usual:
        return Verdict(question, GOOD, f"Not told from real ones by their features. {numbers}{texture}{leaning}")
    near = kid["value"] < 10 * max(usual, 0.01)
    text = "Near to real ones, but not among them." if near else "Clearly different from real ones."
    return Verdict(question, FAIR if near else BAD, f"{text} {numbers}{texture}{leaning}")


def _apart(said: dict[str, Any]) -> Verdict:
    question = "Can a machine tell them apart?"
    auroc, power = said["told_apart"]["auroc"], said["told_apart"]["power"]
    if auroc["value"] is None or auroc["low"] is None:
        return Verdict(question, UNKNOWN, "Too few pictures or patients to say.")
    numbers = f"AUROC {auroc['value']:.2f} ({auroc['low']:.2f} to {auroc['high']:.2f}), 0.5 where they can't be."
    if not said["told_apart"]["has_power"]:
        shown = "unknown" if power["value"] is None else f"{power['value']:.2f}"
        text = f"{numbers} But phantoms are told from these real pictures with {shown} only: it has no power here."
        return Verdict(question, UNKNOWN, text)
    if auroc["low"] <= 0.55:
        return Verdict(question, GOOD, f"Hardly. {numbers}")
    grade = FAIR if auroc["value"] < 0.8 else BAD
    return Verdict(question, grade, f"{'Often' if grade == FAIR else 'Nearly always'}. {numbers}")


def _varied(said: dict[str, Any]) -> Verdict:
    question = "Are they varied?"
    likeness, recall = said["variety"]["ms_ssim"], said["variety"]["recall"]
    parts, grade = [], GOOD
    if likeness["value"] is not None:
        usual = likeness["floor"]
        parts.append(
            f"Two of one prompt are alike by MS-SSIM {likeness['value']:.2f}"
            + (f"; two real ones by {usual:.2f}." if usual is not None else ".")
        )
        if usual is not None and likeness["low"] is not None and likeness["low"] > usual + 0.05:
            grade = FAIR
    if recall["value"] is not None:
        among = "" if recall["floor"] is None else f" (real ones of each other: {recall['floor']:.0%})"
        parts.append(f"They reach {recall['value']:.0%} of the real ones{among}.")
        if recall["floor"] is not None and recall["value"] < 0.5 * recall["floor"]:
            grade = BAD if recall["value"] < 0.2 * recall["floor"] else FAIR
    return Verdict(question, grade if parts else UNKNOWN, " ".join(parts) or "Too few pictures to say.")


def _obeys(said: dict[str, Any]) -> Verdict:
    question = "Do they do what the prompt said?"
    asked = {
        name: judged for name, judged in said["adherence"].items() if isinstance(judged, dict) and "network" in judged
    }
    if not asked:
        return Verdict(question, UNKNOWN, "What was asked is not known.")
    told, worst = [], 1.0
    for name, judged in asked.items():
        shares = {
            judge: found["accuracy"]["value"]
            for judge, found in judged.items()
            if found["accuracy"]["value"] is not None
        }
        if not shares:
            continue
        told.append(f"{name} {' and '.join(f'{share:.0%} by {judge}' for judge, share in shares.items())}")
        worst = min(worst, max(shares.values()))
    if not told:
        return Verdict(question, UNKNOWN, "Too few pictures to say.")
    rank = said["adherence"]["density_rank_correlation"]["value"]
    if rank is not None:
        told.append(f"density asked against measured: rank correlation {rank:.2f}")
    grade = GOOD if worst >= 0.8 else FAIR if worst >= 0.6 else BAD
    trust = {
        name: figure["value"]
        for name, figure in said["adherence"]["reader_on_real"].items()
        if figure["value"] is not None
    }
    judge = (
        " The network itself reads labelled real pictures right: "
        + ", ".join(f"{name} {share:.0%}" for name, share in trust.items())
        + "."
        if trust
        else " How well the network reads these real pictures is not known; its card says how it reads others."
    )
    return Verdict(question, grade, f"{'; '.join(told).capitalize()}.{judge}")


def _copied(said: dict[str, Any]) -> Verdict:
    question = "Do they copy patients?"
    copies = said["copies"]
    if copies is None:
        return Verdict(question, UNKNOWN, "There were no training pictures to compare with.")
    excess, controls = copies["excess_rate"], copies["controls"]
    caught = ", ".join(f"{name} {share:.0%}" for name, share in controls.items())
    if copies["identical"]:
        text = f"{copies['identical']} of them are, to the byte, training pictures. Look at the pairs below."
        return Verdict(question, BAD, text)
    if not copies["has_power"]:
        return Verdict(question, UNKNOWN, f"The test has no power: of changed training pictures it caught {caught}.")
    rate = copies["rate"]["value"]
    if excess["value"] is None or rate is None:
        return Verdict(question, UNKNOWN, "Too few pictures to say.")
    others = (
        "99 % of held-out patients' are"
        if copies["threshold_from"] == "held_out"
        else "99 % of other training pictures are (nobody was held out)"
    )
    between = "" if excess["low"] is None else f" ({excess['low']:+.1%} to {excess['high']:+.1%})"
    numbers = (
        f"{rate:.1%} are nearer to a training picture than {others}; in excess {excess['value']:+.1%}{between}. Of "
        f"changed training pictures it caught: {caught}."
    )
    if excess["low"] is None:
        return Verdict(question, UNKNOWN, f"Too few patients to say. {numbers}")
    if excess["low"] > 0:
        return Verdict(question, BAD, f"Some do, more than chance. {numbers} Look at the pairs below.")
    grade = GOOD if excess["high"] < 0.05 else FAIR
    return Verdict(question, grade, f"None was found beyond chance. {numbers}")


def _painted(said: dict[str, Any]) -> Verdict:
    question = "Do painted lesions look like real ones?"
    lesions = said["lesions"]
    if lesions is None:
        return Verdict(question, UNKNOWN, "Not asked: see what was not tested.")
    apart, seam, pasted = lesions["told_apart"], lesions["seam"], lesions["seam_of_copy_and_paste"]
    text = []
    grade = GOOD
    if apart["value"] is not None and apart["low"] is not None:
        text.append(f"Told from real ones with AUROC {apart['value']:.2f} ({apart['low']:.2f} to {apart['high']:.2f}).")
        grade = GOOD if apart["low"] <= 0.55 else FAIR if apart["value"] < 0.8 else BAD
    if seam["value"] is not None and pasted["value"] is not None:
        text.append(
            f"The outline is {seam['value']:+.2f} steeper than that of real lesions; copy and paste makes "
            f"{pasted['value']:+.2f}."
        )
    contrast = lesions["contrast"]["value"]
    if contrast is not None:
        text.append(f"Contrast {contrast:+.3f} against real lesions'.")
    return Verdict(question, grade if text else UNKNOWN, " ".join(text) or "Too few lesions to say.")
