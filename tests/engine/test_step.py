"""One step: what is mixed with what, what judges it, and how far teacher and student agree."""

import numpy as np
import pytest
import torch

from napari_bcp.config import make_config
from napari_bcp.engine import step as module
from napari_bcp.engine.bank import UNSURE
from napari_bcp.engine.plan import make_plan
from napari_bcp.engine.state import new_state
from napari_bcp.engine.step import Learner

from tiny import cubes  # isort: skip

CPU = torch.device("cpu")
BLOCK = (8, 8, 8)
FOUND = cubes(16, 8.0)


class Blocks:
    """A sampler whose labelled blocks are 1 everywhere, image and labels, and whose unlabelled ones are 2.

    The teacher is not sure of the first slice of an unlabelled block.
    """

    def draw_labelled(self, count):
        return torch.ones(count, 1, *BLOCK), torch.ones(count, *BLOCK, dtype=torch.long)

    def draw_pseudo_labelled(self, count, labels_of):
        labels = torch.full((count, *BLOCK), 2)
        labels[:, 0] = UNSURE
        return torch.full((count, 1, *BLOCK), 2.0), labels

    def vary(self, images):
        return images


@pytest.fixture
def learner(monkeypatch):
    """Return a function that does a mixed step and returns the learner and, image by image, what was judged by what."""

    def make(**settings):
        settings = {"width": 4, "patch": BLOCK, "batch": 2, "precision": "float32", "alpha": 0.25, **settings}
        config = make_config("quick", settings)
        plan = make_plan(FOUND, [1, 2], config, CPU)
        made = Learner(plan, config, new_state(plan, config, CPU), Blocks(), CPU)
        images, judged = [], []

        def student(mixed):
            images.append(mixed)
            return torch.zeros(len(mixed), 3, *BLOCK, requires_grad=True)

        def loss(_loss, logits, outer, inner, keep, outer_weight, inner_weight, outer_valid, inner_valid):
            judged.append((outer, inner, keep, outer_weight, inner_weight, outer_valid, inner_valid))
            return logits.sum()

        monkeypatch.setattr(made, "_student", student)
        monkeypatch.setattr(module, "mixed_loss", loss)
        made._bidirectional_loss()
        return made, torch.cat(images).split(len(torch.cat(images)) // len(judged)), judged

    return make


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize(
    ("direction", "ways"), [("both", [(1.0, 0.25), (0.25, 1.0)]), ("in", [(1.0, 0.25)]), ("out", [(0.25, 1.0)])]
)
def test_each_voxel_is_judged_by_the_labels_of_the_scan_that_it_comes_from(learner, direction, ways, joint):
    _, images, judged = learner(direction=direction, joint_passes=joint)
    assert [weights[3:5] for weights in judged] == ways, "pseudo-labels weigh alpha, wherever they lie"
    for image, (outer, inner, keep, outer_weight, _, outer_valid, inner_valid) in zip(images, judged, strict=True):
        inward = outer_weight == 1.0
        teacher, sure = (inner, inner_valid) if inward else (outer, outer_valid)
        assert (outer_valid is None) is inward
        target = torch.where(keep, outer, inner)
        valid = torch.where(keep, *((torch.tensor(True), sure) if inward else (sure, torch.tensor(True))))
        assert torch.equal(image[:, 0][valid].long(), target[valid])
        assert not sure[:, 0].any(), "voxels of which the teacher is unsure count nowhere"
        assert sure[:, 1:].all()
        assert int(teacher.max()) == 2, "no mark of an unsure voxel is left to be learnt"


@pytest.mark.parametrize(("kind", "beta"), [("box", 0.5), ("contact", 0.5), ("random", 0.75)])
def test_the_mask_is_drawn_as_the_settings_say(learner, monkeypatch, kind, beta):
    asked, draw = [], module.draw_boxes

    def noted(shape, rng, *, strategy, beta):
        asked.append((tuple(shape), strategy, beta))
        return draw(shape, rng, strategy=strategy, beta=beta)

    monkeypatch.setattr(module, "draw_boxes", noted)
    learner(mask=kind, beta=beta)
    assert asked == [(BLOCK, kind, beta)]


def logits_of(classes):
    """Return scores (1, 3, 2, 2) whose highest channel is that of `classes`."""
    return torch.nn.functional.one_hot(torch.tensor([classes]), 3).permute(0, 3, 1, 2).float()


def test_agreement_is_dice_on_the_unlabelled_voxels_and_follows_slowly(learner):
    made, *_ = learner()
    made.agreement = None
    keep = torch.tensor([[True, False], [True, False]])
    teacher, nobody = torch.tensor([[[0, 1], [1, 1]]]), torch.zeros(1, 2, 2, dtype=torch.long)
    student = logits_of([[1, 1], [0, 2]])
    # Inward the right column is unlabelled: 1 and 2 against 1 and 1, of two and two voxels one alike.
    made._measure_agreement(["in"], [student], [(nobody, teacher)], keep)
    assert made.agreement == pytest.approx(0.5)
    # Outward it is the left one: 1 and background against background and 1, none alike.
    made._measure_agreement(["out"], [student], [(teacher, nobody)], keep)
    assert made.agreement == pytest.approx(0.45)
    # Where neither finds anything there is nothing to agree about.
    made._measure_agreement(["in"], [logits_of([[0, 0], [0, 0]])], [(teacher, nobody)], keep)
    assert made.agreement == pytest.approx(0.45)
    assert np.isfinite(made.agreement)


class Pairs(Blocks):
    """A sampler whose labelled blocks are 1 the first time and 2 the second."""

    def __init__(self):
        self.drawn = 0

    def draw_labelled(self, count):
        self.drawn += 1
        images, labels = super().draw_labelled(count)
        return self.drawn * images, self.drawn * labels


@pytest.fixture
def first_stage(monkeypatch):
    """Return a function that does a step of stage 1 and returns the mixed images, what was judged, and the loss."""

    def make(**settings):
        config = make_config("quick", {"width": 4, "patch": BLOCK, "batch": 2, "precision": "float32", **settings})
        plan = make_plan(FOUND, [1, 2], config, CPU)
        made = Learner(plan, config, new_state(plan, config, CPU), Pairs(), CPU)
        images, judged = [], []
        monkeypatch.setattr(made, "_student", lambda mixed: images.append(mixed) or torch.zeros(len(mixed), 3, *BLOCK))

        def loss(*arguments):
            judged.append(arguments)
            return torch.tensor(3.0)

        monkeypatch.setattr(made, "_loss", loss)
        monkeypatch.setattr(module, "mixed_loss", lambda _loss, *arguments: loss(*arguments))
        return images, judged, float(made._labelled_mix_loss())

    return make


def test_in_stage_1_a_labelled_block_lies_in_another_and_so_do_its_labels(first_stage):
    [image], [(_, target, where)], value = first_stage(stage1_regions=False)
    assert set(image.unique().tolist()) == {1.0, 2.0}
    assert torch.equal(image[:, 0].long(), target)
    assert (where, value) == (None, 3.0)


@pytest.mark.parametrize(("mean_loss", "value"), [(False, 3.0), (True, 1.5)])
def test_as_published_stage_1_sums_the_losses_of_both_regions(first_stage, mean_loss, value):
    [image], [(_, outer, inner, keep, *weights)], found = first_stage(stage1_regions=True, mean_loss=mean_loss)
    assert torch.equal(image[:, 0].long(), torch.where(keep, outer, inner))
    assert (weights, found) == ([1.0, 1.0], value)


@pytest.mark.parametrize(("mean_loss", "value"), [(False, 6.0), (True, 6.0 / (2 * 1.25))])
def test_as_published_stage_2_sums_both_ways_and_quick_takes_their_mean(monkeypatch, mean_loss, value):
    """With pseudo-labels that weigh a quarter, one of the four terms as much as a whole one and one a quarter."""
    settings = {"width": 4, "patch": BLOCK, "batch": 2, "alpha": 0.25, "mean_loss": mean_loss, "precision": "float32"}
    config = make_config("quick", settings)
    plan = make_plan(FOUND, [1, 2], config, CPU)
    made = Learner(plan, config, new_state(plan, config, CPU), Blocks(), CPU)
    monkeypatch.setattr(module, "mixed_loss", lambda *_: torch.tensor(3.0))
    assert float(made._bidirectional_loss()) == pytest.approx(value)
