"""Options that several commands have, so that they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[
    Path | None, typer.Option(help="Folder to write to.  [default: mam-e-out/COMMAND-N]", show_default=False)
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is in the folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same images.")]
Steps = Annotated[
    int | None,
    typer.Option(
        help="Sampling steps: more is slower, and finer up to a point.  [default: 24, or 4 with --fast]",
        show_default=False,
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(help="How strongly the prompt is followed; 1 is off.  [default: 4]", show_default=False),
]
Fast = Annotated[bool, typer.Option("--fast", help="In few steps, where the model was taught to.")]
Negative = Annotated[str, typer.Option(help="A prompt of what not to show.")]
Model = Annotated[str, typer.Option(help="An embedded model (see `mam-e models`), a folder, or a hub name.")]
Format = Annotated[str, typer.Option(help="png (16 bit), dicom, or png,dicom.")]
Device = Annotated[
    str | None,
    typer.Option(help="Where to run: cpu, cuda, openvino, …  [default: a GPU where there is one]", show_default=False),
]
Dtype = Annotated[
    str | None,
    typer.Option(help="float32, bfloat16 or float16.  [default: the fastest the device has]", show_default=False),
]
Host = Annotated[str, typer.Option(help="Address to serve on; other than this machine's own, others can reach it.")]
Certificate = Annotated[
    Path | None, typer.Option(metavar="FILE.pem", help="For https, with --key.", show_default=False)
]
Key = Annotated[Path | None, typer.Option(metavar="FILE.pem", help="The certificate's key.", show_default=False)]
