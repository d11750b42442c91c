"""Pictures as cameras, web sites and training scripts leave them: what is seen is what is featurized."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from conftest import check_complete, fruitctl, record, rejects, results
from PIL import Image

# EXIF's orientation -> how a viewer turns the picture; a camera stores what this undoes.
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
UNDONE = TURNS | {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def scene(width=160, height=120):
    """A picture with no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x // 20 + y // 40) % 2 * 200], axis=-1)
    pixels[10:50, 20:60] = [250, 30, 20]
    return Image.fromarray(pixels.astype(np.uint8))


def test_pictures_are_turned_as_their_cameras_noted(tmp_path):
    upright = scene()
    for value, undo in UNDONE.items():
        stored = upright.transpose(undo) if undo is not None else upright
        exif = Image.Exif()
        exif[274] = value
        (tmp_path / "in" / str(value)).mkdir(parents=True)
        for name, options in {"a.png": {}, "b.jpg": {"quality": 98, "subsampling": 0}}.items():
            stored.save(tmp_path / "in" / str(value) / name, exif=exif, **options)
    run = ["run", "-i", tmp_path / "in", "-k", 4]
    fruitctl(*run, "-o", tmp_path / "ignore", "--exif-orientation", "ignore")
    as_stored = {path: np.array(vector) for path, (_, vector) in results(tmp_path / "ignore").items()}
    spread = np.linalg.norm(as_stored["1/a.png"] - as_stored["3/a.png"])
    # On the same scale: the PCA of the pictures as they are stored cannot be pinned by accident.
    refused = fruitctl(*run[:3], "-o", tmp_path / "ignore", "--pin-pca", tmp_path / "ignore", code=2).stderr
    assert "--exif-orientation=ignore" in refused, refused
    # One picture of another kind, for a PCA wants differences.
    upright.transpose(Image.Transpose.ROTATE_90).resize((90, 90)).save(tmp_path / "in" / "1" / "z.png")
    fruitctl(*run, "-o", tmp_path / "apply")
    assert record(tmp_path / "apply")["model"]["preprocessing"]["exif_orientation"] == "apply"
    vectors = {path: np.array(vector) for path, (_, vector) in results(tmp_path / "apply").items()}
    for value in TURNS:
        assert np.array_equal(vectors[f"{value}/a.png"], vectors["1/a.png"]), value
        assert np.linalg.norm(vectors[f"{value}/b.jpg"] - vectors["1/b.jpg"]) < spread / 5, value
    assert check_complete(tmp_path / "apply")["images"]["cached"] == 0


def test_formats_are_told_by_content_and_passed_over_files_are_counted(tmp_path):
    """Each format gives the same pixels as Pillow reads from it; what is no image is counted by its kind."""
    picture = scene()
    grey = picture.convert("L")
    clear = picture.convert("RGBA")
    clear.putalpha(grey.point(lambda x: 255 if x > 90 else 0))
    lossless = {"lossless": True, "format": "WEBP"}
    made = {
        "rgb.webp": (picture, lossless), "lossy.webp": (picture, {"quality": 90}), "alpha.webp": (clear, lossless | {"exact": True}),
        "named.jpg": (picture, lossless), "animated.webp": (picture, lossless | {"save_all": True, "append_images": [grey.convert("RGB")]}),
        "palette.gif": (picture, {}), "interlaced.gif": (picture, {"interlace": True}),
        "animated.gif": (picture, {"save_all": True, "append_images": [grey, picture]}),
        "rgb.bmp": (picture, {}), "grey.bmp": (grey, {}), "palette.bmp": (picture.quantize(32), {}), "bits.bmp": (grey.convert("1"), {}),
        "alpha.bmp": (picture.convert("RGBA"), {}),
        "rgb.tif": (picture, {}), "lzw.tiff": (picture, {"compression": "tiff_lzw"}), "deflate.tif": (picture, {"compression": "tiff_deflate"}),
        "packbits.tif": (picture, {"compression": "packbits"}), "grey.tif": (grey, {}), "palette.tif": (picture.quantize(32), {}),
        "bits.tif": (grey.convert("1"), {}), "cmyk.tif": (picture.convert("CMYK"), {}), "alpha.tif": (clear, {}),
        "photo.jpe": (picture, {"format": "JPEG"}), "photo.jfif": (picture, {"format": "JPEG"}), "0f3c": (picture, {"format": "PNG"}),
    }  # fmt: skip
    folder, seen = tmp_path / "in" / "made", tmp_path / "in" / "seen"
    folder.mkdir(parents=True)
    seen.mkdir()
    for name, (image, options) in made.items():
        image.save(folder / name, **options)
        stored = Image.open(folder / name)
        white = Image.new("RGBA", stored.size, "white")
        Image.alpha_composite(white, stored.convert("RGBA")).convert("RGB").save(seen / f"{name}.png")
    Image.fromarray(np.arange(19200, dtype=np.uint16).reshape(120, 160) * 3).save(folder / "deep.tif")
    picture.save(folder / "jpeg.tif", compression="jpeg")
    (folder / "truncated.gif").write_bytes((folder / "palette.gif").read_bytes()[:2000])
    (folder / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 100)
    for name in ["a.heic", "b.HEIC", "c.avif", "notes.txt", "README", ".hidden.jpg", ".DS_Store"]:
        (folder / name).write_bytes(b"not looked at")
    output = tmp_path / "out"
    done = fruitctl("run", "-i", tmp_path / "in", "-o", output, "-k", 6, "--max-rejects", "3")
    run = check_complete(output)
    reasons = {path.removeprefix("made/"): reason for path, reason in rejects(output).items()}
    assert reasons.keys() == {"jpeg.tif", "truncated.gif", "phone.jpg"}, reasons
    assert "compressed by JPEG" in reasons["jpeg.tif"] and "a HEIC image; convert it" in reasons["phone.jpg"]
    assert run["passed_over"] == [[".heic", 2], [".avif", 1], [".txt", 1], ["hidden", 1], ["without extension", 1]]
    assert "6 files passed over: 2 .heic, 1 .avif" in done.stderr and "have to be converted" in done.stderr
    vectors = {path: np.array(vector) for path, (_, vector) in results(output).items()}
    assert "made/deep.tif" in vectors
    scale = max(np.linalg.norm(vector) for vector in vectors.values())
    for name in made:
        off = np.linalg.norm(vectors[f"made/{name}"] - vectors[f"seen/{name}.png"]) / scale
        # JPEG and lossy WebP: decoders round in their own ways.
        assert off < (0.05 if name in ("lossy.webp", "photo.jpe", "photo.jfif", "cmyk.tif") else 1e-6), (name, off)


