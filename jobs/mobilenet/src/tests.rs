//! Networks of many shapes, on every kind of kernels that this processor has, against the definition of a convolution
//! in f64. Compiled for tests, each access to memory by the kernels is checked.

use crate::{Clamp, Isa, Layer, Network, Padding, Precision};

const ONES: Padding = Padding { top: 1, left: 1, bottom: 1, right: 1 };
/// TensorFlow's SAME with stride 2, on even sizes.
const AFTER: Padding = Padding { top: 0, left: 0, bottom: 1, right: 1 };

/// Numbers that repeat themselves.
struct Random(u64);

impl Random {
    fn list(&mut self, n: usize, scale: f32) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
        };
        (0..n).map(|_| next()).collect()
    }

    fn stem(&mut self, outputs: usize, stride: usize, padding: Padding) -> Layer {
        let (weight, bias) = (self.list(outputs * 27, 0.4), self.list(outputs, 0.2));
        Layer::Stem { weight, bias, stride, padding, clamp: Clamp::RELU6 }
    }

    fn depthwise(&mut self, channels: usize, stride: usize, padding: Padding) -> Layer {
        let (weight, bias) = (self.list(channels * 9, 0.6), self.list(channels, 0.2));
        Layer::Depthwise { weight, bias, stride, padding, clamp: Clamp::RELU6 }
    }

    fn pointwise(&mut self, inputs: usize, outputs: usize, clamp: Clamp) -> Layer {
        let scale = (6.0 / inputs as f32).sqrt();
        let (weight, bias) = (self.list(inputs * outputs, scale), self.list(outputs, 0.2));
        Layer::Pointwise { weight, bias, clamp }
    }
}

/// `[channel][row][column]`
#[derive(Clone)]
struct Map {
    channels: usize,
    size: [usize; 2],
    data: Vec<f64>,
}

/// What a layer is by definition.
fn naive(layers: &[Layer], image: &[f32], size: [usize; 2]) -> Vec<f64> {
    let pixels = size[0] * size[1];
    let at = |c: usize, i: usize| f64::from(image[i * 3 + c]);
    let data = (0..3 * pixels).map(|i| at(i / pixels, i % pixels)).collect();
    let mut maps = vec![Map { channels: 3, size, data }];
    for layer in layers {
        let input = maps.last().unwrap();
        let map = match layer {
            Layer::Stem { weight, bias, stride, padding, clamp } => {
                convolve(input, weight, bias, 3, *stride, *padding, *clamp, 3)
            }
            Layer::Depthwise { weight, bias, stride, padding, clamp } => {
                convolve(input, weight, bias, 3, *stride, *padding, *clamp, 1)
            }
            Layer::Pointwise { weight, bias, clamp } => {
                let none = Padding { top: 0, left: 0, bottom: 0, right: 0 };
                convolve(input, weight, bias, 1, 1, none, *clamp, input.channels)
            }
            Layer::Add(from) => {
                let other = &maps[from + 1];
                let data = input.data.iter().zip(&other.data).map(|(a, b)| a + b).collect();
                Map { data, ..input.clone() }
            }
        };
        maps.push(map);
    }
    let last = maps.last().unwrap();
    let pixels = last.size[0] * last.size[1];
    last.data.chunks(pixels).map(|plane| plane.iter().sum::<f64>() / pixels as f64).collect()
}

#[allow(clippy::too_many_arguments)]
fn convolve(
    input: &Map,
    weight: &[f32],
    bias: &[f32],
    kernel: usize,
    stride: usize,
    p: Padding,
    clamp: Clamp,
    group: usize,
) -> Map {
    let side = |n: usize, pad: usize| (n + pad - kernel) / stride + 1;
    let size = [side(input.size[0], p.top + p.bottom), side(input.size[1], p.left + p.right)];
    let mut data = Vec::new();
    for o in 0..bias.len() {
        let first = if group == input.channels { 0 } else { o };
        for y in 0..size[0] {
            for x in 0..size[1] {
                let mut sum = f64::from(bias[o]);
                for i in 0..group {
                    for tap in 0..kernel * kernel {
                        let row = (y * stride + tap / kernel).wrapping_sub(p.top);
                        let column = (x * stride + tap % kernel).wrapping_sub(p.left);
                        if row < input.size[0] && column < input.size[1] {
                            let plane = (first + i) * input.size[0] * input.size[1];
                            let w = f64::from(weight[(o * group + i) * kernel * kernel + tap]);
                            sum += w * input.data[plane + row * input.size[1] + column];
                        }
                    }
                }
                data.push(match clamp {
                    Clamp::None => sum,
                    Clamp::Within { min, max } => sum.clamp(min.into(), max.into()),
                });
            }
        }
    }
    Map { channels: bias.len(), size, data }
}

