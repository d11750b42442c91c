//! Images: any bytes are pixels, as many as are said, or a reason in one line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match fruitjob::image::decode::decode(bytes, &Default::default()) {
        Ok(rgb) => assert_eq!(rgb.pixels.len(), 3 * rgb.width as usize * rgb.height as usize),
        Err(refused) => {
            assert!(!refused.reason.is_empty() && !refused.reason.contains('\n'), "{refused:?}");
        }
    }
});
