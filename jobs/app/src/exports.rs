//! What the page calls. The page writes into memory that it has asked for, and reads what it is told to; all of it is ours, and
//! nothing here follows a pointer.
//!
//! ```text
//! place(n)         where n bytes may be written: a bundle, or pixels; 0 where there are not as many to be had
//! open()           takes what was written for a bundle; 1, or 0 and a message
//! recognise(w, h)  takes what was written for pixels, RGBA; 1, or 0 and a message
//! out(), out_len() where what came of it is, and how many bytes: the message in UTF-8, or floats:
//!                  unlike, label, share, limit, n, (picture, distance) n times, vector
//! ```

use std::cell::RefCell;

use crate::pixels::{Rgba, on_white};
use crate::{Bundle, Recogniser};

/// Pictures that are shown, and that vote.
const NEIGHBOURS: usize = 5;
/// The most bytes that are taken: a photograph of 100 million pixels.
const MOST: usize = 400_000_000;

#[derive(Default)]
struct State {
    input: Vec<u8>,
    out: Vec<u8>,
    recogniser: Option<Recogniser>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

impl State {
    fn open(&mut self) -> Result<Vec<u8>, String> {
        let bundle = Bundle::decode(&std::mem::take(&mut self.input))?;
        self.recogniser = Some(Recogniser::new(bundle)?);
        Ok(Vec::new())
    }

    fn recognise(&mut self, width: usize, height: usize) -> Result<Vec<u8>, String> {
        let recogniser = self.recogniser.as_mut().ok_or("no bundle was opened")?;
        let len = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(4));
        if len.is_none_or(|len| len == 0 || len != self.input.len()) {
            return Err(format!("{} bytes are no {width}x{height} pixels", self.input.len()));
        }
        on_white(&mut self.input);
        let image = Rgba { width, height, pixels: &self.input };
        let answer =
            recogniser.answer(image, NEIGHBOURS).ok_or("there are no pictures to compare it with")?;
        let mut floats = vec![
            f32::from(u8::from(answer.is_unlike())),
            f32::from(answer.label),
            answer.share,
            answer.limit,
            answer.nearest.len() as f32,
        ];
        floats.extend(answer.nearest.iter().flat_map(|(picture, distance)| [*picture as f32, *distance]));
        floats.extend(&answer.vector);
        // A photograph's memory is not kept.
        self.input = Vec::new();
        Ok(floats.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    fn give(&mut self, out: Result<Vec<u8>, String>) -> u32 {
        let good = out.is_ok();
        self.out = out.unwrap_or_else(String::into_bytes);
        u32::from(good)
    }
}

/// See above.
// What the names of all of these mean is told above; no other has them.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn place(len: usize) -> *mut u8 {
    STATE.with_borrow_mut(|state| {
        state.input = Vec::new();
        if len > MOST || state.input.try_reserve_exact(len).is_err() {
            return std::ptr::null_mut();
        }
        state.input.resize(len, 0);
        state.input.as_mut_ptr()
    })
}

/// See above.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn open() -> u32 {
    STATE.with_borrow_mut(|state| {
        let out = state.open();
        state.give(out)
    })
}

/// See above.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn recognise(width: usize, height: usize) -> u32 {
    STATE.with_borrow_mut(|state| {
        let out = state.recognise(width, height);
        state.give(out)
    })
}

/// See above.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn out() -> *const u8 {
    STATE.with_borrow(|state| state.out.as_ptr())
}

/// See above.
#[allow(unsafe_code)]
#[unsafe(no_mangle)]
extern "C" fn out_len() -> usize {
    STATE.with_borrow(|state| state.out.len())
}
