//! What a model wants of pixels: options first, then the metadata of its file, then the shape of its input.

use std::collections::HashMap;

use fruitjob_interface::model::{Color, Layout, Preprocessing, PreprocessingOptions};

use super::graph;
use super::onnx::ModelProto;

/// Values of the file's metadata by their keys.
type Metadata<'a> = HashMap<&'a str, &'a str>;

/// Settles every field of the preprocessing.
///
/// # Errors
/// What is missing or contradicts itself, and the flag that says it.
pub(super) fn resolve(proto: &ModelProto, options: &PreprocessingOptions) -> Result<Preprocessing, String> {
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
    let color = match (options.color, metadata.get("color").map(|c| c.to_ascii_uppercase()).as_deref()) {
        (Some(color), _) => color,
        (None, Some("BGR")) => Color::Bgr,
        _ => Color::Rgb,
    };
    Ok(Preprocessing { size, resize, mean, std, color, layout })
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
        (Some(_), Some(own)) => s * shorter / own.trim().parse::<u32>().unwrap_or(shorter).max(1),
        _ => s,
    });
    let resize = options.resize.or(stated).unwrap_or(shorter);
    if !(shorter..=4096).contains(&resize) {
        return Err(format!(
            "an image resized to {resize} pixels, of which {shorter} are used; give --resize"
        ));
    }
    Ok(resize)
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
            "it does not say its normalisation; give --mean and --std on the scale 0-255, for example \
             127.5 and 127.5 (Keras MobileNet) or 123.675,116.28,103.53 and 58.395,57.12,57.375 \
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
    const NORMALISED: [(&str, &str); 2] = [("mean", "127.5"), ("std", "1, 2,3")];

    fn with(metadata: &[(&str, &str)], options: &PreprocessingOptions) -> Result<Preprocessing, String> {
        resolve(&proto(&PLANES, &[&NORMALISED, metadata].concat()), options)
    }

    fn none() -> PreprocessingOptions {
        PreprocessingOptions::default()
    }

    #[test]
    fn the_shape_of_the_input_says_layout_and_size() {
        let of = |shape: &[Result<usize, &str>]| {
            resolve(&proto(shape, &NORMALISED), &none()).map(|p| (p.layout, p.size, p.resize))
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
        assert_eq!((stated.mean, stated.std), ([127.5; 3], [1.0, 2.0, 3.0]));
        let options = PreprocessingOptions {
            resize: Some(96),
            mean: Some(vec![0.0]),
            color: Some(Color::Rgb),
            ..none()
        };
        let overruled = with(&metadata, &options).unwrap();
        assert_eq!((overruled.resize, overruled.color), (96, Color::Rgb));
        assert_eq!((overruled.mean, overruled.std), ([0.0; 3], [1.0, 2.0, 3.0]));
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
