"""Views: equal to open_clip's where they must be, keyed, and never mirrored."""

import numpy as np
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from mmssl.data.transforms import POLICIES, chances, device_view, keyed, normalise, random_crop, whole_view

ROWS = torch.arange(1, 9) * 1234567


def picture(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8))


@pytest.mark.parametrize("size", [(200, 180), (180, 200), (64, 64), (33, 7), (1, 1), (500, 333), (129, 128)])
def test_the_evaluation_view_is_open_clips_longest_resize_to_the_bit(size):
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    cfg = PreprocessCfg(size=64, mean=mean, std=std, interpolation="bicubic", resize_mode="longest", fill_color=0)
    image = picture(*size)
    theirs = image_transform_v2(cfg, is_train=False)(image.convert("RGB"))
    view = torch.from_numpy(np.array(whole_view(image, 64)))[None, None].float() / 255
    torch.testing.assert_close(normalise(view, mean, std)[0], theirs, atol=1e-6, rtol=0)


def test_a_crop_of_the_whole_is_the_whole_with_black_at_its_sides():
    image = Image.fromarray(np.full((40, 20), 200, np.uint8))
    view = np.asarray(random_crop(image, 40, 1.0, (0.3, 0.6, 0.9)))
    assert (view[:, 10:30] == 200).all()
    assert (view[:, :10] == 0).all()
    assert (view[:, 30:] == 0).all()


def test_crops_stay_inside_and_are_never_mirrored():
    """In an image that grows brighter to the right and downwards, every crop does too."""
    ramp = np.add.outer(np.arange(90), 2 * np.arange(60)).astype(np.uint8)
    for number in range(50):
        view = np.asarray(random_crop(Image.fromarray(ramp), 32, 0.5, chances(number, 1, n=3))).astype(int)
        inside = view[:, view.any(axis=0)][view.any(axis=1)]
        assert view.shape == (32, 32)
        assert inside[:, -2].mean() > inside[:, 1].mean()
        assert inside[-2].mean() > inside[1].mean()


@pytest.mark.parametrize("policy", ["xray", "slice"])
def test_the_policy_never_mirrors(policy):
    """Images that are bright on the left stay bright on the left, whatever is drawn."""
    images = torch.zeros(200, 1, 32, 32, dtype=torch.uint8)
    images[..., :12] = 200
    rows = torch.arange(200) + 7
    view = device_view(images, rows, POLICIES[policy], 0, 1, 0)
    assert (view[..., :16].mean((1, 2, 3)) > 2 * view[..., 16:].mean((1, 2, 3))).all()
    assert view.std(0).max() > 0.05  # and yet they differ from one another


def test_a_view_is_a_function_of_seed_step_row_and_view_alone():
    images = torch.randint(0, 256, (8, 1, 16, 16), dtype=torch.uint8)
    policy, order = POLICIES["xray"], torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    whole = device_view(images, ROWS, policy, 5, 10, 0)
    torch.testing.assert_close(device_view(images[order], ROWS[order], policy, 5, 10, 0), whole[order])
    torch.testing.assert_close(device_view(images[2:4], ROWS[2:4], policy, 5, 10, 0), whole[2:4])
    for key in ((6, 10, 0), (5, 11, 0), (5, 10, 1)):
        assert not torch.allclose(device_view(images, ROWS, policy, *key), whole)


def test_keyed_numbers_are_even_and_do_not_follow_each_other():
    rows = torch.arange(20000)
    x = keyed(rows, 3, 4, n=2)
    assert float(x.min()) >= 0
    assert float(x.max()) < 1
    assert float(x.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(x.var()) == pytest.approx(1 / 12, abs=0.003)
    table = torch.stack([x[:-1, 0], x[1:, 0], x[:-1, 1], keyed(rows, 3, 5, n=1)[:-1, 0]])
    assert (torch.corrcoef(table) - torch.eye(4)).abs().max() < 0.03


def test_chances_depend_on_every_part_of_the_key():
    first = chances(5, 1, 2, n=4)
    assert first == chances(5, 1, 2, n=4)
    for key in ((6, 1, 2), (5, 2, 2), (5, 1, 3), (5, 2, 1)):
        assert not set(first) & set(chances(*key, n=4))


def test_host_and_device_draw_the_same_numbers():
    rows = torch.tensor([0, 1, 2**31, 2**62 + 12345, 2**63 - 1])
    for key in ((), (0,), (7, 123456789), (2**40, 0, 3)):
        drawn = torch.tensor([chances(int(row), *key, n=6) for row in rows])
        assert torch.equal(drawn, keyed(rows, *key, n=6))


def test_no_policy_means_the_image_itself():
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(device_view(images, ROWS, POLICIES["none"], 0, 0, 0), images.float() / 255)