/// All kernels against the definition; two images one after the other, so that nothing stays behind in a scratch.
fn check(layers: &[Layer], size: [usize; 2]) {
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
        let network = Network::new(layers, size, isa, Precision::F32).unwrap();
        let mut scratch = network.scratch();
        for seed in [1, 2] {
            let image = Random(seed).list(size[0] * size[1] * 3, 1.0);
            let want = naive(layers, &image, size);
            let mut got = vec![f32::NAN; network.features()];
            network.forward(&image, &mut scratch, &mut got);
            assert_eq!(got.len(), want.len());
            let largest = want.iter().fold(0.1, |a: f64, b| a.max(b.abs()));
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let error = (f64::from(*got) - want).abs();
                assert!(error < 1e-5 * largest, "{} {size:?} feature {i}: {got} {want}", isa.name());
            }
        }
    }
}

#[test]
fn blocks_of_mobilenet_v2() {
    // Widths that fill panels of 32 and 16, that end in one of 8, and that fill none; strides and residuals.
    for (size, padding) in [([32, 32], ONES), ([32, 48], AFTER), ([37, 23], ONES)] {
        let mut r = Random(7);
        let layers = [
            r.stem(16, 2, padding),
            r.depthwise(16, 1, ONES),
            r.pointwise(16, 8, Clamp::None),
            r.pointwise(8, 48, Clamp::RELU6),
            r.depthwise(48, 2, padding),
            r.pointwise(48, 24, Clamp::None),
            r.pointwise(24, 144, Clamp::RELU6),
            r.depthwise(144, 1, ONES),
            r.pointwise(144, 24, Clamp::None),
            Layer::Add(5),
            r.pointwise(24, 30, Clamp::RELU),
            r.depthwise(30, 2, padding),
            r.pointwise(30, 13, Clamp::None),
            r.pointwise(13, 70, Clamp::RELU6),
        ];
        check(&layers, size);
    }
}

#[test]
fn blocks_of_mobilenet_v1() {
    let mut r = Random(3);
    let layers = [
        r.stem(20, 2, ONES),
        r.depthwise(20, 1, ONES),
        r.pointwise(20, 40, Clamp::RELU),
        r.depthwise(40, 2, ONES),
        r.pointwise(40, 24, Clamp::RELU),
        r.depthwise(24, 1, ONES),
        r.pointwise(24, 5, Clamp::RELU),
    ];
    check(&layers, [28, 28]);
    check(&layers, [5, 3]);
}

/// An addition between a depthwise convolution before and a 1x1 one behind, of channels that are no multiple of 16.
#[test]
fn narrow_blocks_are_added_alike() {
    for channels in [8, 16, 24] {
        let mut r = Random(11);
        let layers = [
            r.stem(channels, 2, ONES),
            r.depthwise(channels, 1, ONES),
            r.pointwise(channels, channels, Clamp::None),
            r.depthwise(channels, 1, ONES),
            r.pointwise(channels, channels, Clamp::None),
            Layer::Add(2),
            r.pointwise(channels, 24, Clamp::RELU6),
        ];
        check(&layers, [16, 16]);
    }
}

