//! Numbers that begin on a cache line, so that a register's load never straddles two.

use std::ops::{Deref, DerefMut};

const LINE: usize = 64;

/// A fixed number of elements, the first on a cache line.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let spare = LINE / size_of::<T>() - 1;
        let data = vec![T::default(); len + spare];
        // An interpreter such as Miri may decline to align; that costs speed only.
        let start = match data.as_ptr().align_offset(LINE) {
            start if start <= spare => start,
            _ => 0,
        };
        Aligned { data, start, len }
    }

    /// A copy of `data`.
    pub fn from(data: &[T]) -> Self {
        let mut copy = Aligned::zeros(data.len());
        copy.copy_from_slice(data);
        copy
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.data[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..self.start + self.len]
    }
}
