"""Which values a mask holds."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_bcp.pool.masks import values_in

masks = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=5), elements=st.integers(0, 3))


@given(masks, st.permutations(range(3)))
def test_every_value_of_a_mask_is_found_in_any_memory_order(mask, order):
    seen = mask.transpose(order)

    assert values_in(seen) == sorted(set(mask.ravel().tolist()) - {0})
