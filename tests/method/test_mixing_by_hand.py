"""The loss on mixed images: each region by its own target, and only where a target counts."""

import pytest
import torch

from napari_bcp.method import mixed_loss

OUTER = torch.tensor([[1.0, 2.0, 4.0, 8.0]])
INNER = torch.tensor([[16.0, 32.0, 64.0, 128.0]])
KEEP = torch.tensor([True, True, False, False])
LOGITS = torch.zeros(1, 2, 4)


def counted(_logits, target, where):
    """Return the sum of what counts: which voxels these are can be read from it."""
    return target[where].sum()


def test_the_outer_target_counts_where_it_is_kept_and_the_inner_one_where_it_was_pasted():
    assert mixed_loss(counted, LOGITS, OUTER, INNER, KEEP, 1.0, 0.5) == (1 + 2) + 0.5 * (64 + 128)


def test_voxels_that_do_not_count_are_left_out_of_their_own_region_alone():
    valid = torch.tensor([[True, False, True, False]])
    assert mixed_loss(counted, LOGITS, OUTER, INNER, KEEP, 1.0, 1.0, valid, None) == 1 + (64 + 128)
    assert mixed_loss(counted, LOGITS, OUTER, INNER, KEEP, 1.0, 1.0, None, valid) == (1 + 2) + 64
    assert mixed_loss(counted, LOGITS, OUTER, INNER, KEEP, 1.0, 1.0, valid, valid) == 1 + 64


def test_one_mask_is_for_every_image_of_a_batch():
    twice = [torch.cat([one, 3 * one]) for one in (OUTER, INNER)]
    whole = mixed_loss(counted, torch.zeros(2, 2, 4), *twice, KEEP, 1.0, 0.0)
    assert whole == pytest.approx(4 * (1 + 2))
