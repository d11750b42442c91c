//! What a model wants of pixels: options first, then the metadata of its file, then the shape of its input.

use std::collections::HashMap;

use fruitjob_interface::model::{
    Color, ExifOrientation, Fit, Layout, Preprocessing, PreprocessingOptions, Resample,
};

use super::graph;
use super::onnx::ModelProto;

/// Values of the file's metadata by their keys.
type Metadata<'a> = HashMap<&'a str, &'a str>;

/// Settles every field of the preprocessing; also what a person should know of how it was understood.
///
/// # Errors
/// What is missing or contradicts itself, and the flag that says it.
pub(super) fn resolve(
    proto: &ModelProto,
    options: &PreprocessingOptions,
) -> Result<(Preprocessing, Option<String>), String> {
    let metadata: Metadata = proto.metadata_props.iter().map(|p| (p.key(), p.value())).collect();
    let shape = graph::input_shape(proto)?;
    let [_, a, b, c] = shape[..] else {
        return Err(format!("its input has {} axes; an image model's has 4", shape.len()));
    };
    let layout = layout(options, &metadata, [a, c])?;
    let [h, w] = match layout {
        Layout::Nchw => [b, c],
        Layout::Nhwc => [a, b],
    };
    let size = size(options, &metadata, [h, w])?;
    let resize = resize(options, &metadata, size[0].min(size[1]))?;
    let mean = channels("mean", &options.mean, &metadata)?;
    let std = channels("std", &options.std, &metadata)?;
    if !mean.iter().chain(&std).all(|x| x.is_finite()) || std.iter().any(|x| *x <= 0.0) {
        return Err(format!("a normalisation of mean {mean:?} and std {std:?}; std must be above 0"));
    }
    let (mean, std, note) = scaled(mean, std)?;
    let color = match (options.color, metadata.get("color").map(|c| c.to_ascii_uppercase()).as_deref()) {
        (Some(color), _) => color,
        (None, Some("BGR")) => Color::Bgr,
        _ => Color::Rgb,
    };
    let stated = |key: &str| metadata.get(key).map(|text| text.trim().to_ascii_lowercase());
    let resample = match (options.resample, stated("resample").as_deref()) {
        (Some(resample), _) => resample,
        (None, None | Some("bilinear")) => Resample::Bilinear,
        (None, Some("bicubic")) => Resample::Bicubic,
        (None, Some(_)) => return Err(unknown("resample", "bilinear|bicubic")),
    };
    let fit = match (options.fit, stated("fit").as_deref()) {
        (Some(fit), _) => fit,
        (None, None | Some("crop")) => Fit::Crop,
        (None, Some("squash")) => Fit::Squash,
        (None, Some(_)) => return Err(unknown("fit", "crop|squash")),
    };
    let exif_orientation = match (options.exif_orientation, stated("exif_orientation").as_deref()) {
        (Some(orientation), _) => orientation,
        (None, None | Some("apply")) => ExifOrientation::Apply,
        (None, Some("ignore")) => ExifOrientation::Ignore,
        (None, Some(_)) => return Err(unknown("exif_orientation", "apply|ignore")),
    };
    let preprocessing =
        Preprocessing { size, resize, mean, std, color, layout, resample, fit, exif_orientation };
    Ok((preprocessing, note))
}

fn unknown(key: &str, values: &str) -> String {
    format!("its metadata has a '{key}' that is not known; give --{} {values}", key.replace('_', "-"))
}

/// Mean, std, and a note.
type Scaled = ([f32; 3], [f32; 3], Option<String>);

