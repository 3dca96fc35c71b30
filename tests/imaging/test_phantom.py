import numpy as np
import pytest

from mame.errors import MameError
from mame.imaging import phantom
from mame.imaging.phantom import physics
from mame.imaging.phantom.anatomy import GLAND_FRACTION
from mame.imaging.phantom.grid import Grid
from mame.imaging.phantom.shape import thickness
from mame.mammogram import Area, Box, Density, Description, Laterality, LesionKind, View, area_from_cm2


@pytest.fixture(scope="module")
def cc():
    return phantom.draw(3, Description("hologic", View.CC, Density.B, Area.MEDIUM)).render()


@pytest.fixture(scope="module")
def mlo():
    return phantom.draw(4, Description("siemens", View.MLO, Density.C, Area.SMALL)).render()


def test_the_same_seed_gives_the_same_picture_and_another_gives_another(cc):
    again = phantom.draw(3, Description("hologic", View.CC, Density.B, Area.MEDIUM)).render()
    other = phantom.draw(5, Description("hologic", View.CC, Density.B, Area.MEDIUM)).render()
    assert np.array_equal(again.mammogram.pixels, cc.mammogram.pixels)
    assert not np.array_equal(other.mammogram.pixels, cc.mammogram.pixels)


@pytest.mark.parametrize("name", ["cc", "mlo"])
def test_air_is_exactly_zero_and_tissue_is_not(name, request):
    picture = request.getfixturevalue(name)
    pixels, breast = picture.mammogram.pixels, picture.truth.breast
    assert pixels.dtype == np.float32
    assert (pixels[~breast] == 0).all()
    assert (pixels[breast] > 0).all()
    assert pixels.max() <= 1
    assert len(np.unique(pixels)) >= 1024


def test_a_craniocaudal_view_has_no_muscle_and_an_oblique_one_has_it_at_the_top_of_the_chest_wall(cc, mlo):
    assert not cc.truth.pectoral.any()
    rows, columns = np.nonzero(mlo.truth.pectoral)
    breast_rows = np.flatnonzero(mlo.truth.breast.any(axis=1))
    assert rows.min() == breast_rows[0]
    assert columns.min() == 0
    assert rows.mean() < breast_rows.mean()


@pytest.mark.parametrize("area", list(Area))
@pytest.mark.parametrize("view", list(View))
def test_the_breast_covers_the_area_asked_for(area, view):
    for seed in range(3):
        picture = phantom.draw(seed, Description(view=view, area=area)).render()
        covered = float(picture.truth.breast.sum()) * (picture.mammogram.spacing_mm / 10) ** 2
        assert area_from_cm2(covered) is area
        assert covered == pytest.approx(picture.truth.area_cm2)


def test_denser_classes_hold_more_gland_and_show_more_dense_tissue():
    shown = []
    for density in Density:
        pictures = [phantom.draw(seed, Description(view=View.CC, density=density)).render() for seed in range(4)]
        held = [picture.truth.gland_fraction for picture in pictures]
        low, high = GLAND_FRACTION[density]
        # haze, ducts and the limit at the skin move the volume a little from what was drawn
        assert low * 0.7 < np.mean(held) < high * 1.2 + 0.03
        shown.append(np.mean([picture.truth.percent_density for picture in pictures]))
    assert shown == sorted(shown)
    assert shown[0] < 12
    assert shown[3] > 45


@pytest.mark.parametrize("kind", [LesionKind.MASS, LesionKind.CALCIFICATIONS])
def test_a_lesion_lies_in_the_breast_and_is_brighter_than_the_same_place_without_it(kind):
    drawn = phantom.draw(11, Description("hologic", View.CC, Density.B), lesion=kind, fine=True)
    grid = drawn.window_grid(drawn.lesions[0].centre, 40.0)
    with_it, without = drawn.render(grid), drawn.without_lesions().render(grid)
    (lesion,) = with_it.mammogram.lesions
    assert lesion.kind is kind
    assert lesion.box == Box.of_mask(lesion.mask)
    assert (with_it.truth.breast | ~lesion.mask).all()
    added = with_it.mammogram.pixels - without.mammogram.pixels
    # a mass is bright all over, a cluster in its grains
    assert np.quantile(added[lesion.mask], 0.5 if kind is LesionKind.MASS else 0.99) > 0.04
    assert added[lesion.mask].mean() > 4 * abs(added[~lesion.mask].mean())


def test_a_window_and_the_field_show_the_same_breast():
    drawn = phantom.draw(21, Description("hologic", View.CC, Density.C), fine=True)
    field = drawn.field_grid()
    centre = (30.0, 0.0)
    window = drawn.window_grid(centre, 32.0)
    small = drawn.render(window).mammogram.pixels.reshape(64, 8, 64, 8).mean(axis=(1, 3))
    x, y = (int(v) for v in field.to_pixels(window.x0_mm, window.y0_mm))
    same = drawn.render(field).mammogram.pixels[y : y + 64, x : x + 64]
    assert np.corrcoef(small.ravel(), same.ravel())[0, 1] > 0.8


def test_a_full_matrix_has_the_machine_s_size_and_pitch():
    drawn = phantom.draw(1, Description("siemens", View.CC, Density.A, Area.SMALL), fine=True)
    grid = drawn.matrix_grid()
    assert grid.shape == (3518, 2800)
    assert grid.spacing_mm == 0.085


def test_a_mirrored_picture_is_a_right_breast_with_its_labels_in_place():
    left = phantom.draw(2, lesion=LesionKind.MASS).render()
    right = left.mirrored()
    assert right.mammogram.laterality is Laterality.R
    assert np.array_equal(right.mammogram.pixels, left.mammogram.pixels[:, ::-1])
    assert right.mammogram.lesions[0].box == Box.of_mask(right.mammogram.lesions[0].mask)
    assert np.array_equal(right.truth.breast[:, ::-1], left.truth.breast)


def test_photon_noise_follows_the_number_of_photons():
    flat = np.full((256, 256), 2.0, np.float32)
    inside = np.full((256, 256), 50.0, np.float32)
    deviations = []
    for spacing in (1.0, 0.5):
        grid = Grid(0.0, 0.0, spacing, flat.shape)
        signal = physics.expose(flat, inside, grid, np.random.default_rng(0), physics.Detector(0.1, 1000.0, 0.1))
        deviations.append(float(signal.std()))
        assert signal.mean() == pytest.approx(2.0 - np.log(1.1), abs=1e-2)
    assert deviations[0] == pytest.approx(1 / np.sqrt(1000 * 1.1 * 100), rel=0.2)
    assert deviations[1] / deviations[0] == pytest.approx(2.0, rel=0.15)


def test_thickness_is_flat_inside_and_a_half_circle_at_the_rim():
    depth = np.array([-1.0, 0.0, 10.0, 25.0, 60.0], np.float32)
    assert thickness(depth, 50.0) == pytest.approx([0.0, 0.0, 2 * np.sqrt(25**2 - 15**2), 50.0, 50.0], abs=1e-4)


def test_a_vendor_without_a_look_is_refused_by_name():
    with pytest.raises(MameError, match=r"'ge'.*hologic, siemens"):
        phantom.draw(0, Description("ge"))
