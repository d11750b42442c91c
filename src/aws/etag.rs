//! The ETag that a file has once it is uploaded: its MD5; of one in parts, the MD5 of the parts' and how many there are.
//! Where a key of KMS encrypts, S3 gives others.
//!
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html>, ETag.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use fruitjob_interface::hex;
use md5::{Digest, Md5};

/// Bytes of a part of a file that is uploaded in parts, and of the least that is.
pub(super) const PART: u64 = 32 << 20;

/// That of a file on this machine.
pub fn of_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut sums, mut parts, mut bytes) = (Vec::new(), 0, Vec::new());
    loop {
        bytes.clear();
        (&mut file).take(PART).read_to_end(&mut bytes)?;
        if parts == 0 && (bytes.len() as u64) < PART {
            return Ok(hex(&Md5::digest(&bytes)));
        }
        if bytes.is_empty() {
            return Ok(format!("{}-{parts}", hex(&Md5::digest(&sums))));
        }
        sums.extend_from_slice(&Md5::digest(&bytes));
        parts += 1;
    }
}
