//! Draws pictures of fruit that never grew, in the manner of Fruits-360: 100 x 100 JPEGs on white, one folder
//! a class, each picture another view of the class's fruit as it turns. Anyone can try, test and load the job
//! with them, at any size and without a data set.
//!
//! A class is a shape, a palette and a skin, all drawn from the seed and the class's number alone; a picture
//! is an angle, a light and a little noise, drawn from the class and the picture's number.

use std::f32::consts::{PI, TAU};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::error::{Error, Result};
use crate::image::encode::encode_jpeg;

/// Width and height of a picture, in pixels.
pub const SIZE: u16 = 100;

const FRUITS: [(&str, Shape, [f32; 2]); 16] = [
    // Name, shape, range of hues in degrees.
    ("Apple", Shape::Round { flat: 0.95, dent: 0.12 }, [-15.0, 110.0]),
    ("Banana", Shape::Crescent, [44.0, 62.0]),
    ("Blueberry", Shape::Round { flat: 1.0, dent: 0.02 }, [225.0, 265.0]),
    ("Carambola", Shape::Lobed { lobes: 5.0, depth: 0.28 }, [50.0, 85.0]),
    ("Cherry", Shape::Round { flat: 1.0, dent: 0.08 }, [-18.0, 8.0]),
    ("Fig", Shape::Pear { neck: 0.55 }, [265.0, 320.0]),
    ("Kiwi", Shape::Oval { long: 1.25 }, [28.0, 42.0]),
    ("Lemon", Shape::Oval { long: 1.35 }, [48.0, 60.0]),
    ("Mango", Shape::Pear { neck: 0.85 }, [5.0, 75.0]),
    ("Melon", Shape::Oval { long: 1.12 }, [55.0, 110.0]),
    ("Orange", Shape::Round { flat: 0.98, dent: 0.03 }, [20.0, 36.0]),
    ("Pear", Shape::Pear { neck: 0.5 }, [45.0, 95.0]),
    ("Pepper", Shape::Lobed { lobes: 4.0, depth: 0.12 }, [0.0, 125.0]),
    ("Plum", Shape::Oval { long: 1.15 }, [280.0, 350.0]),
    ("Quince", Shape::Lobed { lobes: 6.0, depth: 0.06 }, [50.0, 66.0]),
    ("Tomato", Shape::Lobed { lobes: 7.0, depth: 0.05 }, [0.0, 18.0]),
];

#[derive(Debug, Clone, Copy)]
enum Shape {
    Round { flat: f32, dent: f32 },
    Oval { long: f32 },
    Pear { neck: f32 },
    Lobed { lobes: f32, depth: f32 },
    Crescent,
}

/// One class's fruit.
struct Fruit {
    name: String,
    shape: Shape,
    /// Radius in pixels.
    radius: f32,
    /// Colours of skin and blush: hue in degrees, saturation, value.
    skin: [f32; 3],
    blush: [f32; 3],
    /// Where on the skin the blush begins, -1..1.
    blush_edge: f32,
    /// Stripes around the axis, and how strong they are.
    stripes: (f32, f32),
    /// Spots: longitude, latitude, radius; all in radians.
    spots: Vec<[f32; 3]>,
    /// Grain of the skin.
    rough: f32,
    gloss: f32,
    stem: bool,
}

impl Fruit {
    fn new(seed: u64, class: usize) -> Self {
        let mut rng = Pcg64::new(u128::from(seed) << 64 | class as u128, 0xF2417);
        let (kind, shape, [from, to]) = FRUITS[class % FRUITS.len()];
        let hue = rng.random_range(from..to);
        let skin = [hue, rng.random_range(0.55..0.95), rng.random_range(0.6..0.95)];
        let blush = [hue + rng.random_range(-35.0..15.0), skin[1], skin[2] * rng.random_range(0.55..1.0)];
        let spots = if rng.random_bool(0.4) { rng.random_range(5..40) } else { 0 };
        Fruit {
            name: format!("{kind} {}", class / FRUITS.len() + 1),
            shape,
            radius: rng.random_range(32.0..44.0),
            skin,
            blush,
            blush_edge: rng.random_range(-0.6..1.2),
            stripes: (
                rng.random_range(3..12) as f32,
                if rng.random_bool(0.35) { rng.random_range(0.1..0.4) } else { 0.0 },
            ),
            spots: (0..spots)
                .map(|_| {
                    [rng.random_range(0.0..TAU), rng.random_range(-1.3..1.3), rng.random_range(0.03..0.12)]
                })
                .collect(),
            rough: rng.random_range(0.0..0.08),
            gloss: rng.random_range(0.0..0.6),
            stem: rng.random_bool(0.6) && !matches!(shape, Shape::Crescent),
        }
    }

