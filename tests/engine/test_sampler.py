"""Blocks are cut where they should be, image and labels alike."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_bcp.config import make_config
from napari_bcp.engine import augment
from napari_bcp.engine.cache import CaseFiles, Prepared
from napari_bcp.engine.plan import make_plan
from napari_bcp.engine.sampler import Deck, Sampler

from tiny import cubes  # isort: skip

FOUND = cubes(32, 8.0)


def prepared(name, shape=(32, 32, 32), labelled=True):
    """Return a case whose image equals its labels: one small cube away from the middle."""
    labels = np.zeros(shape, np.uint8)
    labels[3:6, 24:27, 10:13] = 1
    seeds = (np.argwhere(labels).astype(np.int32),) if labelled else ()
    return Prepared(name, labels.astype(np.float16), labels if labelled else None, seeds)


def sampler(settings=None, shape=(32, 32, 32)):
    config = make_config("quick", {"patch": (16, 16, 16), **(settings or {})})
    plan = make_plan(FOUND, [1], config, torch.device("cpu"))
    made = Sampler(plan, config, np.random.default_rng(0), lambda c: prepared(c.name, shape, c.mask is not None))
    made.set_cases([CaseFiles("a", "a", "m"), CaseFiles("b", "b", "m")], [CaseFiles("u", "u")])
    return made


@pytest.mark.parametrize("mode", ["strong", "light", "none", "paper-la", "paper-acdc"])
def test_image_and_labels_of_a_block_show_the_same_anatomy(mode):
    images, labels = sampler({"augment": mode, "foreground": 1.0}).draw_labelled(24)
    assert images.shape == (24, 1, 16, 16, 16)
    assert labels.dtype == torch.int64
    both = ((images[:, 0] > 0.5) & (labels == 1)).sum()
    assert labels.sum() > 0
    assert 2 * both / ((images[:, 0] > 0.5).sum() + labels.sum()) > 0.8


def test_centred_blocks_nearly_always_show_the_structure():
    _, labels = sampler({"foreground": 1.0}).draw_labelled(20)
    assert (labels.flatten(1).sum(1) > 0).float().mean() > 0.85
    _, anywhere = sampler({"foreground": 0.0}).draw_labelled(20)
    assert (anywhere.flatten(1).sum(1) > 0).float().mean() < 0.6


@pytest.mark.parametrize("more", [{}, {"dimensions": "2", "patch": (16, 16), "network": "quick2d"}], ids=["3", "2"])
@pytest.mark.parametrize("mode", ["none", "paper-la"])
def test_plain_blocks_are_centred_too_and_lie_inside_the_scan(mode, more):
    made = sampler({"augment": mode, "foreground": 1.0, **more})
    _, labels = made.draw_labelled(20)
    assert (labels.flatten(1).sum(1) > 0).float().mean() > 0.85
    starts = [made._start_around(prepared("a"), np.array([15.0, 31.0, 11.0])) for _ in range(50)]
    block = made.plan.patch
    assert all(0 <= n <= 32 - side for start in starts for n, side in zip(start, block, strict=True))
    assert len({tuple(start) for start in starts}) > 5


@pytest.mark.parametrize("mode", ["none", "paper-la", "paper-acdc"])
def test_blocks_that_are_not_centred_are_drawn_as_published(mode):
    """With one number drawn before, which says whether the block is centred; newcomers are dealt without one."""
    made, rng = sampler({"augment": mode, "foreground": 0.0, "style": 0.0}), np.random.default_rng(0)
    images, _ = made.draw_labelled(1)
    rng.random()
    start = [int(rng.integers(32 - 16)) for _ in range(3)]
    both = augment.cut_plain(prepared("a").image, start, (16, 16, 16)), None
    if mode == "paper-la" or (mode == "paper-acdc" and rng.random() < 0.5):
        both = augment.turn_and_flip(rng, *both)
    elif mode == "paper-acdc" and rng.random() < 0.5:
        both = augment.turn_by_degrees(rng, *both)
    torch.testing.assert_close(images[0, 0], both[0], rtol=0, atol=0)
    assert made.rng.bit_generator.state == rng.bit_generator.state


def test_a_block_longer_than_the_scan_holds_all_of_it():
    made = sampler({"augment": "none", "foreground": 1.0})
    for seed in ([0.0, 0.0, 0.0], [8.0, 27.0, 13.0]):
        start = made._start_around(prepared("a", (9, 28, 14)), np.array(seed))
        assert -7 <= start[0] <= 0 <= start[1] <= 12
        assert -2 <= start[2] <= 0


def test_scans_that_keep_their_spacing_are_turned_in_millimetres(monkeypatch):
    """Slices three times as thick as their pixels: turned as if voxels were cubes, scans would shear."""
    made, drawn, draw = sampler({"spacing": (0.0, 0.0, 0.0)}), [], augment.draw_matrix
    made._fetch = lambda c: replace(prepared(c.name, labelled=c.mask is not None), spacing=(1.0, 1.0, 3.0))
    monkeypatch.setattr(augment, "draw_matrix", lambda *told: (drawn.append(told[2]), draw(*told))[1])
    made.draw_labelled(1)
    assert drawn == [(1.0, 1.0, 3.0)]


def test_unlabelled_blocks_are_cut_where_labelled_scans_have_the_structure():
    images = sampler({"foreground": 1.0}).draw_unlabelled(20)
    assert ((images > 0.5).flatten(1).sum(1) > 0).float().mean() > 0.85


def test_a_scan_smaller_than_the_block_is_no_problem():
    for mode in ("strong", "none"):
        images, labels = sampler({"augment": mode}, shape=(9, 28, 14)).draw_labelled(4)
        assert images.shape == (4, 1, 16, 16, 16)
        assert torch.isfinite(images).all()
        assert labels.max() <= 1


def test_two_dimensional_blocks_are_slices():
    made = sampler({"dimensions": "2", "patch": (16, 16), "foreground": 1.0, "network": "quick2d"})
    images, labels = made.draw_labelled(6)
    assert images.shape == (6, 1, 16, 16)
    assert labels.shape == (6, 16, 16)
    assert (labels.flatten(1).sum(1) > 0).any()


def test_plain_blocks_outside_a_scan_are_zero():
    array = np.ones((4, 4, 4), np.float32)
    block = augment.cut_plain(array, (-2, 0, 3), (4, 4, 4))
    assert block.sum() == 2 * 4 * 1
    assert block[2, 0, 0] == 1
    assert augment.cut_plain(array, (10, 0, 0), (4, 4, 4)).sum() == 0


def test_an_unturned_warp_cuts_the_very_voxels():
    array = np.random.default_rng(0).random((12, 10, 8)).astype(np.float32)
    image, _ = augment.cut_warped(array, None, np.array([5.5, 4.5, 3.5]), np.eye(3), None, (4, 4, 4))
    np.testing.assert_allclose(image, array[4:8, 3:7, 2:6], atol=1e-5)


def test_a_turned_and_shifted_warp_goes_where_the_matrix_says():
    """In a ramp every value tells its place."""
    ramp = np.indices((30, 30, 30)).astype(np.float32)
    slope, centre, block = np.array([1.0, 10.0, 100.0]), np.array([14.0, 15.5, 13.0]), (5, 7, 6)
    image = np.einsum("a,axyz->xyz", slope, ramp)
    turn = np.array([[0.9, -0.3, 0.1], [0.3, 0.8, -0.2], [0.0, 0.2, 1.1]])
    knots = torch.tensor([0.5, -1.0, 2.0]).expand(4, 4, 4, 3)
    found, _ = augment.cut_warped(image, None, centre, turn, knots, block)
    offsets = np.moveaxis(np.indices(block), 0, -1) - (np.array(block) - 1) / 2
    places = offsets @ turn.T + centre + [0.5, -1.0, 2.0]
    np.testing.assert_allclose(found, places @ slope, rtol=1e-4)


@pytest.mark.parametrize("block", [(12, 9, 7), (16, 10, 1)])
def test_knots_spread_as_linear_interpolation_does(block):
    coarse = torch.randn(4, 4, 4 if block[2] > 1 else 1, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(
        coarse.permute(3, 0, 1, 2)[None], size=block, mode="trilinear", align_corners=True
    )
    torch.testing.assert_close(augment.spread(coarse, block), expected[0].permute(1, 2, 3, 0), rtol=1e-4, atol=1e-5)


def test_varied_intensities_leave_their_input_alone():
    image = torch.randn(8, 8, 8)
    before = image.clone()
    varied = augment.vary_intensity(np.random.default_rng(3), image)
    torch.testing.assert_close(image, before, rtol=0, atol=0)
    assert torch.isfinite(varied).all()
    assert not torch.equal(varied, image)


def test_each_pass_deals_every_case_once():
    deck, rng = Deck(), np.random.default_rng(0)
    deck.update(["a", "b", "c"])
    for _ in range(4):
        assert sorted(deck.deal(rng) for _ in range(3)) == ["a", "b", "c"]


def test_of_very_many_names_a_few_are_dealt_again_and_again_before_others_come():
    names = [f"case_{i}" for i in range(300)]
    deck, rng = Deck(part=64), np.random.default_rng(0)
    deck.update(names)
    deck.left.clear()
    dealt = [deck.deal(rng) for _ in range(4 * len(names))]
    assert Counter(dealt) == dict.fromkeys(names, 4)
    for name in names:
        places = [place for place, one in enumerate(dealt) if one == name]
        assert places[-1] - places[0] < 4 * 64


def test_a_newcomer_is_dealt_next_and_a_leaver_never_again():
    deck, rng = Deck(), np.random.default_rng(0)
    deck.update(["a", "b", "c"])
    first = deck.deal(rng)
    deck.update([n for n in "abc" if n != first] + ["new"])
    assert deck.deal(rng) == "new"
    assert first not in {deck.deal(rng) for _ in range(20)}


def test_elastic_shifts_are_smooth_and_a_small_share_of_the_block():
    rng, block = np.random.default_rng(0), (40, 56, 1)
    drawn = [augment.draw_shifts(rng, augment.WARPS["strong"], block) for _ in range(60)]
    fields = [augment.spread(f, block) for f in drawn if f is not None]
    assert 20 < len(fields) < 60
    for field in fields:
        assert field.shape == (*block, 3)
        assert (field[..., 2] == 0).all()
        assert field[..., 1].abs().max() < 0.12 * 56
        assert (field[1:] - field[:-1]).abs().max() < 0.5  # neighbours move together: nothing folds


def test_labels_of_whole_unlabelled_scans_are_cut_with_their_images():
    """The cube that the image shows is where the labels say, turned and bent alike."""
    made = sampler({"augment": "strong", "foreground": 1.0})
    images, labels = made.draw_pseudo_labelled(24, lambda case: (np.asarray(case.image).astype(np.uint8), True))
    assert images.shape == (24, 1, 16, 16, 16)
    both = ((images[:, 0] > 0.5) & (labels == 1)).sum()
    assert both > 0.8 * (labels == 1).sum() > 0


def test_for_a_scan_that_is_not_good_enough_another_is_dealt_and_none_is_waited_for():
    made = sampler()
    made.set_cases([CaseFiles("a", "a", "m")], [CaseFiles(name, name) for name in "uvw"])
    asked = []

    def labels_of(case):
        asked.append(case.name)
        return np.zeros(case.image.shape, np.uint8), case.name == "w"

    made.draw_pseudo_labelled(4, labels_of)
    assert asked.count("w") == 4
    made.draw_pseudo_labelled(1, lambda case: (np.zeros(case.image.shape, np.uint8), False))


def test_a_scan_takes_over_the_intensities_of_another_in_the_same_order():
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(0, 1, (8, 8, 8)).astype(np.float32))
    own = np.quantile(image.numpy(), np.linspace(0, 1, 65))
    other = np.exp(own)
    styled = [augment.take_style(rng, image, own, other) for _ in range(20)]
    assert all((torch.diff(one.flatten()[image.flatten().argsort()]) >= -1e-5).all() for one in styled)
    nearest = min(float((one - image.exp()).abs().mean()) for one in styled)
    assert nearest < 0.1
    assert len({float(one.mean()) for one in styled}) == 20, "by different parts"
    torch.testing.assert_close(augment.take_style(rng, image, own, own), image, atol=1e-4, rtol=0)


def test_labelled_blocks_take_styles_of_unlabelled_scans_only_where_there_are_any():
    made = sampler({"style": 1.0, "augment": "none"})
    made._fetch = lambda c: (
        prepared(c.name) if c.mask else Prepared(c.name, np.full((32, 32, 32), 7, np.float16), None, ())
    )
    assert float(made.draw_labelled(2)[0].max()) > 2
    made.set_cases([CaseFiles("a", "a", "m")], [])
    assert float(made.draw_labelled(2)[0].max()) <= 1


def test_a_block_is_born_on_the_device_that_it_is_for():
    """Nothing on the way may stay behind on the processor: on a graphics card that would be an error."""
    rng, block = np.random.default_rng(0), (8, 6, 4)
    image = rng.normal(size=(12, 12, 12)).astype(np.float16)
    shifts = augment.draw_shifts(np.random.default_rng(1), augment.WARPS["strong"], block)
    assert shifts is not None
    for elastic in (None, shifts):
        cut, labels = augment.cut_warped(
            image, np.ones((12, 12, 12), np.uint8), np.full(3, 6.0), np.eye(3), elastic, block, "meta"
        )
        assert (cut.device.type, labels.device.type) == ("meta", "meta")
        assert (tuple(cut.shape), tuple(labels.shape)) == (block, block)
    assert augment.take_style(rng, cut, np.linspace(0, 1, 9), np.linspace(0, 2, 9)).device.type == "meta"


@given(seed=st.integers(0, 2**16), ties=st.booleans())
def test_interpolation_on_a_graphics_card_is_that_of_the_processor(seed, ties):
    rng = np.random.default_rng(seed)
    places, values = np.sort(rng.normal(size=9)).astype(np.float32), np.sort(rng.normal(size=9)).astype(np.float32)
    if ties:
        places[3:5] = places[3]
    x = np.concatenate([rng.normal(scale=2, size=40).astype(np.float32), places[:3], places[5:]])
    found = augment.interpolate(*(torch.from_numpy(one) for one in (x, places, values))).numpy()
    np.testing.assert_allclose(found, np.interp(x, places, values), atol=1e-5)


def test_a_case_whose_mask_was_mended_is_drawn_with_its_new_labels():
    made = sampler({"augment": "none", "foreground": 1.0, "style": 0.0})
    versions = {"m": 1, "m2": 2}

    def fetch(case):
        found = prepared(case.name, labelled=case.mask is not None)
        return found if case.mask is None else replace(found, labels=found.labels * versions[case.mask])

    made._fetch = fetch
    assert int(made.draw_labelled(4)[1].max()) == 1
    made.set_cases([CaseFiles("a", "a", "m2"), CaseFiles("b", "b", "m2")], [CaseFiles("u", "u")])
    images = [int(made.draw_labelled(1)[1].max()) for _ in range(6)]
    assert set(images) == {2}


class Scripted:
    """Stands for a generator of random numbers whose draws are written down."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def integers(self, *_):
        return self.numbers.pop(0)


