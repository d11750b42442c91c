//! Decodes each file of a folder into another folder, as NAME.ppm, or NAME.txt with the reason why not:
//! `decode FROM TO [SIDE]`, scaled down for a square of SIDE pixels. For tests beside other decoders, and for bench/.

use std::path::PathBuf;

use fruitjob::image::decode::{Options, decode};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [from, to, side @ ..] = &args[..] else { return Err("decode FROM TO [SIDE]".into()) };
    let side = side.first().map(|side| side.parse::<u32>()).transpose()?;
    let options = Options { target: side.map(|side| [side; 2]), ..Options::default() };
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let to = |kind: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(kind);
            PathBuf::from(to).join(name)
        };
        match decode(&std::fs::read(&path)?, &options) {
            Ok(rgb) => {
                let header = format!("P6 {} {} 255\n", rgb.width, rgb.height).into_bytes();
                std::fs::write(to(".ppm"), [header, rgb.pixels].concat())?;
            }
            Err(refused) => std::fs::write(to(".txt"), refused.reason)?,
        }
    }
    Ok(())
}