/// Mean and std on the scale 0-255, and a note where they were taken to be on the scale 0-1, as torchvision and timm
/// write them.
fn scaled(mean: [f32; 3], std: [f32; 3]) -> Result<Scaled, String> {
    let small = |numbers: [f32; 3]| numbers.iter().all(|x| x.abs() <= 1.0);
    let is = |numbers: [f32; 3], value: f32| numbers == [value; 3];
    let list = |numbers: [f32; 3]| numbers.map(|x| x.to_string()).join(",");
    match (small(mean), small(std)) {
        // Nothing is done to the pixels: a model that normalises by itself, or one that was forgotten.
        (true, true) if is(mean, 0.0) && is(std, 1.0) => {
            let note = "mean 0 and std 1: the model gets pixels from 0 to 255; if it wants them from 0 to 1, give --std 255";
            Ok((mean, std, Some(note.into())))
        }
        (true, true) => {
            // By the digits that were typed, so that 0.224 becomes the same number as 57.12.
            let digits = |x: f32| x.to_string().parse::<f64>().unwrap_or_else(|_| x.into());
            let larger = |numbers: [f32; 3]| numbers.map(|x| (digits(x) * 255.0) as f32);
            let (large_mean, large_std) = (larger(mean), larger(std));
            let note = format!(
                "mean {} and std {} are taken to be on the scale 0-1: {} and {} on the scale 0-255",
                list(mean),
                list(std),
                list(large_mean),
                list(large_std)
            );
            Ok((large_mean, large_std, Some(note)))
        }
        // Nothing is subtracted, on either scale; a few models subtract without dividing.
        (true, false) if is(mean, 0.0) => Ok((mean, std, None)),
        (false, true) if is(std, 1.0) => Ok((mean, std, None)),
        (false, false) => Ok((mean, std, None)),
        _ => Err(format!(
            "mean {} and std {} are on different scales; give both on the scale 0-255 or both on the scale 0-1",
            list(mean),
            list(std)
        )),
    }
}

/// Order of axes; `ends` are the lengths of the second axis and the last.
fn layout(
    options: &PreprocessingOptions,
    metadata: &Metadata,
    ends: [Option<i64>; 2],
) -> Result<Layout, String> {
    match (options.layout, metadata.get("layout").map(|l| l.to_ascii_uppercase()).as_deref()) {
        (Some(layout), _) => Ok(layout),
        (None, Some("NCHW")) => Ok(Layout::Nchw),
        (None, Some("NHWC")) => Ok(Layout::Nhwc),
        (None, _) if ends[0] == Some(3) => Ok(Layout::Nchw),
        (None, _) if ends[1] == Some(3) => Ok(Layout::Nhwc),
        _ => Err("its input has no axis of 3 colours; give --layout nchw or nhwc".into()),
    }
}

/// Height and width in pixels; `fixed` are those of the input's shape.
fn size(
    options: &PreprocessingOptions,
    metadata: &Metadata,
    fixed: [Option<i64>; 2],
) -> Result<[u32; 2], String> {
    let stated = metadata.get("input_size").and_then(|s| s.trim().parse::<u32>().ok());
    let size = match (options.input_size.or(stated), fixed) {
        (Some(size), fixed) => {
            let other = fixed.into_iter().flatten().find(|fixed| *fixed != i64::from(size));
            if let Some(fixed) = other {
                return Err(format!("its input is {fixed} pixels wide or high, not {size}"));
            }
            [size, size]
        }
        (None, [Some(h), Some(w)]) => [h as u32, w as u32],
        _ => return Err("it does not say the size of its input; give --input-size".into()),
    };
    if !size.iter().all(|s| (1..=2048).contains(s)) {
        return Err(format!("an input of {}x{} pixels; 1 to 2048 are possible", size[0], size[1]));
    }
    Ok(size)
}

/// What an image's shorter side is resized to, in pixels; `shorter` is the input's.
fn resize(options: &PreprocessingOptions, metadata: &Metadata, shorter: u32) -> Result<u32, String> {
    let stated = metadata.get("resize").and_then(|s| s.trim().parse::<u32>().ok());
    // A size that was overruled takes the margin that the model states along, in proportion.
    let stated = stated.map(|s| match (options.input_size, metadata.get("input_size")) {
        (Some(_), Some(own)) => {
            u64::from(s) * u64::from(shorter) / own.trim().parse::<u64>().unwrap_or(shorter.into()).max(1)
        }
        _ => u64::from(s),
    });
    let resize = options.resize.map(u64::from).or(stated).unwrap_or(shorter.into());
    if !(u64::from(shorter)..=4096).contains(&resize) {
        return Err(format!(
            "an image resized to {resize} pixels, of which {shorter} are used; give --resize"
        ));
    }
    Ok(resize as u32)
}

