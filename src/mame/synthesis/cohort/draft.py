"""A plan with everything that has to be known before it runs: models, backgrounds, orders. What can't be is refused."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mame.dataset.layout import json_line
from mame.dataset.picture import Framing
from mame.dataset.plan import Options
from mame.dataset.pseudonyms import Pseudonyms
from mame.diffusion.folders import ModelCard, is_inpainting, model_folder, picture_size, read_card, weights_hash
from mame.errors import MameError
from mame.mammogram import COARSEST_CALCIFICATION_MM, LesionKind
from mame.synthesis.cohort.backgrounds import Background, Pool, coarse, give_out, open_pool
from mame.synthesis.cohort.deal import Order, deal, fingerprint
from mame.synthesis.plan import Plan


@dataclass(frozen=True)
class Draft:
    """A plan that can run. pool: None where backgrounds are generated. size: of the prepared pictures.

    maker, painter: names of the models that make pictures and paint lesions, None where none is needed.
    """

    plan: Plan
    orders: Sequence[Order]
    pool: Pool | None
    maker: str | None
    painter: str | None
    options: Options

    def background(self, order: Order) -> Background | None:
        """The real mammogram that an order is painted into."""
        return None if self.pool is None or order.background is None else self.pool.found[order.background]

    def facts(self) -> dict[str, Any]:
        """What makes a cohort this one and no other, in values JSON can hold."""
        models = {Path(name).name: weights_hash(model_folder(name)) for name in (self.maker, self.painter) if name}
        said = {"plan": self.plan.without_paths(), "deal": fingerprint(self.orders), "models": models}
        if self.pool is not None:
            digest = hashlib.sha256()
            for one in self.pool.found:
                digest.update(f"{one.source}\0{one.name}\0{one.patient}\0{one.shape}\n".encode())
            said["backgrounds"] = digest.hexdigest()[:16]
        return json.loads(json_line(said))  # type: ignore[no-any-return]


def draft(plan: Plan, pseudonyms: Pseudonyms | None = None) -> Draft:
    """The draft of a plan. pseudonyms: for the patients of a DICOM folder as background.

    Raises MameError for an unknown model or vendor, a kind of lesion that the model does not paint, a place without
    healthy mammograms, and calcifications where the background can't resolve them.
    """
    maker, painter = _models(plan)
    orders = deal(plan)
    if plan.background is None:
        assert maker is not None
        folder = model_folder(maker)
        card, size = read_card(folder), picture_size(folder)
        _check_vendors(plan, maker, card)
        _check_calcifications(plan, card.spacing_mm(size))
        _check_kinds(plan, painter)
        framing = Framing(str(card.frame))
        return Draft(plan, orders, None, maker, painter, _options(plan, size, framing))
    pool = open_pool(plan.background, pseudonyms)
    given = give_out(plan, orders, pool)
    _check_kinds(plan, painter)
    return Draft(plan, given, pool, None, painter, _options(plan, pool.size, pool.framing))


def _models(plan: Plan) -> tuple[str | None, str | None]:
    """(the model that makes pictures, the one that paints lesions), None for what is not needed."""
    folder = model_folder(plan.model)
    companion = read_card(folder).companion
    paints = is_inpainting(folder)
    maker = None if plan.background else (companion if paints else plan.model)
    if plan.background is None and maker is None:
        raise MameError(
            f"model: {plan.model!r} only paints lesions into mammograms; give backgrounds, or another model"
        )
    painter = plan.lesion_model or (plan.model if paints or companion is None else companion)
    if not plan.lesions.share:
        return _absolute(maker), None
    model_folder(painter)
    return _absolute(maker), _absolute(painter)


def _absolute(name: str | None) -> str | None:
    """A model's folder by its whole path, so that a worker elsewhere finds it; a name stays a name."""
    return os.path.abspath(name) if name is not None and Path(name).is_dir() else name


def _check_kinds(plan: Plan, name: str | None) -> None:
    learned = read_card(model_folder(name)).lesions if name is not None else ()
    known = (*learned, LesionKind.LESION)  # the general word goes with every model
    unknown = [kind for kind, share in plan.lesions.kinds.items() if share and learned and kind not in known]
    if unknown:
        raise MameError(
            f"lesions.kinds: model {name!r} paints {', '.join(learned)}, not {unknown[0]}; name another as lesion_model"
        )


def _check_vendors(plan: Plan, name: str, card: ModelCard) -> None:
    unknown = sorted(set(plan.vendor or ()) - set(card.vendors)) if card.vendors else []
    if unknown:
        raise MameError(f"vendor: model {name!r} knows {', '.join(card.vendors)}, not {unknown[0]!r}")


def _check_calcifications(plan: Plan, spacing_mm: float | None) -> None:
    wanted = plan.lesions.share > 0 and plan.lesions.kinds.get(LesionKind.CALCIFICATIONS, 0) > 0
    if wanted and (spacing_mm is None or spacing_mm > COARSEST_CALCIFICATION_MM):
        raise MameError(coarse(spacing_mm))


def _options(plan: Plan, size: int, framing: Framing) -> Options:
    return Options("synthetic", size=size, framing=framing, seed=plan.seed)
