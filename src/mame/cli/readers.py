"""`mam-e readers`: reader studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mame.cli import options
from mame.cli.output import progress
from mame.errors import MameError

commands = typer.Typer(help="Reader studies: how many readers, and what their answers show.", rich_markup_mode=None)


@commands.command("new")
def new(
    real: Annotated[
        Path | None, typer.Argument(metavar="REAL", help="A prepared set of real mammograms.", show_default=False)
    ] = None,
    synthetic: Annotated[
        Path | None, typer.Argument(metavar="SYNTHETIC", help="A cohort, or a prepared set.", show_default=False)
    ] = None,
    study: Annotated[
        Path | None, typer.Argument(metavar="STUDY", help="Folder for the study.", show_default=False)
    ] = None,
    kind: Annotated[str, typer.Option(metavar="real|lesion|choice|mark", help="What readers are asked.")] = "real",
    images: Annotated[int, typer.Option(help="Images of each kind, or pairs.")] = 28,
    repeats: Annotated[int, typer.Option(help="Cases that every reader sees twice.")] = 0,
    readers: Annotated[int, typer.Option(help="How many are to read it.")] = 1,
    seed: options.Seed = 0,
    margin: Annotated[float, typer.Option(help="Of equivalence with guessing; fixed now, before anybody reads.")] = 0.1,
    power: Annotated[
        bool, typer.Option("--power", help="Only say how many readers and images the margin needs.")
    ] = False,
    force: options.Force = False,
) -> None:
    """Draw a balanced, blinded, matched study.

    No patient twice; each synthetic picture beside a real one of the same view, density and vendor as far as there is
    one. Prints how well the pictures match, and the folder.
    """
    from mame.assess.readers.study import Kind, new_study, read_key
    from mame.mammogram import closed

    if power:
        needed(margin, most=max(readers, 10))
        return
    if real is None or synthetic is None or study is None:
        raise MameError("give REAL, SYNTHETIC and STUDY: two prepared sets, and a folder for the study")
    new_study(
        real, synthetic, study, kind=closed(Kind, kind, "kind"), images=images, repeats=repeats, readers=readers,
        seed=seed, margin=margin, force=force,
    )  # fmt: skip
    key = read_key(study).values()
    for word in ("lesion", "view", "density", "vendor") if kind == "lesion" else ("view", "density", "vendor", "side"):
        print(f"{word}: the same in {sum(word in one.matched for one in key)} of {len(key)}")
    print(study)


@commands.command("serve")
def serve(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="A study that `new` has drawn.")],
    host: options.Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 8765,
    new_links: Annotated[
        bool, typer.Option("--new-links", help="Give out new links; the old ones end, answers stay.")
    ] = False,
    certificate: options.Certificate = None,
    key: options.Key = None,
) -> None:
    """The reading room: a page for each reader of the study.

    Prints a link for each reader, once: links are kept as hashes. Readers may read at the same time, stop, and go on
    where they were; an answer is on the disk before the next picture is shown, and can't be changed.
    """
    from mame.assess.readers.store import AnswerStore

    store = AnswerStore(study)
    from mame.web.server import address_of, free_port, is_loopback, needs_studio, run

    with needs_studio("the reading room"):
        from mame.web.room.app import pyramids, room
    with progress("making ready", "pictures") as tell:
        pictures = pyramids(study, tell)
    port = free_port(host, port)
    address = address_of(host, port, certificate)
    if new_links or not store.has_tokens():
        for number, token in enumerate(store.make_tokens(), start=1):
            print(f"reader {number}: {address}#{token}", flush=True)
    else:
        print(f"{address}: the links given out before still hold; --new-links makes new ones", flush=True)
    if not is_loopback(host) and certificate is None:
        print("not encrypted: give --certificate and --key where others share the network", flush=True)
    run(room(study, host, pictures), host, port, certificate, key)


@commands.command("analyse")
def analyse(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="A study, as far as it has been read.", show_default=False)
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Columns reader, case, truth, score; modality and seconds if any."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for analysis.json and analysis.html: of a study its own.")
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Test equivalence with guessing within this margin; a study has its own, fixed before."),
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Curves, intervals, comparison and agreement of readers' answers.

    Each reader's AUROC with DeLong's interval; several readers by Obuchowski and Rockette, readers and cases random;
    kappa between readers. Prints what it shows and the page's path.
    """
    from mame.assess.readers.analysis import analyse_study, analyse_table
    from mame.assess.readers.report import JSON, verdicts, write_analysis

    if (study is None) == (answers is None):
        raise MameError("give a study, or a table with --answers")
    if study is not None:
        if margin is not None:
            raise MameError("the study's margin was fixed before it was read; --margin is for tables")
        found, place = analyse_study(study), out or study
    else:
        assert answers is not None
        if out is None:
            raise MameError("say with --out where the result goes")
        found, place = analyse_table(answers, margin), out
    page = write_analysis(found, place, force, study)
    if json:
        print((place / JSON).read_text(), end="")
        return
    for line in found.readers:
        where = f" in {line['modality']}" if line["modality"] else ""
        print(f"{line['reader']}{where}: AUROC {line['auc']:.3f} ({line['low']:.3f} to {line['high']:.3f})")
    for said in [*verdicts(found), *found.notes]:
        print(said)
    print(page)


@commands.command("power")
def needed(
    margin: Annotated[float, typer.Option(help="Equivalence with guessing within this margin of AUROC.")] = 0.1,
    wanted: Annotated[float, typer.Option("--power", help="Chance of showing it where it is so.")] = 0.8,
    most: Annotated[int, typer.Option("--readers", help="Up to this many readers.")] = 10,
) -> None:
    """Images that a study needs, for each number of readers, before it is drawn."""
    from mame.assess.readers.power import images_needed

    needs = [images_needed(readers, margin, wanted) for readers in range(1, most + 1)]
    print("readers  images of each kind")
    for readers, need in enumerate(needs, start=1):
        print(f"{readers:7d}  {need.images_a_class if need else 'more than 5000'}")