/// A number for each of the three channels.
fn channels(flag: &str, option: &Option<Vec<f32>>, metadata: &Metadata) -> Result<[f32; 3], String> {
    let stated = metadata
        .get(flag)
        .and_then(|text| text.split(',').map(|n| n.trim().parse().ok()).collect::<Option<Vec<f32>>>());
    match option.clone().or(stated).as_deref() {
        Some([x]) => Ok([*x; 3]),
        Some([x, y, z]) => Ok([*x, *y, *z]),
        Some(other) => Err(format!("--{flag} takes one number or three, not {}", other.len())),
        None => Err(format!(
            "it does not say its normalisation; give --mean and --std, for example \
             127.5 and 127.5 (Keras MobileNet) or 0.485,0.456,0.406 and 0.229,0.224,0.225 \
             (torchvision); --{flag} is missing"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::{property, value};
    use super::super::onnx::GraphProto;
    use super::*;

    /// A model with this input and metadata.
    fn proto(shape: &[Result<usize, &str>], metadata: &[(&str, &str)]) -> ModelProto {
        let graph = GraphProto { input: vec![value("image", shape)], ..Default::default() };
        let metadata_props = metadata.iter().map(|(key, text)| property(key, *text)).collect();
        ModelProto { graph: Some(graph), metadata_props, ..Default::default() }
    }

    /// Planes of any size.
    const PLANES: [Result<usize, &str>; 4] = [Err("N"), Ok(3), Err("H"), Err("W")];
    const NORMALISED: [(&str, &str); 2] = [("mean", "127.5"), ("std", "10, 20,30")];

    fn with(metadata: &[(&str, &str)], options: &PreprocessingOptions) -> Result<Preprocessing, String> {
        resolve(&proto(&PLANES, &[&NORMALISED, metadata].concat()), options).map(|(found, _)| found)
    }

    fn none() -> PreprocessingOptions {
        PreprocessingOptions::default()
    }

    #[test]
    fn the_shape_of_the_input_says_layout_and_size() {
        let of = |shape: &[Result<usize, &str>]| {
            resolve(&proto(shape, &NORMALISED), &none()).map(|(p, _)| (p.layout, p.size, p.resize))
        };
        assert_eq!(of(&[Ok(1), Ok(3), Ok(96), Ok(64)]), Ok((Layout::Nchw, [96, 64], 64)));
        assert_eq!(of(&[Err("N"), Ok(96), Ok(64), Ok(3)]), Ok((Layout::Nhwc, [96, 64], 64)));
        assert!(of(&[Err("N"), Ok(1), Ok(96), Ok(96)]).unwrap_err().contains("--layout"));
        assert!(of(&[Err("N"), Ok(3), Ok(96)]).unwrap_err().contains("3 axes"));
        assert!(of(&PLANES).unwrap_err().contains("--input-size"));
        assert!(of(&[Err("N"), Ok(3), Ok(4096), Ok(4096)]).unwrap_err().contains("1 to 2048"));
    }

    #[test]
    fn options_overrule_metadata_and_metadata_the_shape() {
        let metadata = [("input_size", "96"), ("resize", "100"), ("color", "bgr"), ("layout", "nchw")];
        let stated = with(&metadata, &none()).unwrap();
        assert_eq!((stated.size, stated.resize, stated.color), ([96, 96], 100, Color::Bgr));
        assert_eq!((stated.mean, stated.std), ([127.5; 3], [10.0, 20.0, 30.0]));
        let options = PreprocessingOptions {
            resize: Some(96),
            mean: Some(vec![0.0]),
            color: Some(Color::Rgb),
            ..none()
        };
        let overruled = with(&metadata, &options).unwrap();
        assert_eq!((overruled.resize, overruled.color), (96, Color::Rgb));
        assert_eq!((overruled.mean, overruled.std), ([0.0; 3], [10.0, 20.0, 30.0]));
    }

    #[test]
    fn another_size_takes_the_margin_along() {
        let options = PreprocessingOptions { input_size: Some(192), ..none() };
        let twice = with(&[("input_size", "96"), ("resize", "100")], &options).unwrap();
        assert_eq!((twice.size, twice.resize), ([192, 192], 200));
        // Where the model states no size of its own, there is no proportion.
        assert_eq!(with(&[("resize", "200")], &options).unwrap().resize, 200);
    }

    #[test]
    fn a_margin_beyond_all_numbers_is_refused() {
        let options = PreprocessingOptions { input_size: Some(2048), ..none() };
        let huge = with(&[("input_size", "1"), ("resize", "4000000000")], &options).unwrap_err();
        assert!(huge.contains("--resize"), "{huge}");
    }

    #[test]
    fn means_on_the_scale_of_one_are_recognised_and_what_is_ambiguous_is_refused() {
        let of = |mean: &str, std: &str| {
            let metadata = [("mean", mean), ("std", std), ("input_size", "8")];
            resolve(&proto(&PLANES, &metadata), &none()).map(|(found, note)| (found.mean, found.std, note))
        };
        let (mean, std, note) = of("0.485,0.456,0.406", "0.229,0.224,0.225").unwrap();
        assert_eq!((mean, std), ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]));
        assert!(note.unwrap().contains("scale 0-1: 123.675,116.28,103.53 and 58.395,57.12,57.375"));
        assert_eq!(of("0.5", "0.5").unwrap().0, [127.5; 3]);
        assert_eq!(of("0", "0.5").unwrap().1, [127.5; 3]);
        for (mean, std) in [("127.5", "127.5"), ("0", "255"), ("103.9,116.8,123.7", "1")] {
            assert_eq!(of(mean, std).unwrap().2, None, "{mean} {std}");
        }
        let (mean, std, note) = of("0", "1").unwrap();
        assert_eq!((mean, std), ([0.0; 3], [1.0; 3]));
        assert!(note.unwrap().contains("from 0 to 255"));
        for (mean, std) in [("123.675", "0.229"), ("0.485", "58.395"), ("0.485,0.456,103.5", "0.2")] {
            assert!(of(mean, std).unwrap_err().contains("different scales"), "{mean} {std}");
        }
    }

    #[test]
    fn filter_and_fit_come_from_options_then_from_the_model() {
        let metadata =
            [("input_size", "8"), ("resample", "Bicubic"), ("fit", "squash"), ("exif_orientation", "ignore")];
        let stated = with(&metadata, &none()).unwrap();
        assert_eq!((stated.resample, stated.fit), (Resample::Bicubic, Fit::Squash));
        assert_eq!(stated.exif_orientation, ExifOrientation::Ignore);
        let options =
            PreprocessingOptions { resample: Some(Resample::Bilinear), fit: Some(Fit::Crop), ..none() };
        let overruled = with(&metadata, &options).unwrap();
        assert_eq!((overruled.resample, overruled.fit), (Resample::Bilinear, Fit::Crop));
        assert!(with(&[("input_size", "8"), ("fit", "border")], &none()).unwrap_err().contains("--fit"));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let why =
            |metadata: &[(&str, &str)], options: PreprocessingOptions| with(metadata, &options).unwrap_err();
        let size = PreprocessingOptions { input_size: Some(96), ..none() };
        assert!(why(&[("resize", "90")], size.clone()).contains("--resize"));
        assert!(why(&[("std", "0")], size.clone()).contains("std must be above 0"));
        assert!(why(&[("std", "-1")], size.clone()).contains("std must be above 0"));
        assert!(why(&[("mean", "inf")], size.clone()).contains("normalisation of mean"));
        assert!(why(&[("mean", "1,2")], size.clone()).contains("not 2"));
        assert!(why(&[("mean", "one")], size).contains("--mean is missing"));
        let fixed = proto(&[Err("N"), Ok(3), Ok(64), Ok(64)], &NORMALISED);
        let size = PreprocessingOptions { input_size: Some(96), ..none() };
        assert!(resolve(&fixed, &size).unwrap_err().contains("64 pixels wide or high, not 96"));
    }
}
