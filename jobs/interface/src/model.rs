//! The backbone, as it is asked for: which one, how precise, and what it is told of pixels.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The model used when none is named.
pub const DEFAULT: &str = Inside::Builtin.name();

/// A backbone that comes with the program. The model card (`jobs/fruitjob/training/MODEL_CARD.md`) tells of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// The small one for pictures of fruit, photographs included.
    Builtin,
    /// The one that had that name before: for turntable pictures alone.
    Builtin1,
    /// ImageNet's MobileNetV2. Too large to be in every executable: fruitctl has it, and ships it to clusters.
    MobilenetV2,
}

impl Inside {
    /// All of them; the default first.
    pub const ALL: [Inside; 3] = [Inside::Builtin, Inside::Builtin1, Inside::MobilenetV2];

    /// What `--model` calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Inside::Builtin => "builtin",
            Inside::Builtin1 => "builtin-1",
            Inside::MobilenetV2 => "mobilenet_v2",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|inside| inside.name() == name)
    }

    /// Whether every fruitjob has it.
    pub fn is_in_every_job(self) -> bool {
        self != Inside::MobilenetV2
    }
}

/// What is known of a model that comes with the program, and what it does on this machine.
#[derive(Debug, Clone, Serialize)]
pub struct InsideFacts {
    /// What `--model` calls it.
    pub name: &'static str,
    /// Of its ONNX file.
    pub bytes: usize,
    /// Of its ONNX file, in hexadecimal.
    pub sha256: String,
    /// Height and width of its input, in pixels.
    pub input_size: u32,
    /// What an image's shorter side is resized to before, in pixels.
    pub resize: u32,
    /// Numbers a vector.
    pub features: usize,
    /// What it was trained on.
    pub trained_on: &'static str,
    /// Its licence, and those of the pictures that it was trained on.
    pub licence: &'static str,
    /// Percent of Fruits-360's test images whose nearest training image, on 64 components, is of the same of 131 classes.
    pub turntable_percent: f32,
    /// The same of photographs from shops, of 50 classes.
    pub photographs_percent: f32,
    /// Images a second that a core of this machine runs through the network; reading and decoding are not in it.
    pub images_per_second: f64,
}

/// What a model computes with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats
    #[default]
    F32,
    /// Bytes: faster on processors with AVX-512 VNNI, and a little less accurate
    Int8,
}

/// What a model file does not say, or says wrongly. Everything unset comes from the file's metadata
/// (`input_size`, `resize`, `mean`, `std`, `color`, `layout`) or its input's shape.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessingOptions {
    /// Height and width of the model's input, in pixels [default: from the model]
    #[arg(long = "input-size", value_name = "PIXELS")]
    pub input_size: Option<u32>,
    /// Resize the image's shorter side to this before the input is cut from its centre [default: from the model,
    /// or the input size]
    #[arg(long, value_name = "PIXELS")]
    pub resize: Option<u32>,
    /// Subtracted from each channel: one number or three, on the scale 0-255, or with --std on the scale 0-1
    /// [default: from the model]
    #[arg(long, value_name = "X[,Y,Z]", value_delimiter = ',', allow_negative_numbers = true)]
    pub mean: Option<Vec<f32>>,
    /// Divides each channel then: one number or three, on the same scale as --mean [default: from the model]
    #[arg(long, value_name = "X[,Y,Z]", value_delimiter = ',')]
    pub std: Option<Vec<f32>>,
    /// Order of the colour channels [default: from the model, or rgb]
    #[arg(long, value_enum)]
    pub color: Option<Color>,
    /// Order of the input's axes [default: from the model]
    #[arg(long, value_enum)]
    pub layout: Option<Layout>,
    /// How an image is resized [default: from the model, or bilinear]
    #[arg(long, value_enum)]
    pub resample: Option<Resample>,
    /// How an image of another shape becomes the input [default: from the model, or crop]
    #[arg(long, value_enum)]
    pub fit: Option<Fit>,
    /// What becomes of the orientation that a camera noted in a picture's EXIF [default: from the model, or apply]
    #[arg(long, value_enum)]
    pub exif_orientation: Option<ExifOrientation>,
}

