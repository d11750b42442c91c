//! What `fruitctl` and `fruitjob` say to each other: the options of a job, as flags and in a file; the events of a run
//! and its record; failures and their exit codes; names of places, and of what lies below an output.
//!
//! Nothing here reads an image or reaches a store, so that whoever has jobs done elsewhere needs no more than this.

pub mod changes;
pub mod error;
pub mod event;
pub mod job;
pub mod layout;
pub mod location;
pub mod model;
pub mod onnx;
pub mod page;
pub mod printable;
pub mod prune;
pub mod recognition;
pub mod record;
pub mod spark;
pub mod stage;

pub use error::{Error, Result};
pub use event::{Event, Observer};
pub use job::{EngineKind, JobOptions};
pub use printable::{printable, printable_name};
pub use record::RunRecord;
pub use stage::Stage;

/// Endings of names, in lower case, that are taken for images, whatever the content turns out to be.
pub const IMAGES: [&str; 11] =
    ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff"];

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A number for people: `1234567` as `1,234,567`.
pub fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things for people: `1 image`, `2,000 images`.
pub fn count(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", number(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([1, 2000].map(|n| count(n, "image")), ["1 image", "2,000 images"]);
    }
}
