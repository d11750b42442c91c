//! Images a second of one core, for each kind of kernels that this processor has, and as a share of what its rate of
//! multiplication allows: `cargo bench -p mobilenet`. Weights are noise; the time does not depend on them.

use criterion::{Criterion, Throughput};
use mobilenet::{Clamp, Isa, Layer, Network, Padding, Precision, roof};

const ONES: Padding = Padding { top: 1, left: 1, bottom: 1, right: 1 };

fn noise(n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 % 2003) as f32 / 1001.0 - 1.0) * scale).collect()
}

fn pointwise(inputs: usize, outputs: usize, clamp: Clamp) -> Layer {
    Layer::Pointwise {
        weight: noise(inputs * outputs, (3.0 / inputs as f32).sqrt()),
        bias: noise(outputs, 0.1),
        clamp,
    }
}

/// MobileNetV2 of any width, with a head of `features`.
fn mobilenet_v2(width: f32, features: usize) -> Vec<Layer> {
    let channels = |n: usize| {
        let n = n as f32 * width;
        let rounded = (((n + 4.0) / 8.0) as usize * 8).max(8);
        if (rounded as f32) < 0.9 * n { rounded + 8 } else { rounded }
    };
    let (padding, clamp) = (ONES, Clamp::RELU6);
    let mut c = channels(32);
    let mut layers =
        vec![Layer::Stem { weight: noise(c * 27, 0.3), bias: noise(c, 0.1), stride: 2, padding, clamp }];
    for (expansion, to, blocks, first_stride) in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ] {
        for block in 0..blocks {
            let (entry, hidden, to) = (layers.len() - 1, c * expansion, channels(to));
            let stride = if block == 0 { first_stride } else { 1 };
            if expansion > 1 {
                layers.push(pointwise(c, hidden, clamp));
            }
            let (weight, bias) = (noise(hidden * 9, 0.5), noise(hidden, 0.1));
            layers.push(Layer::Depthwise { weight, bias, stride, padding, clamp });
            layers.push(pointwise(hidden, to, Clamp::None));
            if stride == 1 && c == to {
                layers.push(Layer::Add(entry));
            }
            c = to;
        }
    }
    layers.push(pointwise(c, features, clamp));
    layers
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut shares = Vec::new();
    for (name, width, size, features) in [("1.0 at 224", 1.0, 224, 1280), ("0.35 at 96", 0.35, 96, 256)] {
        let layers = mobilenet_v2(width, features);
        let mut group = criterion.benchmark_group(format!("MobileNetV2 {name}"));
        group.throughput(Throughput::Elements(1));
        let kinds = Isa::ALL.into_iter().filter(|isa| isa.is_here()).map(|isa| (isa, Precision::F32));
        let bytes = Isa::ALL.into_iter().filter(|isa| isa.has_dot()).map(|isa| (isa, Precision::Int8));
        for (isa, precision) in kinds.chain(bytes) {
            let label = format!("{}{}", isa.name(), if precision == Precision::Int8 { " int8" } else { "" });
            let network = Network::new(&layers, [size; 2], isa, precision).expect("in MobileNet's manner");
            let (mut scratch, image) = (network.scratch(), noise(size * size * 3, 1.0));
            let mut vector = vec![0.0; features];
            let mut fastest = f64::INFINITY;
            group.bench_function(&label, |bencher| {
                bencher.iter_custom(|times| {
                    let start = std::time::Instant::now();
                    (0..times).for_each(|_| network.forward(&image, &mut scratch, &mut vector));
                    let elapsed = start.elapsed();
                    fastest = fastest.min(elapsed.as_secs_f64() / times as f64);
                    elapsed
                });
            });
            if fastest.is_finite() {
                shares.push((name, label, isa, network.multiply_adds(), fastest));
            }
        }
        group.finish();
    }
    println!(
        "\n{:<12} {:<12} {:>10} {:>12} {:>9} {:>7}",
        "MobileNetV2", "kernels", "images/s", "multiply-adds", "GFLOP/s", "roof"
    );
    for (name, label, isa, multiply_adds, seconds) in shares {
        let rate = multiply_adds as f64 / seconds;
        println!(
            "{name:<12} {:<12} {:>10.0} {:>11.1} M {:>9.1} {:>6.0}%",
            label,
            1.0 / seconds,
            multiply_adds as f64 / 1e6,
            2.0 * rate / 1e9,
            100.0 * rate / roof(isa)
        );
    }
}