#[test]
fn maps_of_many_strips() {
    // Wide enough that the hidden tensor goes round its ring many times, at both strides.
    let mut r = Random(5);
    let layers = [
        r.stem(32, 1, ONES),
        r.depthwise(32, 1, ONES),
        r.pointwise(32, 16, Clamp::None),
        r.pointwise(16, 96, Clamp::RELU6),
        r.depthwise(96, 2, ONES),
        r.pointwise(96, 16, Clamp::None),
        r.pointwise(16, 80, Clamp::RELU6),
        r.depthwise(80, 1, ONES),
        r.pointwise(80, 16, Clamp::None),
        Layer::Add(5),
    ];
    check(&layers, if cfg!(miri) { [14, 20] } else { [70, 150] });
}

#[test]
fn what_is_not_in_their_manner_is_told() {
    let mut r = Random(1);
    let stem = r.stem(16, 2, ONES);
    let depthwise = r.depthwise(16, 1, ONES);
    let pointwise = r.pointwise(16, 16, Clamp::None);
    let why = |layers: &[&Layer]| {
        let layers: Vec<Layer> = layers.iter().map(|l| (*l).clone()).collect();
        Network::new(&layers, [32, 32], Isa::Portable, Precision::F32).unwrap_err()
    };
    assert!(why(&[]).contains("no layers"));
    assert!(why(&[&stem]).contains("without a depthwise"));
    assert!(why(&[&stem, &depthwise]).contains("without a 1x1"));
    assert!(why(&[&pointwise]).contains("channels"));
    assert!(why(&[&stem, &depthwise, &pointwise, &stem]).contains("1x1"));
    assert!(why(&[&stem, &depthwise, &pointwise, &Layer::Add(0)]).contains("addition"));
    let other = r.depthwise(24, 1, ONES);
    assert!(why(&[&stem, &other, &pointwise]).contains("24 channels on 16"));
    let far = r.depthwise(16, 1, AFTER);
    assert!(why(&[&stem, &far, &pointwise]).contains("padding"));
}

#[test]
fn bytes_come_close_to_floats_and_are_the_same_everywhere() {
    let mut r = Random(11);
    let layers = [
        r.stem(16, 2, ONES),
        r.depthwise(16, 1, ONES),
        r.pointwise(16, 24, Clamp::None),
        r.pointwise(24, 144, Clamp::RELU6),
        r.depthwise(144, 1, ONES),
        r.pointwise(144, 24, Clamp::None),
        Layer::Add(2),
        r.pointwise(24, 80, Clamp::RELU6),
        r.depthwise(80, 2, ONES),
        r.pointwise(80, 13, Clamp::None),
        r.pointwise(13, 70, Clamp::RELU6),
    ];
    let size = if cfg!(miri) { [12, 10] } else { [66, 90] };
    let image = Random(4).list(size[0] * size[1] * 3, 1.0);
    let run = |isa: Isa, precision| {
        let network = Network::new(&layers, size, isa, precision).unwrap();
        let mut features = vec![f32::NAN; network.features()];
        let mut scratch = network.scratch();
        network.forward(&image, &mut scratch, &mut features);
        let first = features.clone();
        network.forward(&image, &mut scratch, &mut features);
        assert_eq!(first, features);
        features
    };
    let distance = |a: &[f32], b: &[f32]| {
        let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
        norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut a.iter().copied())
    };
    let floats = run(Isa::Portable, Precision::F32);
    let portable = run(Isa::Portable, Precision::Int8);
    assert!(distance(&floats, &portable) < 0.02, "{}", distance(&floats, &portable));
    assert_ne!(floats, portable);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here() && (*isa != Isa::Avx512 || isa.has_dot())) {
        // Sums of bytes are exact; a depthwise sum that differs in its last bit may round to the next byte.
        let far = distance(&portable, &run(isa, Precision::Int8));
        assert!(far < 2e-3, "{}: {far}", isa.name());
    }
}

#[test]
fn bytes_need_bounded_activations() {
    let mut r = Random(1);
    let mut layers = [r.stem(16, 2, ONES), r.depthwise(16, 1, ONES), r.pointwise(16, 16, Clamp::None)];
    let Layer::Depthwise { clamp, .. } = &mut layers[1] else { unreachable!() };
    *clamp = Clamp::RELU;
    let why = Network::new(&layers, [32, 32], Isa::Portable, Precision::Int8).unwrap_err();
    assert!(why.contains("ReLU6"), "{why}");
}
