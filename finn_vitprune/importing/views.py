"""More images to prune and fit layers by where there are few: crops of the calibration images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2 as transforms

SCALE = (0.35, 1.0)
"""Shares of an image's area that a crop has."""


@dataclass(frozen=True)
class Views:
    """Images ``[F, H, W, C]`` with values 0 to 255, and of each the number of the image that it was taken from ``[F]``."""

    images: Tensor
    sources: Tensor


def views_of(images: Tensor, count: int, seed: int = 0, flip: bool = False) -> Views:
    """The images themselves, then crops of all of them as often as ``count`` views allow: of 200 images and 512 views, one each.

    A crop is resized to the size of the images (bicubic).

    Args:
        images: ``[F, H, W, C]``, whole numbers 0 to 255.
        flip: mirror half of the crops.
    """
    crop = transforms.RandomResizedCrop(
        list(images.shape[1:3]), scale=SCALE, interpolation=transforms.InterpolationMode.BICUBIC, antialias=True
    )
    change = transforms.Compose([crop, transforms.RandomHorizontalFlip()]) if flip else crop
    pixels, copies = images.byte().permute(0, 3, 1, 2), max(1, count // max(1, len(images)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        crops = [change(image).permute(1, 2, 0).to(images) for _ in range(1, copies) for image in pixels]
    return Views(torch.stack([*images, *crops]), torch.arange(len(images)).repeat(copies))