impl PreprocessingOptions {
    /// These options where they are set, `other`'s elsewhere.
    pub fn or(self, other: Self) -> Self {
        PreprocessingOptions {
            input_size: self.input_size.or(other.input_size),
            resize: self.resize.or(other.resize),
            mean: self.mean.or(other.mean),
            std: self.std.or(other.std),
            color: self.color.or(other.color),
            layout: self.layout.or(other.layout),
            resample: self.resample.or(other.resample),
            fit: self.fit.or(other.fit),
            exif_orientation: self.exif_orientation.or(other.exif_orientation),
        }
    }

    /// The command-line arguments that say the same.
    pub fn args(&self) -> Vec<String> {
        let list = |numbers: &Vec<f32>| numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        let word = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
        let values = [
            ("input-size", self.input_size.map(|size| size.to_string())),
            ("resize", self.resize.map(|size| size.to_string())),
            ("mean", self.mean.as_ref().map(list)),
            ("std", self.std.as_ref().map(list)),
            ("color", self.color.as_ref().map(|color| word(color))),
            ("layout", self.layout.as_ref().map(|layout| word(layout))),
            ("resample", self.resample.as_ref().map(|filter| word(filter))),
            ("fit", self.fit.as_ref().map(|fit| word(fit))),
            ("exif-orientation", self.exif_orientation.as_ref().map(|what| word(what))),
        ];
        values.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?))).collect()
    }
}

/// Order of the colour planes that the model was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Red first, as in Keras and PyTorch
    Rgb,
    /// Blue first, as in OpenCV and Caffe
    Bgr,
}

/// Order of the input tensor's axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Planes, as in PyTorch
    Nchw,
    /// Interleaved, as in TensorFlow
    Nhwc,
}

/// How an image is resized. Both filters are widened when an image shrinks, as Pillow's are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Resample {
    /// By a triangle filter, as torchvision's and Keras' models mostly want
    #[default]
    Bilinear,
    /// By a cubic filter (a = -0.5), as timm's and CLIP's models mostly want
    Bicubic,
}

/// How an image of another shape becomes the input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The shape of things is kept, and the longer side's ends are cut off
    #[default]
    Crop,
    /// Each side is resized for itself, and nothing is cut off but the margin that --resize leaves
    Squash,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What becomes of the orientation that a camera noted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ExifOrientation {
    /// The picture is turned upright, as viewers show it
    Apply,
    /// The pixels are taken as they are stored, as versions before this option took them
    // What a record says that does not know of it.
    #[default]
    Ignore,
}

/// How an image becomes a tensor. Part of the key of cached features: another preprocessing, other features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Preprocessing {
    /// Height and width of the tensor, in pixels.
    pub size: [u32; 2],
    /// The shorter side of the image, in pixels, when the tensor is cut from its centre; at least `size`'s shorter
    /// one, and equal to it when nothing but what the aspect demands is cut off.
    pub resize: u32,
    /// Subtracted from each channel, in the tensor's channel order, on the scale 0 to 255.
    pub mean: [f32; 3],
    /// Then each channel is divided by this, in the same order and on the same scale.
    pub std: [f32; 3],
    /// Order of the tensor's channels.
    pub color: Color,
    /// Axis order of the model's input.
    pub layout: Layout,
    /// How it is resized; bilinear where the field is missing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resample: Resample,
    /// How the shape of the image becomes that of the tensor; by cropping where the field is missing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fit: Fit,
    /// Whether the picture is turned as its EXIF says; where the field is missing, it was not.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exif_orientation: ExifOrientation,
}

impl Preprocessing {
    /// Elements of one image's tensor: `3 * height * width`.
    pub fn len(&self) -> usize {
        3 * self.size[0] as usize * self.size[1] as usize
    }

    /// Width and height of what an image is resized to before the tensor is cut from its centre, in pixels, when it has the
    /// tensor's aspect.
    pub fn resized(&self) -> [u32; 2] {
        let [h, w] = self.size.map(|side| (side * self.resize).div_ceil(self.size[0].min(self.size[1])));
        [w, h]
    }

    /// Whether the tensor has no element; it never does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
