import numpy as np
from PIL import Image

from mmssl.embed import flat, opened


def test_a_picture_of_any_mode_is_flattened_and_a_plain_one_is_not_touched(tmp_path):
    values = np.array([[10, 200], [90, 30]], np.uint8)
    plain = Image.fromarray(values)
    assert flat(plain) is plain
    plain.save(tmp_path / "clear.png", transparency=200)
    assert np.asarray(flat(opened(tmp_path / "clear.png"))).tolist() == [[10, 0], [90, 30]]
    for name, picture in (("palette", plain.quantize(4)), ("bits", plain.convert("1")), ("alpha", plain.convert("LA"))):
        picture.save(tmp_path / f"{name}.png")
        assert np.asarray(flat(opened(tmp_path / f"{name}.png"))).tolist() == np.asarray(picture.convert("L")).tolist()