    /// Distance from the centre to the rim at an angle from the top, as a share of the radius.
    fn rim(&self, angle: f32, turn: f32) -> f32 {
        let (sin, cos) = angle.sin_cos();
        match self.shape {
            Shape::Round { flat, dent } => flat - dent * (-(angle / 0.35).powi(2)).exp(),
            Shape::Oval { long } => 1.0 / (cos.powi(2) + (sin * long).powi(2)).sqrt().max(0.3),
            Shape::Pear { neck } => {
                let top = 0.5 + 0.5 * cos;
                (1.0 - (1.0 - neck) * top * sin.abs().powf(0.4)) / (1.0 + 0.15 * (1.0 - top))
            }
            Shape::Lobed { lobes, depth } => 1.0 - depth * (0.5 + 0.5 * (lobes * (angle + turn)).cos()),
            Shape::Crescent => 1.0,
        }
    }

    /// Height of the skin above a point of the picture, 0..=1, or nothing outside. `x` and `y` in radii,
    /// upright.
    fn height(&self, x: f32, y: f32, turn: f32) -> Option<f32> {
        let share = if let Shape::Crescent = self.shape {
            // The distance from an arc.
            let (cx, cy) = (x, y + 0.75);
            let angle = cx.atan2(cy);
            let width = 0.3 * (1.0 - (angle / 1.15).powi(2)).max(0.0).sqrt();
            if width == 0.0 {
                return None;
            }
            ((cx * cx + cy * cy).sqrt() - 1.05).abs() / width
        } else {
            let rim = self.rim(x.atan2(-y), turn);
            (x * x + y * y).sqrt() / rim
        };
        (share < 1.0).then(|| (1.0 - share * share).sqrt())
    }

    /// Draws one view: `SIZE * SIZE * 3` bytes of RGB.
    fn draw(&self, seed: u64, class: usize, picture: usize) -> Vec<u8> {
        let stream = u128::from(seed) << 64 | (class as u128) << 32 | picture as u128;
        let mut rng = Pcg64::new(stream, 0x360);
        let turn = rng.random_range(0.0..TAU);
        let tilt = rng.random_range(-0.5f32..0.5);
        let light: f32 = rng.random_range(-0.5..0.5);
        let scale = self.radius * rng.random_range(0.94..1.06);
        let exposure = rng.random_range(0.9..1.08);
        let (sin, cos) = tilt.sin_cos();
        let centre = f32::from(SIZE) / 2.0 - 0.5;
        let mut pixels = Vec::with_capacity(usize::from(SIZE).pow(2) * 3);
        for py in 0..SIZE {
            for px in 0..SIZE {
                let (dx, dy) = ((f32::from(px) - centre) / scale, (f32::from(py) - centre) / scale);
                let (x, y) = (dx * cos + dy * sin, dy * cos - dx * sin);
                let grain: f32 = rng.random_range(-1.0..1.0);
                let color = match self.height(x, y, turn) {
                    Some(z) => self.shade([x, y, z], turn, light, grain).map(|c| c * exposure),
                    None if self.stem && x.abs() < 0.05 && (-1.25..-0.7).contains(&y) => [0.35, 0.25, 0.12],
                    None => [1.0 - 0.008 * grain.abs(); 3],
                };
                pixels.extend(color.map(|c| (c.clamp(0.0, 1.0) * 255.0).round() as u8));
            }
        }
        pixels
    }

