//! Numbers that begin on a cache line, so that a register's load never straddles two.

use std::ops::{Deref, DerefMut};

const LINE: usize = 64 / size_of::<f32>();

/// A fixed number of f32, the first on a cache line.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let data = vec![0.0f32; len + LINE - 1];
        // An interpreter such as Miri may decline to align; that costs speed only.
        let start = match data.as_ptr().align_offset(64) {
            start if start < LINE => start,
            _ => 0,
        };
        Aligned { data, start, len }
    }

    /// A copy of `data`.
    pub fn from(data: &[f32]) -> Self {
        let mut copy = Aligned::zeros(data.len());
        copy.copy_from_slice(data);
        copy
    }
}

impl Deref for Aligned {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.len]
    }
}
