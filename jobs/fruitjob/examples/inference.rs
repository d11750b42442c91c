//! Times a model's bare inference on one thread: `inference MODEL.onnx [ROUNDS] [--general|--int8] [--features]`. Prints milliseconds of
//! CPU an image, a line a round; the input is noise. With `--features` the features of it instead, a line each.

use fruitjob::model::{Model, Wanted};
use fruitjob_interface::model::{Layout, Precision};

fn main() {
    let (flags, args): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|a| a.starts_with("--"));
    let name = args.first().expect("a model");
    let rounds: usize = args.get(1).map_or(7, |n| n.parse().expect("a number of rounds"));
    let runtime = fruitjob::runtime().expect("a runtime");
    let engine = flags.iter().map(String::as_str).find(|flag| *flag != "--features");
    let options = fruitjob_interface::model::PreprocessingOptions {
        mean: Some(vec![127.5]),
        std: Some(vec![127.5]),
        ..Default::default()
    };
    let precision = if engine == Some("--int8") { Precision::Int8 } else { Precision::F32 };
    let wanted = Wanted { name, output_node: None, sha256: None, preprocessing: &options, precision };
    let model = match engine {
        Some("--general") => Model::load_general(&wanted, runtime.handle()),
        _ => Model::load(&wanted, runtime.handle()),
    };
    let model = model.expect("a model");
    eprintln!("{} {:?}", model.backbone.engine(), model.why_general);
    let [rows, columns] = model.preprocessing.size.map(|n| n as usize);
    // The same picture in either order of axes.
    let noise = |y: usize, x: usize, c: usize| ((y * columns + x) * 3 + c) * 7919 % 255;
    let tensor: Vec<f32> = (0..model.preprocessing.len())
        .map(|i| match model.backbone.layout() {
            Layout::Nhwc => noise(i / 3 / columns, i / 3 % columns, i % 3),
            Layout::Nchw => noise(i / columns % rows, i % columns, i / columns / rows),
        })
        .map(|pixel| pixel as f32 / 127.5 - 1.0)
        .collect();
    let mut features = vec![0.0; model.backbone.features()];
    let mut session = model.backbone.session().expect("a session");
    let mut run = || session.run(&tensor, &mut features).expect("features");
    let start = std::time::Instant::now();
    run();
    if flags.iter().any(|flag| flag == "--features") {
        return features.iter().for_each(|x| println!("{x}"));
    }
    let images = (0.3 / start.elapsed().as_secs_f64()).clamp(5.0, 5000.0) as usize;
    for _ in 0..rounds {
        let start = cpu();
        (0..images).for_each(|_| run());
        println!("{:.4}", (cpu() - start) * 1000.0 / images as f64);
    }
}

/// Seconds of CPU that all threads have used: the general engine has one of its own.
fn cpu() -> f64 {
    let of = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    std::fs::read_dir("/proc/self/task").expect("Linux").filter_map(of).sum::<f64>() / 1e9
}
