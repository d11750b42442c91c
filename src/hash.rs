//! SHA-256 as text: names of what is kept by its content.

use fruitjob_interface::hex;
use sha2::{Digest, Sha256};

/// As 64 lower-case hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}