def test_labels_come_from_a_table_and_deleted_pictures_leave(fruits, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    pictures = sorted(fruits.rglob("*.jpg"))[::24]
    for i, picture in enumerate(pictures):
        shutil.copy(picture, folder / f"{i:02}.jpg")
    table = folder / "metadata.csv"
    kinds, quoted = ["fig", 'pear, "green"'], ["fig", '"pear, ""green"""']
    rows = [f"{i:02}.jpg,{quoted[i % 2]}" for i in range(len(pictures))]
    table.write_text("\n".join(["file_name,label", *rows, ""]))
    run = ["run", "-i", folder, "-o", output, "--labels", table, "-k", 4]
    fruitctl(*run)
    found = results(output)
    assert {path: label for path, (label, _) in found.items()} == {f"{i:02}.jpg": kinds[i % 2] for i in range(len(pictures))}
    assert record(output)["labels_from"] == str(table)
    assert [(each["label"], each["images"]) for each in record(output)["labels"]] == [("fig", 10), ('pear, "green"', 10)]

    # Another table: other labels for the features that are there. As Parquet, with numbers, and a row too few.
    files = [f"{i:02}.jpg" for i in range(1, len(pictures))]
    pq.write_table(pa.table({"image": files, "label": [i % 3 for i in range(1, len(pictures))]}), tmp_path / "t.parquet")
    done = fruitctl(*run[:5], "--labels", tmp_path / "t.parquet", "-k", 4)
    assert check_complete(output)["images"]["featurized"] == 0
    assert {label for label, _ in results(output).values()} == {"0", "1", "2", "in"}
    assert "1 image is not in it, such as 00.jpg" in done.stderr

    # A picture that is deleted leaves results, features, thumbnails and labels.
    gone = [path for path, (label, _) in found.items() if label == "fig"]
    for path in gone:
        (folder / path).unlink()
    fruitctl(*run)
    now = check_complete(output)
    assert now["images"]["listed"] == 10 and now["images"]["featurized"] == 0 and now["changes"]["removed"] == 10
    assert not set(gone) & set(results(output))
    assert [each["label"] for each in now["labels"]] == ['pear, "green"']
    kept = [pq.read_table(file, columns=["path"])["path"].to_pylist() for file in output.glob(".fruitjob/features/**/*.parquet")]
    assert sorted(sum(kept, [])) == sorted(set(found) - set(gone))
    assert pq.read_table(output / "manifest.parquet")["path"].to_pylist() == sorted(set(found) - set(gone))
    page = (output / "report.html").read_text()
    assert "pear" in page and not any(path in page for path in gone) and ">fig<" not in page