    /// Colour of the skin at a point of the unit sphere, under a light from above: RGB, about 0 to 1.
    fn shade(&self, point: [f32; 3], turn: f32, light: f32, grain: f32) -> [f32; 3] {
        let [x, y, z] = point;
        let (longitude, latitude) = (x.atan2(z) + turn, y.clamp(-1.0, 1.0).asin());
        let blush = (((longitude.sin() + y) / 2.0 - self.blush_edge) * 4.0).clamp(0.0, 1.0);
        let mut hsv: [f32; 3] =
            std::array::from_fn(|i| self.skin[i] + (self.blush[i] - self.skin[i]) * blush);
        let (count, strength) = self.stripes;
        hsv[2] *= 1.0 - strength * (0.5 + 0.5 * (count * longitude).sin());
        for [at, spot_latitude, size] in &self.spots {
            let across = (longitude - at + PI).rem_euclid(TAU) - PI;
            if (across * latitude.cos()).powi(2) + (latitude - spot_latitude).powi(2) < size * size {
                hsv[1] *= 0.6;
                hsv[2] *= 0.6;
            }
        }
        hsv[2] *= 1.0 + self.rough * grain;
        // Lambert, with the sky's share, and a highlight.
        let towards = [light, -0.6, 0.7];
        let length = |v: [f32; 3]| v.iter().map(|c| c * c).sum::<f32>().sqrt().max(1e-6);
        let dot: f32 = point.iter().zip(towards).map(|(n, t)| n * t).sum();
        let facing = (dot / (length(point) * length(towards))).max(0.0);
        let shade = 0.45 + 0.6 * facing;
        let shine = self.gloss * facing.powi(24);
        rgb(hsv).map(|c| c * shade + shine)
    }
}

fn rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    [5.0, 3.0, 1.0].map(|n: f32| {
        let k = (n + hue.rem_euclid(360.0) / 60.0) % 6.0;
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

/// Draws `per_class` pictures of each of `classes` classes below `dir`, as `CLASS/PICTURE_100.jpg`. `drawn`
/// is called after each picture, from several threads, and can stop it all. The same seed gives the same files;
/// one that is there already is not written again, and keeps its time of modification.
///
/// # Errors
/// [`Error::Usage`] when a file is there and differs, unless `force`; [`Error::Failed`] when one cannot be
/// written.
pub fn draw(
    dir: &Path,
    classes: usize,
    per_class: usize,
    seed: u64,
    force: bool,
    drawn: &(dyn Fn() -> Result<()> + Sync),
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let class = next.fetch_add(1, Ordering::Relaxed);
            if class >= classes {
                return Ok(());
            }
            let fruit = Fruit::new(seed, class);
            let folder = dir.join(&fruit.name);
            std::fs::create_dir_all(&folder)
                .map_err(|e| Error::io(&format!("cannot make {}", folder.display()), e))?;
            for picture in 0..per_class {
                let file = folder.join(format!("{picture}_100.jpg"));
                let jpeg = encode_jpeg(&fruit.draw(seed, class, picture), SIZE, SIZE, 90)?;
                write(&file, &jpeg, force)?;
                drawn()?;
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(classes.max(1));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|t| {
            t.join().unwrap_or_else(|_| Err(Error::Bug("a drawing thread panicked".into())))
        })
    })
}

fn write(file: &Path, jpeg: &[u8], force: bool) -> Result<()> {
    match std::fs::read(file) {
        Ok(there) if there == jpeg => return Ok(()),
        Ok(_) if !force => {
            return Err(Error::Usage(format!(
                "{} is there already and differs; name another directory, or --force to write over it",
                file.display()
            )));
        }
        _ => {}
    }
    std::fs::write(file, jpeg).map_err(|e| Error::io(&format!("cannot write {}", file.display()), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::decode::{Options, decode};

    #[test]
    fn the_same_seed_draws_the_same_files_and_another_seed_others() {
        let draw_all = |seed| {
            let dir = tempfile::tempdir().unwrap();
            draw(dir.path(), 18, 2, seed, false, &|| Ok(())).unwrap();
            let mut files: Vec<_> = walkdir::WalkDir::new(dir.path())
                .into_iter()
                .flatten()
                .filter(|e| e.file_type().is_file())
                .map(|e| {
                    (e.path().strip_prefix(dir.path()).unwrap().to_owned(), std::fs::read(e.path()).unwrap())
                })
                .collect();
            files.sort();
            files
        };
        let first = draw_all(1);
        assert_eq!(first.len(), 36);
        assert_eq!(first, draw_all(1));
        assert_ne!(first, draw_all(2));
        assert!(first.iter().any(|(path, _)| path.starts_with("Banana 2")), "classes beyond the sixteenth");
    }

    #[test]
    fn pictures_are_fruit_on_white() {
        for class in 0..FRUITS.len() {
            let fruit = Fruit::new(7, class);
            let picture =
                decode(&encode_jpeg(&fruit.draw(7, class, 0), SIZE, SIZE, 90).unwrap(), &Options::default())
                    .unwrap();
            let white =
                picture.pixels.as_chunks::<3>().0.iter().filter(|p| p.iter().all(|c| *c > 240)).count();
            let share = white as f32 / 10_000.0;
            assert!((0.3..0.95).contains(&share), "{}: {share} of the picture is white", fruit.name);
        }
    }
}
