"""The two CAD systems, by torchvision: a patch classifier (ResNet-18) and a detector (Faster R-CNN on a ResNet-18 FPN).

Both start from random weights: nothing is downloaded. The detector's start is given, from phantoms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from mame.assess.cad.scenes import Patches, Scene

BATCH = 32
SCENES_A_STEP = 2
RATE, DETECTOR_RATE = 1e-3, 5e-4
DETECTIONS = 20  # of a picture, at most
ANCHORS = (12, 24, 48, 96)  # pixels a side, on rasters of 8, 16, 32 and 64
GROUPS = 16
REGIONS = 64  # of a picture that a step learns from, or that are looked at in the end

Tell = Callable[[int], None]
Draw = Callable[[int, int], NDArray[np.intp]]
"""(step, count) to the numbers of the examples of that step."""


def classifier(seed: int) -> nn.Module:
    """ResNet-18 with one answer."""
    torch.manual_seed(seed)
    return resnet18(weights=None, num_classes=1)


def train_classifier(patches: Patches, draw: Draw, steps: int, seed: int, tell: Tell = lambda step: None) -> nn.Module:
    """Trained from random weights on the patches that `draw` names; mirrored and turned at random."""
    model = classifier(seed).to(memory_format=torch.channels_last)
    pixels = torch.from_numpy(patches.pixels)
    truth = torch.from_numpy(patches.lesion.astype(np.float32))
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    model.train()
    for step in range(steps):
        rng = np.random.default_rng([seed, 41, step])
        chosen = torch.from_numpy(draw(step, BATCH))
        batch = _turned(pixels[chosen], rng)
        loss = nn.functional.binary_cross_entropy_with_logits(model(_three(batch))[:, 0], truth[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        tell(step)
    return model.eval()


@torch.inference_mode()
def classify(model: nn.Module, patches: Patches) -> NDArray[np.float64]:
    """The logit of each patch; higher: surer of a lesion."""
    found = [
        model(_three(torch.from_numpy(patches.pixels[i : i + BATCH])))[:, 0].double().numpy()
        for i in range(0, len(patches), BATCH)
    ]
    return np.concatenate(found) if found else np.zeros(0)


def detector(size: int) -> nn.Module:
    """Faster R-CNN for one kind of thing in pictures of size×size.

    torchvision's ready-made ones look for things of 32 pixels and more on a raster of 32; a mass of 1 cm has 13 pixels
    in 320. So anchors are smaller and the raster is finer here. Groups are normalised, as batches are of two pictures.
    """
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=_group_norm, trainable_layers=5, returned_layers=[2, 3, 4]
    )
    anchors = AnchorGenerator(tuple((side,) for side in ANCHORS), ((0.5, 1.0, 2.0),) * len(ANCHORS))
    return FasterRCNN(
        backbone, num_classes=2, min_size=size, max_size=size, rpn_anchor_generator=anchors,
        box_detections_per_img=DETECTIONS, rpn_batch_size_per_image=REGIONS, box_batch_size_per_image=REGIONS,
        rpn_pre_nms_top_n_train=4 * REGIONS, rpn_post_nms_top_n_train=2 * REGIONS, rpn_pre_nms_top_n_test=4 * REGIONS,
        rpn_post_nms_top_n_test=REGIONS,
    )  # fmt: skip


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(GROUPS, channels)


def train_detector(
    scenes: Sequence[Scene], draw: Draw, steps: int, seed: int, size: int, start: dict[str, Tensor] | None,
    tell: Tell = lambda step: None,
) -> nn.Module:  # fmt: skip
    """Trained on the scenes that `draw` names, from `start` or random weights; mirrored top to bottom at random."""
    torch.manual_seed(seed)
    model = detector(size)
    if start is not None:
        model.load_state_dict(start)
    optimiser = torch.optim.AdamW((one for one in model.parameters() if one.requires_grad), DETECTOR_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, DETECTOR_RATE, total_steps=steps)
    model.train()
    for step in range(steps):
        rng = np.random.default_rng([seed, 43, step])
        inputs, targets = [], []
        for index in draw(step, SCENES_A_STEP):
            picture, boxes = _example(scenes[int(index)], flip=bool(rng.integers(2)))
            inputs.append(picture)
            targets.append({"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64)})
        losses = model(inputs, targets)
        loss = sum(losses.values(), torch.zeros(()))
        optimiser.zero_grad()
        if torch.isfinite(loss):
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
        schedule.step()
        tell(step)
    return model.eval()


@torch.inference_mode()
def detect(model: nn.Module, scenes: Sequence[Scene]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """For each scene (boxes N×4 in its pixels, scores N), the surest first; N may be 0."""
    found = []
    for scene in scenes:
        (said,) = model([_example(scene, flip=False)[0]])
        found.append((said["boxes"].double().numpy(), said["scores"].double().numpy()))
    return found


def save_weights(model: nn.Module, path: Path) -> None:
    """As safetensors."""
    from safetensors.torch import save

    from mame.formats.atomic import atomic_write

    with atomic_write(path, force=True) as file:
        file.write(save({name: value.contiguous() for name, value in model.state_dict().items()}))


def load_weights(path: Path) -> dict[str, Tensor]:
    """What `save_weights` wrote."""
    from safetensors.torch import load_file

    return load_file(path)


def _example(scene: Scene, flip: bool) -> tuple[Tensor, Tensor]:
    pixels = scene.pixels[::-1] if flip else scene.pixels
    height = scene.pixels.shape[0]
    boxes = [box.as_tuple() for box in scene.boxes]
    if flip:
        boxes = [(x0, height - y1, x1, height - y0) for x0, y0, x1, y1 in boxes]
    picture = torch.from_numpy(np.ascontiguousarray(pixels))[None].expand(3, -1, -1)
    return picture, torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def _turned(batch: Tensor, rng: np.random.Generator) -> Tensor:
    batch = torch.rot90(batch, int(rng.integers(4)), (1, 2))
    return batch.flip(2) if rng.integers(2) else batch


def _three(batch: Tensor) -> Tensor:
    return batch[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
