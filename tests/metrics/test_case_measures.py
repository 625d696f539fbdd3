"""All measures of one case."""

import math

import numpy as np
import pytest

from napari_bcp.metrics import MEASURES, measure, measure_case


def cubes():
    """Return two label arrays: class 1 shifted by one voxel along x, class 2 missed, class 3 made up."""
    prediction, truth = np.zeros((2, 12, 12, 8), np.uint8)
    truth[2:6, 2:6, 2:6], prediction[3:7, 2:6, 2:6] = 1, 1
    truth[9:11, 9:11, 2:4] = 2
    prediction[9:11, 2:4, 2:4] = 3
    return prediction, truth


def test_a_row_for_each_class_that_occurs_says_what_became_of_it():
    rows = measure_case("la_01", *cubes(), (2.0, 1.0, 1.0))
    assert [(row.case, row.value, row.status) for row in rows] == [
        ("la_01", 1, "found"),
        ("la_01", 2, "missed"),
        ("la_01", 3, "false alarm"),
    ]


def test_a_body_shifted_by_one_voxel_of_two_mm():
    """64 voxels each, 48 in both; the farthest surfaces are one voxel along x apart."""
    found = measure_case("a", *cubes(), (2.0, 1.0, 1.0))[0].measures
    assert list(found) == list(MEASURES["mm"])
    assert found["dice"] == found["precision"] == found["sensitivity"] == 0.75
    assert found["jaccard"] == 0.6
    assert found["specificity"] == 1 - 16 / (12 * 12 * 8 - 64)
    assert found["hd"] == found["hd95"] == 2.0
    assert 0 < found["assd"] < 2.0


def test_in_paper_mode_distances_are_in_voxels():
    found = measure_case("a", *cubes(), (2.0, 1.0, 1.0), paper=True)[0].measures
    assert list(found) == ["dice", "jaccard", "hd95_pooled", "asd"]
    assert found["hd95_pooled"] == 1.0


def test_what_is_missed_or_made_up_has_no_distance_and_no_overlap():
    _, missed, made_up = (row.measures for row in measure_case("a", *cubes(), (1, 1, 1)))
    assert (missed["dice"], missed["jaccard"], missed["sensitivity"]) == (0, 0, 0)
    assert (made_up["dice"], made_up["jaccard"], made_up["precision"]) == (0, 0, 0)
    assert math.isnan(missed["precision"])
    assert math.isnan(made_up["sensitivity"])
    for measures in (missed, made_up):
        assert all(math.isnan(measures[name]) for name in ("hd", "hd95", "assd"))


def test_a_class_asked_for_that_is_nowhere_is_absent():
    (row,) = measure_case("a", *cubes(), (1, 1, 1), classes=[9])
    assert row.status == "absent"
    assert {name: value for name, value in row.measures.items() if not math.isnan(value)} == {"specificity": 1.0}


def test_one_structure_is_measured_as_its_class_in_a_case():
    prediction, truth = cubes()
    row = measure_case("a", prediction, truth, (2, 1, 1))[0]
    assert measure(prediction == 1, truth == 1, (2, 1, 1)) == row.measures


def test_measures_equal_those_of_the_published_script(parity):
    """Dice, Jaccard, 95HD, ASD in voxels; an empty prediction has no distances instead of perfect ones."""
    values = parity("bcp_metrics")
    for case, name in enumerate(values["case_names"]):
        found = list(measure(values["pred"][case], values["gt"][case], values["spacing"], paper=True).values())
        expected = values["unit"][case].copy()
        if name == "empty_pred":
            assert expected.tolist() == [0, 0, 0, 0]
            expected[2:] = np.nan
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="the truth"):
        measure(np.ones((2, 2)), np.ones((2, 3)), (1, 1))