@pytest.mark.parametrize(
    ("quarter", "axis", "expected"),
    [
        (0, 0, [[3, 4], [1, 2]]),
        (0, 1, [[2, 1], [4, 3]]),
        (1, 0, [[1, 3], [2, 4]]),
        (2, 1, [[3, 4], [1, 2]]),
    ],
)
def test_a_published_turn_is_by_quarters_and_a_flip_of_image_and_labels_alike(quarter, axis, expected):
    """A quarter turn brings the second column to the top."""
    block = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[..., None]
    image, labels, nothing = augment.turn_and_flip(Scripted(quarter, axis), block, block.to(torch.uint8), None)
    assert image[..., 0].tolist() == expected
    assert labels[..., 0].tolist() == expected
    assert nothing is None


def test_a_published_turn_by_degrees_takes_the_nearest_voxel():
    """By 90 degrees it would be a quarter turn, here forwards; what comes from outside is zero."""
    block = torch.arange(9.0).reshape(3, 3, 1)
    (turned,) = augment.turn_by_degrees(Scripted(90), block)
    np.testing.assert_array_equal(turned[..., 0], np.rot90(block[..., 0].numpy()))
    (turned,) = augment.turn_by_degrees(Scripted(-20), torch.ones(9, 9, 1))
    assert turned[4, 4, 0] == 1
    assert turned[0, 0, 0] == 0
